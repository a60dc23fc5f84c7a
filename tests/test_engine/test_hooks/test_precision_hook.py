"""In which precision a run computes, and that its config says so."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_run import ROOT, write_config

from mmpretrain_mps.benchmark.grid import config_key, make_cells
from mmpretrain_mps.engine.hooks import PrecisionHook, precision_hook
from mmpretrain_mps.models.computation.precision import float32_products
from mmpretrain_mps.utils.config import apply_options

WORKSPACE = 'CUBLAS_WORKSPACE_CONFIG'


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    monkeypatch.setenv(WORKSPACE, 'before')
    monkeypatch.delenv(WORKSPACE)
    dtype, deterministic = torch.get_autocast_dtype('cuda'), torch.are_deterministic_algorithms_enabled()
    with float32_products('strict'):
        yield
    torch.set_autocast_dtype('cuda', dtype)
    torch.use_deterministic_algorithms(deterministic)


@HOOKS.register_module()
class NotePrecision(Hook):
    """Notes what is set when class prototypes are about to be computed."""

    priority = 'VERY_HIGH'
    seen = []

    def before_run(self, runner):
        self.seen.append((torch.backends.cuda.matmul.allow_tf32, os.environ.get(WORKSPACE)))


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, (False, None)),
        (dict(float32_precision='tf32'), (True, None)),
        ({'randomness.deterministic': True}, (False, ':4096:8')),
    ],
)
def test_a_run_sets_it_before_it_computes_anything(tmp_path, options, expected):
    cfg = Config.fromfile(write_config(tmp_path))
    apply_options(cfg, options)
    cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), log_level='ERROR', **{'train_cfg.max_epochs': 1}))
    cfg.custom_hooks.insert(0, dict(type='NotePrecision'))
    NotePrecision.seen.clear()
    Runner.from_cfg(cfg).train()
    assert NotePrecision.seen == [expected]


def test_another_precision_is_refused_when_the_run_is_built(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    apply_options(cfg, dict(float32_precision='high'))
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(ValueError, match="float32_precision is 'high', expected 'strict'"):
        Runner.from_cfg(cfg)


@pytest.mark.parametrize(
    'wrapper, capability, expected',
    [
        (None, (9, 0), torch.bfloat16),
        (dict(type='OptimWrapper'), (7, 5), torch.float16),
        (dict(type='DeviceAmpOptimWrapper', dtype='float16'), (9, 0), torch.float16),
    ],
)
def test_on_a_gpu_validation_and_test_cast_to_what_training_casts_to(monkeypatch, wrapper, capability, expected):
    monkeypatch.setattr(precision_hook, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    PrecisionHook().before_run(SimpleNamespace(cfg=ConfigDict(optim_wrapper=wrapper)))
    # What mmengine's loops ask for.
    assert torch.get_autocast_dtype('cuda') is expected


def test_a_cell_of_a_grid_is_the_same_as_ever_in_whole_products_and_another_one_in_tf32():
    config, keys = ROOT / 'configs' / 'mps_mini_16shot_digits.py', []
    for precision in ('strict', 'tf32'):
        (cell,) = make_cells([config], [4], [1], {'': {}}, dict(float32_precision=precision), with_targets=False)
        keys.append(cell.key)
    cfg = Config.fromfile(config)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'PrecisionHook']
    whole = Config.fromfile(config)
    assert config_key(cfg, 'last') == config_key(whole, 'last') and keys[0] != keys[1]
