"""Whole trainings whose views are cropped, resized and flipped by the model's data preprocessor."""

import os
import re
from pathlib import Path

import pytest
import torch
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.runner import Runner
from recorded_operators import WAITING, RecordOperators
from tiny_digits import train, write_config

from mmpretrain_mps.engine.hooks import DeviceViewsHook
from mmpretrain_mps.engine.hooks import device_views_hook as module
from mmpretrain_mps.models.data_preprocessor import CLIPDataPreprocessor
from mmpretrain_mps.utils import apply_options


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('device_views'), more="train_pipeline[1]['transforms'][0]['flip_prob'] = 0.5")


@pytest.fixture(autouse=True)
def config_as_it_is(monkeypatch):
    """mmengine formats the text of the config for every log and checkpoint, which takes longer than these runs."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))


@pytest.fixture
def make(config, tmp_path):
    """Build a runner of 20 pictures for an epoch or as many as said, without validation; ``options`` as of the command line."""

    def build(name, options=(), **entries):
        cfg = Config.fromfile(config)
        apply_options(cfg, {'num_shots': 2, 'train_cfg.max_epochs': 1, 'views_on_device': True, **dict(options)})
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / name), log_level='ERROR', experiment_name=os.urandom(8).hex()))
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.merge_from_dict(entries)
        return Runner.from_cfg(cfg)

    return build


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, DeviceViewsHook))


def log_of(runner):
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


def test_a_training_is_the_same_to_the_bit(make, monkeypatch):
    seen = []
    forward = CLIPDataPreprocessor.forward

    def looked_at(self, data, training=False):
        seen.append(type(data['inputs']).__name__)
        return forward(self, data, training)

    monkeypatch.setattr(CLIPDataPreprocessor, 'forward', looked_at)
    two = {'train_cfg.max_epochs': 2}
    plain, on_device = make('plain', {'views_on_device': False, **two}), make('on_device', two, log_level='INFO')
    plain.train()
    assert set(seen) == {'list'}
    seen.clear()
    on_device.train()
    assert set(seen) == {'dict'}
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, on_device.model.state_dict()[name]), name
    assert 'views are cropped, resized and flipped on cpu, from 20 decoded pictures (3.84 kB) there' in log_of(on_device)
    assert on_device.model.data_preprocessor.picture_bank is None
    assert isinstance(on_device.train_dataloader.dataset[0]['inputs'], list)


@pytest.mark.slow
def test_two_processes_are_the_same_too(config, tmp_path):
    options = ['num_shots=2', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=5']
    for name in ('True', 'False'):
        run_ranks(train, 2, tmp_path / f'ranks_{name}', config, str(tmp_path / name), (*options, f'views_on_device={name}'))
    weights = [torch.load(tmp_path / name / 'epoch_1.pth', weights_only=False)['state_dict'] for name in ('True', 'False')]
    assert weights[0].keys() == weights[1].keys() and all(
        torch.equal(value, weights[1][name]) for name, value in weights[0].items()
    )


def test_no_step_waits(make):
    runner = make('waits')
    hook, waiting = hook_of(runner), []
    step = type(runner.model).train_step

    def recorded(model, *arguments, **named):
        with RecordOperators() as record:
            result = step(model, *arguments, **named)
        waiting.extend(name for name in record.names if name in WAITING)
        return result

    runner.model.train_step = recorded.__get__(runner.model)
    runner.train()
    assert hook.views_on_device is True and not waiting


def test_auto_is_off_on_cpus_without_a_word(make):
    runner = make('auto', {'views_on_device': 'auto'}, log_level='INFO')
    runner.train()
    assert 'views are' not in log_of(runner) and 'views_on_device=auto is' not in log_of(runner)


def as_on_a_gpu(monkeypatch, free=10**9):
    """Have the hook take the CPU for a GPU with so much free memory."""
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (free, free))
    monkeypatch.setattr(module, '_GPU', 'cpu')


def test_auto_is_on_where_there_is_a_gpu(make, monkeypatch):
    as_on_a_gpu(monkeypatch)
    runner = make('gpu', {'views_on_device': 'auto'}, log_level='INFO')
    runner.train()
    assert 'from 20 decoded pictures' in log_of(runner)


NOT_KEPT = 'are not kept in memory'


@pytest.mark.parametrize(
    'entries, free, reason',
    [
        ({'train_dataloader.dataset.cache_images': False}, 1e9, NOT_KEPT),
        ({'train_dataloader.dataset.cache_limit_mb': 0.001}, 1e9, NOT_KEPT),
        ({}, 30000, r'take 3.84 kB, more than a tenth of the 30.00 kB that are free on cpu'),
        ({'train_dataloader.dataset': dict(type='ClassBalancedDataset', oversample_thr=0.01)}, 1e9, 'expected FewShotDataset'),
        ({'model.data_preprocessor': dict(type='SelfSupDataPreprocessor')}, 1e9, 'expected CLIPDataPreprocessor'),
        ({'view_bank': 4}, 1e9, 'view_bank draws the views before the training'),
    ],
    ids=['not kept', 'too many', 'no room on the device', 'wrapped', 'another preprocessor', 'view bank'],
)
def test_auto_says_once_why_it_is_off_and_trains_on(make, monkeypatch, entries, free, reason):
    as_on_a_gpu(monkeypatch, free)
    options = {'view_bank': entries.pop('view_bank')} if 'view_bank' in entries else {}
    wrapper = entries.pop('train_dataloader.dataset', None)
    runner = make('off', {'views_on_device': 'auto', **options}, log_level='INFO', **entries)
    if wrapper:
        runner._train_dataloader['dataset'] = dict(wrapper, dataset=runner._train_dataloader['dataset'])
    runner.train()
    log = log_of(runner)
    assert log.count('views_on_device=auto is off') == 1
    assert re.search(f'views_on_device=auto is off: .*{reason}', log)


def test_true_is_refused_where_it_cannot_be(make):
    with pytest.raises(ValueError, match=rf'views_on_device=True: .*{NOT_KEPT}.*use views_on_device=auto or False'):
        make('refused', **{'train_dataloader.dataset.cache_images': False}).train()
    runner = make('steps')
    pipeline = runner._train_dataloader['dataset']['dataset']['pipeline']
    pipeline[1]['transforms'].append(dict(type='ColorJitter', brightness=0.1))
    with pytest.raises(
        ValueError, match=r"views on the device need a .*found DualView of \['CLIPTrainTransform', 'ColorJitter'\]"
    ):
        runner.train()


@pytest.mark.parametrize('value', [1, 0, 'yes', None])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match=f"views_on_device is {value!r}, expected True, False or 'auto'"):
        DeviceViewsHook(value)
