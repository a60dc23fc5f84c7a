"""The comparison sees single bits, and a training that is killed comes to the same end."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_run import ROOT, call, write_config

from mmpretrain_mps.benchmark import chaos


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('chaos')
    write_config(folder)
    assert call(ROOT / 'tools' / 'train.py', folder / 'tiny.py', '--work-dir', folder / 'one') == 0
    return folder


def changed(folder, change):
    other = folder / 'other'
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(folder / 'one', other)
    content = torch.load(other / 'epoch_4.pth', weights_only=True)
    change(content)
    torch.save(content, other / 'epoch_4.pth')
    return other


def flip(tensor):
    tensor.view(-1).view(torch.uint8)[0] ^= 1


@pytest.mark.parametrize(
    'change, place',
    [
        (lambda content: flip(content['state_dict']['tuned.weight']), 'state_dict.tuned.weight'),
        (lambda content: flip(content['optimizer']['state'][0]['momentum_buffer']), 'optimizer.state.0.momentum_buffer'),
        (lambda content: content['param_schedulers'][0].update(last_step=99), 'param_schedulers.0.last_step'),
        (lambda content: content['state_dict'].pop('tuned.bias'), 'state_dict'),
        (lambda content: content['meta'].update(time='never'), None),
    ],
)
def test_every_bit_that_a_training_goes_on_from_is_compared(folder, change, place):
    assert chaos.compare(folder / 'one', changed(folder, change)) == ([place] if place else [])


def test_trainings_of_different_lengths_differ(folder, tmp_path):
    shutil.copy(folder / 'one' / 'epoch_3.pth', tmp_path)
    assert 'are of different steps' in chaos.compare(folder / 'one', tmp_path)[0]
    assert chaos.compare(folder / 'one', tmp_path / 'none') == ['there is no checkpoint']


def test_a_folder_with_something_in_it_is_refused(folder):
    refused = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'chaos.py'), 'x.py', '--work-dir', str(folder)],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(ROOT)},
    )
    assert refused.returncode == 2 and 'is not empty' in refused.stderr


@pytest.mark.slow
def test_a_training_that_is_killed_comes_to_the_same_end(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT / 'tests'))
    monkeypatch.setattr(chaos, 'KINDS', ('writing', 'SIGTERM'))
    lines = []
    result = chaos.run(str(folder / 'tiny.py'), str(tmp_path), 1, 3, 1, ['train_cfg.max_epochs=40'], lines.append)
    assert result['equal'] and result['rounds'][0]['starts'][-1]['status'] == 0
    chaos.write([result], str(tmp_path / 'result.json'))
    assert json.loads((tmp_path / 'result.json').read_text())['format'] == chaos.FORMAT
