"""The schedules of the configs against their formulas, through mmengine's own builder."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import PARAM_SCHEDULERS
from tiny_run import write_config

from mmpretrain_mps.engine import FirstEpochWarmupLR

SCHEDULES = Path(__file__).parents[2] / 'configs' / '_base_' / 'schedules'


def rates_of(name, iterations):
    """Return the learning rate of every epoch and iteration, in the order in which mmengine's hook steps."""
    cfg = Config.fromfile(SCHEDULES / f'{name}.py')
    epochs = cfg.train_cfg.max_epochs
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    arguments = dict(optimizer=optimizer, epoch_length=iterations)
    schedulers = [
        PARAM_SCHEDULERS.build({'end': epochs, **scheduler}, default_args=arguments) for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(epochs):
        rates.append([])
        for _ in range(iterations):
            rates[-1].append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    return rates


@pytest.mark.parametrize('iterations', [1, 2, 7])
def test_paper_warms_up_by_iteration_and_then_follows_the_cosine(iterations):
    rates = rates_of('paper_50e', iterations)
    warmup = [1e-5 + (0.002 - 1e-5) * i / iterations for i in range(iterations)]
    assert rates[0] == pytest.approx(warmup, rel=1e-12)
    assert rates[0][0] == pytest.approx(1e-5, rel=1e-12)
    for epoch in range(1, 50):
        expected = 0.002 * (1 + math.cos(math.pi * epoch / 50)) / 2
        assert rates[epoch] == pytest.approx([expected] * iterations, rel=1e-9)


@pytest.mark.parametrize('epochs', [50, 100, 200])
def test_official_has_one_epoch_at_1e_5_and_then_the_whole_cosine(epochs):
    rates = rates_of(f'official_{epochs}e', iterations=2)
    assert len(rates) == epochs and rates[0] == pytest.approx([1e-5] * 2, rel=1e-12)
    for epoch in range(1, epochs):
        expected = 0.002 * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        assert rates[epoch] == pytest.approx([expected] * 2, rel=1e-8)


@pytest.mark.parametrize('name', ['paper_50e', 'official_50e', 'official_100e', 'official_200e'])
def test_all_recipes_train_with_the_same_optimizer(name):
    cfg = Config.fromfile(SCHEDULES / f'{name}.py')
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4)
    assert cfg.optim_wrapper.constructor == 'TrainableOptimWrapperConstructor'


def test_a_runner_trains_with_these_rates(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.work_dir, cfg.default_hooks.checkpoint = str(tmp_path / 'run'), dict(type='CheckpointHook', interval=-1)
    runner = Runner.from_cfg(cfg)
    runner.train()
    values, _ = runner.message_hub.get_scalar('train/lr').data
    warmup = [0.1 * (0.005 + 0.995 * i / 5) for i in range(5)]
    cosine = [0.1 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (1, 2, 3) for _ in range(5)]
    assert values.tolist() == pytest.approx(warmup + cosine, rel=1e-9)


def test_the_warm_up_says_when_the_config_forgot_the_conversion():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='add convert_to_iter_based=True'):
        FirstEpochWarmupLR(optimizer, start_factor=0.1)
