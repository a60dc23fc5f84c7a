"""A training that is told to end saves, says how to go on, and goes on exactly."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny_run import ROOT, call, write_config

from mmpretrain_mps.engine.resuming import find_checkpoint

TRAIN = ROOT / 'tools' / 'train.py'
NUMBERS = dict(SIGINT=130, SIGTERM=143, SIGHUP=129, SIGUSR1=138)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('interrupted')
    write_config(folder)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'whole') == 0
    return folder


SIGNALS = {name: getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP')}


@pytest.fixture(autouse=True)
def signals_are_heard():
    """What is started in the background, or by nohup, ignores some signals, and so would the trainings of these tests."""
    before = {name: signal.getsignal(number) for name, number in SIGNALS.items()}
    for name, number in SIGNALS.items():
        signal.signal(number, signal.default_int_handler if name == 'SIGINT' else signal.SIG_DFL)
    yield
    for name, number in SIGNALS.items():
        signal.signal(number, before[name])


def state(path):
    content = torch.load(path, weights_only=True)
    return [*content['state_dict'].values(), *(entry['momentum_buffer'] for entry in content['optimizer']['state'].values())]


def assert_same_end(first, second):
    pairs = list(zip(state(first / 'epoch_4.pth'), state(second / 'epoch_4.pth'), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    'name, at, saved',
    [
        ('SIGTERM', (1, 2), 'iter_8.pth'),
        ('SIGINT', (0, 0), 'iter_1.pth'),
        ('SIGUSR1', (2, 4), 'iter_15.pth'),
        ('SIGHUP', (3, 4), 'iter_20.pth'),
    ],
)
def test_it_ends_after_the_step_and_goes_on_to_the_same_weights(folder, tmp_path, capsys, name, at, saved):
    command = (TRAIN, folder / 'tiny.py', '--work-dir', tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    assert call(*command, '--cfg-options', f"model.signal_at=({at[0]}, {at[1]}, '{name}')") == NUMBERS[name]
    assert signal.getsignal(signal.SIGTERM) is before
    output = capsys.readouterr()
    assert (
        f'interrupted by {name} in epoch {at[0] + 1}: {tmp_path / saved} is saved; the same command with --resume' in output.out
    )
    assert find_checkpoint(tmp_path) == str(tmp_path / saved)
    assert call(*command, '--resume') == 0
    assert_same_end(folder / 'whole', tmp_path)
    # What was saved in the middle goes when the next regular checkpoint is there.
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']


def test_it_can_be_interrupted_again_and_again(folder, tmp_path):
    command = (TRAIN, folder / 'tiny.py', '--work-dir', tmp_path)
    for epoch in (0, 0, 1, 3):
        # Iterations of the epoch are counted by the model from where it goes on.
        assert call(*command, '--resume', '--cfg-options', f"model.signal_at=({epoch}, 0, 'SIGTERM')") in (143, 0)
    assert call(*command, '--resume') == 0
    assert_same_end(folder / 'whole', tmp_path)


def test_a_signal_that_is_ignored_stays_ignored(folder, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call(TRAIN, folder / 'tiny.py', '--work-dir', tmp_path, '--cfg-options', "model.signal_at=(1, 2, 'SIGHUP')") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


SLOW = """
_base_ = ['{config}']
custom_imports = dict(imports=['mmpretrain_mps', 'tiny_run', 'slow_points'], allow_failed_imports=False)
train_dataloader = dict(num_workers={workers}, dataset=dict(type='SlowPoints'))
"""
POINTS = """
import time
from mmpretrain.registry import DATASETS
from tiny_run import TinyDataset


@DATASETS.register_module()
class SlowPoints(TinyDataset):

    def __getitem__(self, index):
        if index == 7:
            print('waiting', flush=True)
            time.sleep(60)
        return super().__getitem__(index)
"""


def start(folder, *flags, **environment):
    search = os.pathsep.join([str(ROOT), str(ROOT / 'tests'), str(folder)])
    return subprocess.Popen(
        [sys.executable, '-u', str(TRAIN), *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'PYTHONPATH': search, 'CUDA_VISIBLE_DEVICES': '', **environment},
    )


def read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return ''.join(lines)
    raise AssertionError(''.join(lines))


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_does_not_wait_for_pictures(tmp_path, workers):
    config = write_config(tmp_path)
    (tmp_path / 'slow_points.py').write_text(POINTS)
    (tmp_path / 'slow.py').write_text(SLOW.format(config=config, workers=workers))
    process = start(tmp_path, tmp_path / 'slow.py', '--work-dir', tmp_path / 'w')
    read_until(process, 'waiting')
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143 and 'interrupted by SIGTERM in epoch 1' in output and 'Traceback' not in output


@pytest.mark.slow
def test_ranks_end_together_and_the_first_one_saves(folder, tmp_path):
    launcher = ['bash', str(ROOT / 'tools' / 'dist_train.sh'), str(folder / 'tiny.py'), '2', '--work-dir']
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        'CUDA_VISIBLE_DEVICES': '',
        'PATH': f'{os.path.dirname(sys.executable)}{os.pathsep}{os.environ["PATH"]}',
        'OMP_NUM_THREADS': '1',
    }

    def run(name, *flags):
        return subprocess.run(
            [*launcher, str(tmp_path / name), *flags], capture_output=True, text=True, env=environment, timeout=180
        )

    assert run('whole').returncode == 0
    told = run('told', '--cfg-options', "model.signal_at=(1, 1, 'SIGTERM')")
    assert told.returncode != 0 and 'interrupted by SIGTERM in epoch 2' in told.stdout + told.stderr
    assert find_checkpoint(tmp_path / 'told').endswith('iter_5.pth')
    assert run('told', '--resume').returncode == 0
    assert_same_end(tmp_path / 'whole', tmp_path / 'told')
