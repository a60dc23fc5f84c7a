import logging

import pytest
from mmengine.config import Config

from mmpretrain_mps.engine.hooks import ShortCutsHook


class RunnerOf:
    """What the hook reads of a runner."""

    def __init__(self, **cfg):
        self.cfg, self.logger = Config(cfg), logging.getLogger('short_cuts')


@pytest.mark.parametrize('top, nested, warned', [(16, 16, False), (2, 16, True)])
def test_a_top_level_value_that_the_data_loaders_do_not_use_is_pointed_out(top, nested, warned, caplog):
    runner = RunnerOf(num_shots=top, train_dataloader=dict(dataset=dict(num_shots=nested)), val_dataloader=None)
    with caplog.at_level(logging.WARNING):
        ShortCutsHook().before_run(runner)
    expected = 'num_shots is 2 at the top of the config, but train_dataloader.dataset.num_shots is 16'
    assert (expected in caplog.text) == warned


def test_configs_without_short_cuts_pass(caplog):
    ShortCutsHook().before_run(RunnerOf(train_dataloader=dict(dataset=dict(num_shots=4, seed=1))))
    assert not caplog.records


def test_hooks_are_looked_at_too(caplog):
    ShortCutsHook().before_run(RunnerOf(view_bank=16, custom_hooks=[dict(type='A'), dict(type='B', view_bank=0)]))
    assert 'view_bank is 16 at the top of the config, but custom_hooks.1.view_bank is 0' in caplog.text
