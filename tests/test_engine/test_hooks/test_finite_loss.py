"""A loss that is no number ends the training with what it was, and reaches no checkpoint."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_run import write_config

from mmpretrain_mps.engine.hooks import FiniteLossHook
from mmpretrain_mps.engine.hooks.finite_loss_hook import names_of


def make_runner(folder, **options):
    cfg = Config.fromfile(write_config(folder))
    cfg.work_dir = str(folder / 'run')
    cfg.merge_from_dict(options)
    return Runner.from_cfg(cfg)


def saved(folder):
    return sorted(path.name for path in (folder / 'run').glob('*.pth'))


def test_the_message_names_epoch_iteration_term_pictures_and_checkpoint(tmp_path):
    runner = make_runner(tmp_path, **{'model.nan_at': (1, 2)})
    with pytest.raises(ValueError) as caught:
        runner.train()
    message = str(caught.value)
    assert message.startswith(
        'the loss is no finite number in epoch 2, iteration 8: loss_ce is nan, loss_gram_global is nan; pictures of the batch: '
    )
    assert f'the last good checkpoint is {tmp_path / "run" / "epoch_1.pth"}' in message and 'A smaller learning rate' in message
    assert saved(tmp_path) == ['epoch_1.pth']


def test_the_weights_stay_those_of_the_step_before(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
    before = make_runner(tmp_path / 'a', **{'train_cfg.max_epochs': 1, 'param_scheduler': None})
    before.train()
    runner = make_runner(tmp_path / 'b', **{'model.nan_at': (1, 0), 'param_scheduler': None})
    with pytest.raises(ValueError, match='epoch 2, iteration 6'):
        runner.train()
    assert torch.equal(runner.model.tuned.weight, before.model.tuned.weight)


@pytest.mark.parametrize('rate', [1e30, math.inf, math.nan])
def test_a_learning_rate_that_ruins_the_weights_saves_none_of_them(tmp_path, rate):
    options = {'optim_wrapper.optimizer.lr': rate, 'param_scheduler': None}
    with pytest.raises(ValueError, match='the loss is no finite number in epoch 1, iteration [23]|weights are no finite numbers'):
        make_runner(tmp_path, **options).train()
    # One step in an epoch: the loss was still a number when the weights no longer were.
    options.update({'train_dataloader.batch_size': 20, 'train_cfg.max_epochs': 1})
    (tmp_path / 'b').mkdir()
    if rate != 1e30:
        with pytest.raises(ValueError, match=r'after epoch 1, 2 of the weights are no finite numbers any more, among them tuned'):
            make_runner(tmp_path / 'b', **options).train()
    assert not saved(tmp_path) and not saved(tmp_path / 'b')


def runner_of(scaler=None):
    warned = []
    wrapper = SimpleNamespace(loss_scaler=scaler)
    return SimpleNamespace(
        model=Adds(),
        epoch=2,
        iter=30,
        optim_wrapper=wrapper,
        _train_loop=None,
        hooks=[],
        logger=SimpleNamespace(warning=warned.append),
        warned=warned,
        message_hub=SimpleNamespace(runtime_info=dict(last_ckpt='epoch_2.pth')),
    )


class Adds(torch.nn.Module):
    def parse_losses(self, losses):
        return losses['loss_a'] + losses['loss_b'], dict(losses, loss=losses['loss_a'] + losses['loss_b'])


def watched(monkeypatch, scaler=None, **arguments):
    monkeypatch.setattr('mmpretrain_mps.engine.hooks.finite_loss_hook.is_training', lambda runner: True)
    runner, hook = runner_of(scaler), FiniteLossHook(**arguments)
    hook.before_train(runner)
    return runner, hook


def step(runner, first, second=1.0):
    return runner.model.parse_losses(dict(loss_a=torch.tensor(first), loss_b=torch.tensor(second), acc=torch.tensor(math.nan)))


def test_what_is_no_part_of_the_loss_may_be_anything(monkeypatch):
    runner, _ = watched(monkeypatch)
    total, values = step(runner, 2.0)
    assert float(total) == 3 and set(values) == {'loss_a', 'loss_b', 'acc', 'loss'}


@pytest.mark.parametrize(
    'terms, said', [((math.inf, 1.0), 'loss_a is inf;'), ((1.0, math.nan), 'loss_b is nan;'), ((3e38, 3e38), 'their sum;')]
)
def test_the_terms_at_fault_are_named(monkeypatch, terms, said):
    runner, _ = watched(monkeypatch)
    with pytest.raises(ValueError, match='epoch 3, iteration 31') as caught:
        step(runner, *terms)
    assert said in str(caught.value)


def scaler(enabled=True):
    return torch.amp.GradScaler('cpu', enabled=enabled)


def test_steps_that_a_loss_scaler_skips_end_nothing_until_they_are_all_there_is(monkeypatch):
    runner, _ = watched(monkeypatch, scaler(), patience=3)
    for loss in (1.0, math.nan, math.nan, 1.0, math.inf, math.nan):
        step(runner, loss)
    assert len(runner.warned) == 2 and all('The loss scaler skips the step' in text for text in runner.warned)
    with pytest.raises(ValueError, match='so it was for 3 steps in a row'):
        step(runner, math.nan)


def test_a_scaler_of_bfloat16_skips_nothing(monkeypatch):
    runner, _ = watched(monkeypatch, scaler(enabled=False))
    with pytest.raises(ValueError, match='loss_a is nan'):
        step(runner, math.nan)


def test_an_overflow_of_the_gradient_is_the_scalers_business(tmp_path):
    """The gradient overflows under the scaled loss, the loss does not: the step is skipped, the training goes on."""
    runner = make_runner(tmp_path, **{'train_cfg.max_epochs': 2})
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    wrapper = runner.build_optim_wrapper(
        dict(type='DeviceAmpOptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.1))
    )
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=3.4e38, growth_interval=10**6)
    runner.optim_wrapper = wrapper
    before = runner.model.tuned.weight.clone()
    runner.train()
    assert wrapper.loss_scaler.get_scale() < 3.4e38 and torch.isfinite(runner.model.tuned.weight).all()
    assert not torch.equal(before, runner.model.tuned.weight) and saved(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']


def test_on_a_device_losses_are_looked_at_together(monkeypatch):
    """The device is pretended: only where the host looks differs."""
    runner, hook = watched(monkeypatch, interval=3)
    looked = []
    monkeypatch.setattr(hook, '_judge', lambda runner: looked.append(len(hook._steps)) or hook._steps.clear())
    runner.train_dataloader = range(8)
    for index in range(8):
        hook._steps.append(index)
        hook.after_train_iter(runner, index)
    assert looked == [3, 3, 2]


def test_pictures_are_called_by_path_or_number():
    samples = [SimpleNamespace(img_path='a/b.png', sample_idx=3), SimpleNamespace(sample_idx=4), SimpleNamespace()]
    assert names_of(dict(data_samples=samples)) == ['a/b.png', 'no. 4', 'no. ?'] and names_of(None) == []


@pytest.mark.parametrize('patience', [0, -1, 1.5, True, None])
def test_a_patience_that_is_none_is_refused(patience):
    with pytest.raises(ValueError, match='expected a number of steps from 1'):
        FiniteLossHook(patience=patience)
