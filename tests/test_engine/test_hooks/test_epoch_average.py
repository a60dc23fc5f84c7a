"""The average over epochs in real runs of mmengine's runner."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_run import write_config

from mmpretrain_mps.engine.hooks import EpochAverageHook
from mmpretrain_mps.engine.hooks.epoch_average_hook import EpochAverage, epoch_weights

GAUSSIAN = dict(mean=3, std=1.5)


@HOOKS.register_module()
class KeepWeights(Hook):
    """Keeps the trained weights at the end of every epoch, before anything replaces them."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        self.kept = runner.kept_weights = []

    def after_train_epoch(self, runner):
        self.kept.append({name: p.detach().clone() for name, p in runner.model.named_parameters() if p.requires_grad})


@HOOKS.register_module()
class StopAt(Hook):
    """Interrupts the run before an epoch, or ends it early as EarlyStoppingHook does."""

    def __init__(self, epoch, early=False):
        self.epoch, self.early = epoch, early

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch and not self.early:
            raise KeyboardInterrupt

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = self.early and runner.epoch + 1 == self.epoch


@pytest.fixture
def make_runner(tmp_path):
    config = write_config(tmp_path)

    def make(work_dir='run', weights=None, **options):
        cfg = Config.fromfile(config)
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        if weights is not None:
            cfg.default_hooks.epoch_average = dict(type='EpochAverageHook', weights=weights)
        cfg.custom_hooks.append(dict(type='KeepWeights'))
        return Runner.from_cfg(cfg)

    return make


def trained_weights(runner):
    return {name: p.detach() for name, p in runner.model.named_parameters() if p.requires_grad}


def assert_equal(ours, theirs):
    assert set(ours) == set(theirs) == {'tuned.weight', 'tuned.bias'}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize('weights', ['uniform', GAUSSIAN], ids=['uniform', 'Gaussian'])
def test_the_average_of_all_epochs_takes_the_place_of_the_last_weights(make_runner, weights):
    plain = make_runner('plain')
    plain.train()
    runner = make_runner('averaged', weights)
    runner.train()
    shares = [0.25] * 4 if weights == 'uniform' else [math.exp(-((t - 3) ** 2) / 4.5) for t in (1, 2, 3, 4)]
    shares = [share / sum(shares) for share in shares]
    for name, parameter in trained_weights(runner).items():
        # The training itself never sees the average: up to the last epoch it is the same.
        history = [epoch[name] for epoch in plain.kept_weights]
        assert all(torch.equal(a, b[name]) for a, b in zip(history, runner.kept_weights))
        expected = sum(share * value.double() for share, value in zip(shares, history))
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-6, atol=1e-7)
        assert not torch.allclose(parameter, history[-1])


def test_the_checkpoint_and_the_last_validation_have_the_average_and_earlier_checkpoints_have_the_weights(make_runner):
    runner = make_runner(weights='uniform', default_hooks__checkpoint__max_keep_ckpts=-1)
    runner.train()
    states = [torch.load(f'{runner.work_dir}/epoch_{epoch}.pth', weights_only=True) for epoch in (1, 2, 3, 4)]
    for epoch, state in enumerate(states[:3]):
        weights = runner.kept_weights[epoch]
        assert_equal({name: state['state_dict'][name] for name in weights}, weights)
        assert state['epoch_average']['epochs'] == epoch + 1
    final = {name: states[3]['state_dict'][name] for name in trained_weights(runner)}
    assert_equal(final, trained_weights(runner))
    assert set(states[3]['epoch_average']['sums']) == set(final)  # of the frozen layer there is no average
    tester = make_runner('test', load_from=f'{runner.work_dir}/epoch_4.pth')
    assert tester.test()['accuracy/tuned'] == runner.message_hub.get_scalar('val/accuracy/tuned').current()


@pytest.mark.parametrize('before_epoch', [1, 3])
def test_a_resumed_training_gives_the_same_average_to_the_last_bit(make_runner, before_epoch):
    whole = make_runner('whole', GAUSSIAN)
    whole.train()
    half = make_runner('half', GAUSSIAN)
    half.register_hook(dict(type='StopAt', epoch=before_epoch))
    with pytest.raises(KeyboardInterrupt):
        half.train()
    resumed = make_runner('half', GAUSSIAN, resume=True)
    resumed.train()
    assert_equal(trained_weights(resumed), trained_weights(whole))


def test_resuming_with_other_weights_epochs_or_without_a_sum_is_refused(make_runner):
    for work_dir, weights in (('with', GAUSSIAN), ('without', None)):
        half = make_runner(work_dir, weights)
        half.register_hook(dict(type='StopAt', epoch=2))
        with pytest.raises(KeyboardInterrupt):
            half.train()
    with pytest.raises(ValueError, match="over 4 epochs with the weights .*'mean': 3.0.* this run over 4 with uniform"):
        make_runner('with', 'uniform', resume=True).train()
    with pytest.raises(ValueError, match='over 4 epochs .* but this run over 6'):
        make_runner('with', GAUSSIAN, resume=True, train_cfg__max_epochs=6).train()
    with pytest.raises(ValueError, match='the checkpoint has none: it was trained without the hook'):
        make_runner('without', GAUSSIAN, resume=True).train()


def test_loading_weights_to_train_on_from_needs_no_sum(make_runner):
    plain = make_runner('plain')
    plain.train()
    runner = make_runner('on', 'uniform', load_from=plain.message_hub.get_info('last_ckpt'))
    runner.train()
    mean = torch.stack([epoch['tuned.bias'] for epoch in runner.kept_weights]).mean(0)
    torch.testing.assert_close(trained_weights(runner)['tuned.bias'], mean)


def test_a_training_that_stops_early_says_that_its_weights_are_no_average(make_runner, monkeypatch):
    runner = make_runner(weights='uniform')
    runner.register_hook(dict(type='StopAt', epoch=2, early=True))
    warnings = []
    monkeypatch.setattr(runner.logger, 'warning', warnings.append)
    runner.train()
    assert any('stopped after 2 of 4 epochs' in str(line) for line in warnings)
    assert_equal(trained_weights(runner), runner.kept_weights[-1])


def test_a_training_without_epochs_is_refused(make_runner):
    runner = make_runner(
        weights='uniform', train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=4), param_scheduler=None
    )
    with pytest.raises(ValueError, match='is a IterBasedTrainLoop; expected an EpochBasedTrainLoop'):
        runner.train()


@pytest.mark.parametrize('weights', ['gaussian', dict(mean=3), dict(mean=3, std=0), dict(mean=3, std=1, extra=2), None])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="must be 'uniform' or dict"):
        EpochAverageHook(weights)


def test_weights_of_epochs_by_hand():
    assert epoch_weights('uniform', 4) == [0.25] * 4
    parts = [math.exp(-2), math.exp(-0.5), 1]
    assert epoch_weights(dict(mean=3, std=1), 3) == pytest.approx([part / sum(parts) for part in parts])
    # Far from all epochs, the nearest one counts, instead of a division by zero.
    assert epoch_weights(dict(mean=10000, std=1), 3) == pytest.approx([0, 0, 1])


def test_half_precision_is_averaged_in_float32():
    average = EpochAverage([0.5, 0.5])
    for value in (1.0, 1.0 + 2**-10):
        average.add([('weight', torch.full((2,), value, dtype=torch.float16))])
    assert average.complete and average.sums['weight'].tolist() == [1 + 2**-11] * 2
