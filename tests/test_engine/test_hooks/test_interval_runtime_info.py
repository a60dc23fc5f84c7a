"""Values of training steps are read when the log needs them, and are what mmengine's hook would have read."""

import contextlib
import copy
from types import SimpleNamespace
from unittest import mock

import pytest
import tiny_digits
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from recorded_operators import WAITING, RecordOperators
from tiny_run import write_config

from mmpretrain_mps.engine.hooks import IntervalRuntimeInfoHook

# 20 pictures in batches of 4: five steps an epoch. Lines of the log after the second and the fourth.
OPTIONS = {
    'default_hooks.logger.interval': 2,
    'custom_hooks': [dict(type='ClassNamesHook'), dict(type='TemperatureHook'), dict(type='PlainCheckpointHook')],
}


@HOOKS.register_module()
class RecordSteps(Hook):
    """Records the operators of every training step, with the hooks that follow on it."""

    priority = 'LOWEST'

    def __init__(self):
        self.steps, self._stack = [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._stack = contextlib.ExitStack()
        self.steps.append(self._stack.enter_context(RecordOperators()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._stack.close()


@HOOKS.register_module()
class FailAt(Hook):
    """Ends a training by an error."""

    def __init__(self, step):
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            raise KeyboardInterrupt


def make_runner(folder, config=None, mmengines=False, **options):
    cfg = Config.fromfile(config or write_config(folder))
    cfg.work_dir, cfg.log_level = str(folder / 'run'), 'WARNING'
    cfg.merge_from_dict(OPTIONS if config is None else {})
    # A copy: merging takes notes out of what it is given.
    cfg.merge_from_dict({name.replace('__', '.'): copy.deepcopy(value) for name, value in options.items()})
    if mmengines:
        cfg.default_hooks.runtime_info = dict(type='RuntimeInfoHook')
    return Runner.from_cfg(cfg)


@pytest.fixture
def lines(monkeypatch):
    """Everything that is logged as a line, by step."""
    from mmengine.visualization import Visualizer

    found = []
    monkeypatch.setattr(Visualizer, 'add_scalars', lambda self, values, step=0, **_: found.append((step, dict(values))))
    return found


def without_times(lines):
    return [(step, {name: value for name, value in values.items() if 'time' not in name}) for step, values in lines]


def histories(runner):
    scalars = runner.message_hub.log_scalars
    return {name: buffer.data[0].tolist() for name, buffer in scalars.items() if 'time' not in name}


@pytest.mark.parametrize('more', [{}, dict(log_processor__window_size=3, default_hooks__logger__interval=3)])
def test_histories_and_lines_of_the_log_are_those_of_mmengines_hook(tmp_path, lines, more):
    theirs = make_runner(tmp_path, mmengines=True, **more)
    theirs.train()
    expected = without_times(lines)
    lines.clear()
    ours = make_runner(tmp_path, **more)
    ours.train()
    assert type(ours.hooks[0]) is IntervalRuntimeInfoHook and len(expected) > 5
    assert without_times(lines) == expected
    assert histories(ours) == histories(theirs) and len(histories(ours)['train/loss']) == 20


def steps_that_wait(folder, config, **options):
    # The text of the config is not looked at, and takes long to format.
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        runner = make_runner(folder, config, experiment_name=folder.name, **options)
        runner.register_hook(dict(type='RecordSteps'))
        runner.train()
    (steps,) = (hook.steps for hook in runner.hooks if isinstance(hook, RecordSteps))
    assert all(len(step.names) > 200 for step in steps)
    return [set(WAITING) & set(step.names) for step in steps]


def test_in_a_whole_training_no_step_waits_between_two_lines_of_the_log(tmp_path):
    config = tiny_digits.write_config(tmp_path, epochs=2)
    options = dict(num_shots=4, train_dataloader__dataset__num_shots=4, default_hooks__logger__interval=3)
    assert steps_that_wait(tmp_path / 'ours', config, **options) == [set()] * 8
    # The recorder sees it where there is something to see.
    assert steps_that_wait(tmp_path / 'mmengines', config, mmengines=True, **options) == [{'_local_scalar_dense'}] * 8


def test_an_error_loses_no_value_and_neither_does_a_checkpoint_between_two_lines(tmp_path):
    by_step = dict(
        train_cfg=dict(_delete_=True, by_epoch=False, max_iters=12, val_interval=100),
        param_scheduler=None,
        default_hooks__logger__interval=100,
        default_hooks__checkpoint__by_epoch=False,
        default_hooks__checkpoint__interval=3,
        log_processor=dict(by_epoch=False),
        custom_hooks=[dict(type='Ready'), *OPTIONS['custom_hooks'][::2]],
    )
    runner = make_runner(tmp_path, **by_step)
    runner.register_hook(dict(type='FailAt', step=7))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert len(histories(runner)['train/loss']) == len(histories(runner)['train/lr']) - 1 == 7
    saved = torch.load(tmp_path / 'run' / 'iter_6.pth', weights_only=True)['message_hub']
    assert set(saved['log_scalars']) >= {'train/loss', 'train/loss_ce', 'train/lr'}
    resumed = make_runner(tmp_path, resume=True, **by_step)
    resumed.train()
    whole = make_runner(tmp_path, work_dir=str(tmp_path / 'whole'), **by_step)
    whole.train()
    assert histories(resumed)['train/loss'] == histories(whole)['train/loss']
    assert len(histories(whole)['train/loss']) == 12


@HOOKS.register_module()
class Ready(Hook):
    """Sets the temperature, which a training without epochs does not."""

    def before_train(self, runner):
        runner.model.set_epoch(0, 2)


def feed(hook, outputs, steps=1):
    found = []
    hub = SimpleNamespace(update_scalar=lambda name, value: found.append((name, value)))
    runner = SimpleNamespace(message_hub=hub, hooks=[], train_dataloader=range(100))
    for step in range(steps):
        hook.after_train_iter(runner, step, outputs=outputs)
    return found


def test_values_are_those_of_the_step_in_their_order_whatever_becomes_of_the_tensors():
    hook, value = IntervalRuntimeInfoHook(interval=2), torch.ones(1, dtype=torch.bfloat16, requires_grad=True)
    outputs = dict(a=value, b=2.5, c=torch.tensor(3), e=torch.tensor(0.1))
    assert feed(hook, outputs) == []
    with torch.no_grad():
        value += 1
    found = feed(hook, outputs, 2)
    expected = [(f'train/{name}', number) for name, number in zip('abce', (1.0, 2.5, 3, torch.tensor(0.1).item()))]
    assert found[:4] == expected and found[4] == ('train/a', 2.0) and len(found) == 12
    assert [type(number) for _, number in found[:4]] == [float, float, int, float]


def test_without_a_logger_values_are_read_every_ten_steps():
    assert [len(feed(IntervalRuntimeInfoHook(), dict(a=torch.ones(())), steps)) for steps in (9, 10, 19)] == [0, 10, 10]


@pytest.mark.parametrize('interval', [0, True, 2.5])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(ValueError, match=f'IntervalRuntimeInfoHook is {interval}, expected a number of steps'):
        IntervalRuntimeInfoHook(interval)


@pytest.mark.parametrize(
    'interval, ignore_last, read_after', [(2, True, [2, 4]), (2, False, [2, 4, 5]), (7, True, [5]), (5, True, [5])]
)
def test_values_are_read_where_the_logger_writes_and_not_at_the_end_of_an_epoch_alone(
    tmp_path, interval, ignore_last, read_after
):
    runner = make_runner(
        tmp_path,
        default_hooks__logger__interval=interval,
        train_cfg__max_epochs=2,
        default_hooks__logger__ignore_last=ignore_last,
        train_cfg__val_interval=100,
        default_hooks__checkpoint__interval=100,
        default_hooks__checkpoint__save_last=False,
    )
    read, update = [], runner.message_hub.update_scalar

    def note(name, value):
        if name == 'train/loss':
            read.append(runner.iter)
        update(name, value)

    with mock.patch.object(runner.message_hub, 'update_scalar', note):
        runner.train()
    # Every step is read once, at the next place; the last ones when the training ends.
    places = [5 * epoch + step - 1 for epoch in (0, 1) for step in read_after]
    assert read == [next((place for place in places if place >= step), 10) for step in range(10)]


def test_what_is_no_scalar_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r'weights cannot be logged: it has the shape \(2, 3\), expected one element'):
        feed(IntervalRuntimeInfoHook(), dict(weights=torch.ones(2, 3)))
