"""A number of steps in epochs, in real runs of mmengine's runner."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_run import write_config

from mmpretrain_mps.engine.command_line import allow_changes


@HOOKS.register_module()
class NoteSteps(Hook):
    """Keeps the rate of every step, and the epochs at which hooks are called."""

    def __init__(self, stop_before=None):
        self.stop_before = stop_before

    def before_train(self, runner):
        runner.noted = dict(rates=[], batches=[], begun=[], ended=[], validated=[])

    def before_train_epoch(self, runner):
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt
        runner.noted['begun'].append(runner.epoch)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.noted['rates'].append(runner.optim_wrapper.get_lr()['lr'][0])
        runner.noted['batches'].append(data_batch['inputs'].sum().item())

    def after_train_epoch(self, runner):
        runner.noted['ended'].append((runner.epoch, runner.iter))

    def before_val(self, runner):
        runner.noted['validated'].append(runner.epoch)


@pytest.fixture
def make_runner(tmp_path):
    """Build a runner of the tiny config, whose epochs have 5 steps."""
    config = write_config(tmp_path)

    def make(max_iters=13, work_dir='run', stop_before=None, allow=False, **options):
        cfg = Config.fromfile(config)
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.train_cfg = dict(type='StepBudgetTrainLoop', max_iters=max_iters)
        cfg.param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.01, by_epoch=False)]
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        if allow:
            allow_changes(cfg)
        runner = Runner.from_cfg(cfg)
        # Not by the config, which must be the same where a training goes on.
        runner.register_hook(dict(type='NoteSteps', stop_before=stop_before))
        return runner

    return make


@pytest.mark.parametrize('steps, epochs', [(13, 3), (15, 3), (3, 1), (5, 1), (1, 1)])
def test_the_training_has_exactly_so_many_steps_and_its_last_epoch_is_cut(make_runner, steps, epochs):
    runner = make_runner(steps)
    runner.train()
    assert (runner.iter, runner.epoch, runner.max_epochs, runner.max_iters) == (steps, epochs, epochs, steps)
    assert len(runner.noted['rates']) == steps
    assert runner.noted['ended'] == [(epoch, min(steps, 5 * (epoch + 1))) for epoch in range(epochs)]
    assert runner.model.epochs == [(epoch, epochs) for epoch in range(epochs)]
    meta = torch.load(runner.message_hub.get_info('last_ckpt'), weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (epochs, steps)


def test_a_schedule_by_step_ends_with_the_last_step(make_runner):
    runner = make_runner(13)
    runner.train()
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * step / 13)) / 2 for step in range(13)]
    assert runner.noted['rates'] == pytest.approx(expected, rel=1e-12)


def test_every_epoch_shuffles_anew(make_runner):
    runner = make_runner(10)
    runner.train()
    batches = runner.noted['batches']
    assert sorted(batches[:5]) != sorted(batches[5:])
    assert sum(batches[:5]) == pytest.approx(sum(batches[5:]), rel=1e-4)  # the same pictures


@pytest.mark.parametrize('stop_before', [1, 2])
def test_a_resumed_training_is_the_same_to_the_last_bit(make_runner, stop_before):
    whole = make_runner(work_dir='whole')
    whole.train()
    half = make_runner(work_dir='half', stop_before=stop_before)
    with pytest.raises(KeyboardInterrupt):
        half.train()
    resumed = make_runner(work_dir='half', resume=True)
    resumed.train()
    assert resumed.noted['rates'] == whole.noted['rates'][5 * stop_before :]
    assert resumed.noted['batches'] == whole.noted['batches'][5 * stop_before :]
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters()))
    assert resumed.iter == 13


def test_it_says_how_many_epochs_that_are_and_what_is_done(make_runner, monkeypatch):
    lines = []

    def run(*arguments, **options):
        runner = make_runner(*arguments, **options)
        monkeypatch.setattr(runner.logger, 'info', lambda text, *_: lines.append(str(text)))
        return runner

    with pytest.raises(KeyboardInterrupt):
        run(stop_before=2).train()
    assert '13 steps are 3 epochs of 5, the last one of 3' in lines
    run(resume=True).train()
    assert '13 steps are 3 epochs of 5, the last one of 3; 10 steps in 2 epochs are done' in lines
    run(10, 'even').train()
    assert '10 steps are 2 epochs of 5' in lines


def test_resuming_in_the_middle_of_a_longer_schedule_is_refused(make_runner):
    with pytest.raises(KeyboardInterrupt):
        make_runner(stop_before=2).train()
    with pytest.raises(ValueError, match='checkpoint ends after 13 steps, but this training has 11; .*max_iters=13'):
        make_runner(11, allow=True, resume=True).train()


@pytest.mark.parametrize(
    'options, validated',
    [({}, [3]), (dict(train_cfg__val_interval=2), [2, 3]), (dict(train_cfg__val_interval=1, train_cfg__val_begin=2), [2, 3])],
)
def test_one_validation_at_the_end_unless_asked_for_more(make_runner, options, validated):
    runner = make_runner(**options)
    runner.train()
    assert runner.noted['validated'] == validated


@pytest.mark.parametrize('steps', [0, -1, 2.5, None, True])
def test_a_number_of_steps_that_is_none_is_refused(make_runner, steps):
    with pytest.raises(ValueError, match='max_iters of StepBudgetTrainLoop'):
        make_runner(steps).train()
