"""What the hooks do in real runs of mmengine's runner."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_run import write_config

from mmpretrain_mps.engine.hooks.loops import unwrapped


@HOOKS.register_module()
class LeaveThings(Hook):
    """Puts into the message hub what other hooks put there: arrays, and something that cannot be saved."""

    def before_train_epoch(self, runner):
        runner.message_hub.update_info('matrix', torch.eye(2).numpy())
        runner.message_hub.update_info('object', lambda: None)


@HOOKS.register_module()
class StopBefore(Hook):
    """Interrupts the run before an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def make_runner(tmp_path):
    """Return a function that builds a runner of the tiny config with options."""
    config = write_config(tmp_path)

    def make(work_dir='run', **options):
        cfg = Config.fromfile(config)
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        return Runner.from_cfg(cfg)

    return make


@pytest.fixture
def trained(make_runner):
    """Return a finished run of 4 epochs and the path of its checkpoint."""
    runner = make_runner()
    runner.train()
    return runner, runner.message_hub.get_info('last_ckpt')


def interrupt(runner, before_epoch):
    runner.register_hook(dict(type='StopBefore', epoch=before_epoch))
    with pytest.raises(KeyboardInterrupt):
        runner.train()


def test_the_model_is_told_every_epoch_also_after_resuming(make_runner, trained):
    runner, _ = trained
    assert runner.model.epochs == [(0, 4), (1, 4), (2, 4), (3, 4)]
    interrupt(make_runner('half'), before_epoch=2)
    resumed = make_runner('half', resume=True)
    resumed.train()
    assert resumed.model.epochs == [(2, 4), (3, 4)]


def test_class_names_and_templates_come_from_the_data_set(trained, make_runner):
    runner, checkpoint = trained
    assert (runner.model.class_names, runner.model.templates) == (('one', 'two', 'three'), ('a photo of a {}.',))
    tester = make_runner(load_from=checkpoint)
    tester.test()
    assert tester.model.class_names == ('one', 'two', 'three')


def test_templates_of_the_model_go_first(make_runner):
    runner = make_runner(model__templates=['{} drawn.'])
    runner.call_hook('before_run')
    assert runner.model.class_names is None  # no loop was built, so no data set was asked for
    runner.train_loop
    runner.call_hook('before_run')
    assert runner.model.templates == ['{} drawn.']


def test_other_class_names_are_refused_before_anything_is_trained(make_runner):
    runner = make_runner(model__class_names=['one', 'zwei', 'three'])
    message = "class 1 is 'two' in data set Tiny, but 'zwei' in the model"
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_test_set_with_more_classes_is_refused(make_runner):
    runner = make_runner(model__class_names=['one', 'two', 'three'])
    runner.test_loop.dataloader.dataset.metainfo['classes'] += ('four',)
    with pytest.raises(ValueError, match=r'data set Tiny has 4 classes \(.*\), but the model has 3'):
        runner.test()


def test_a_data_set_without_names_says_what_to_give(make_runner):
    with pytest.raises(ValueError, match='no class names, and data set Tiny gives it none; set model.class_names'):
        make_runner(train_dataloader__dataset__classes=()).train()


def test_a_checkpoint_loads_as_plain_data_and_says_where_it_comes_from(make_runner):
    runner = make_runner(
        custom_hooks=[
            dict(type='ClassNamesHook'),
            dict(type='TemperatureHook'),
            dict(type='LeaveThings'),
            dict(type='PlainCheckpointHook'),
        ]
    )
    runner.train()
    checkpoint = torch.load(runner.message_hub.get_info('last_ckpt'), weights_only=True)
    assert checkpoint['meta']['origin'] == dict(dataset_name='Tiny', split_id='a' * 64, num_shots=4, seed=1, picks_id='b' * 64)
    assert checkpoint['meta']['epoch'] == 4 and 'TinyClassifier' in checkpoint['meta']['cfg']
    info = checkpoint['message_hub']['runtime_info']
    assert torch.equal(info['matrix'], torch.eye(2)) and 'object' not in info
    assert set(checkpoint) == {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'}
    # The run itself keeps what it had.
    assert callable(runner.message_hub.get_info('object'))
    assert runner.message_hub.get_scalar('train/loss').mean(5) > 0


def test_a_resumed_run_ends_with_the_same_weights_log_and_optimizer(make_runner, trained):
    runner, checkpoint = trained
    interrupt(make_runner('half'), before_epoch=2)
    resumed = make_runner('half', resume=True)
    resumed.train()
    for (name, ours), theirs in zip(resumed.model.state_dict().items(), runner.model.state_dict().values()):
        assert torch.equal(ours, theirs), name
    for name in ('train/loss', 'train/lr', 'train/acc_fused'):
        ours, theirs = (run.message_hub.get_scalar(name).data[0] for run in (resumed, runner))
        assert ours.tolist() == theirs.tolist(), name
    states = [run.optim_wrapper.state_dict()['state'] for run in (resumed, runner)]
    assert all(torch.equal(states[0][i]['momentum_buffer'], states[1][i]['momentum_buffer']) for i in states[1])


@pytest.mark.parametrize('resume', [True, False])
def test_training_does_not_go_on_with_another_split_or_other_pictures(make_runner, trained, resume):
    _, checkpoint = trained
    with pytest.raises(ValueError, match='another split .*split_id=aaaaaaaaaaaa.*this run .*split_id=cccccccccccc'):
        make_runner('other', train_dataloader__dataset__split_id='c' * 64, load_from=checkpoint, resume=resume).train()
    with pytest.raises(ValueError, match='other pictures.*picks_id=bbbbbbbbbbbb.*picks_id=dddddddddddd'):
        make_runner('other', train_dataloader__dataset__picks_id='d' * 64, load_from=checkpoint, resume=resume).train()


def test_another_split_can_be_allowed(make_runner, trained):
    _, checkpoint = trained
    hooks = [dict(type='ClassNamesHook'), dict(type='TemperatureHook'), dict(type='PlainCheckpointHook', allow_other_split=True)]
    runner = make_runner('other', train_dataloader__dataset__split_id='c' * 64, load_from=checkpoint, custom_hooks=hooks)
    runner.train()
    assert runner.epoch == 4


def test_testing_refuses_another_split_of_the_same_data_set_but_not_another_data_set(make_runner, trained):
    _, checkpoint = trained
    with pytest.raises(ValueError, match='trained on another split of the data set'):
        make_runner(load_from=checkpoint, test_dataloader__dataset__split_id='c' * 64).test()
    metrics = make_runner(
        load_from=checkpoint, test_dataloader__dataset__split_id='c' * 64, test_dataloader__dataset__dataset_name='Elsewhere'
    ).test()
    assert metrics['accuracy/fused'] > 50


def test_a_checkpoint_of_plain_mmengine_is_refused_with_the_reason(make_runner):
    runner = make_runner(
        'stock',
        custom_hooks=[dict(type='TemperatureHook')],
        default_hooks__checkpoint=dict(_delete_=True, type='CheckpointHook', interval=1),
    )
    runner.train()
    with pytest.raises(ValueError, match=r'epoch_4\.pth is refused.*GLOBAL mmengine\.logging\.history_buffer'):
        make_runner(load_from=runner.message_hub.get_info('last_ckpt')).test()


def test_a_missing_checkpoint_is_named_before_the_model_is_touched(make_runner):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth does not exist'):
        make_runner(load_from='nowhere.pth').test()


def test_resuming_without_a_checkpoint_starts_afresh(make_runner):
    runner = make_runner('new', resume=True)
    runner.train()
    assert runner.model.epochs[0] == (0, 4)


def test_every_loss_term_temperature_and_accuracy_is_in_the_log(trained):
    runner, _ = trained
    lines = open(f'{runner.log_dir}/vis_data/scalars.json').read().split('\n')
    last = [json.loads(line) for line in lines if 'loss' in line][-1]
    assert {'lr', 'loss', 'loss_ce', 'loss_gram_global', 'temperature', 'acc_fused'} <= set(last)
    assert last['temperature'] == 0.25
    text = open(f'{runner.log_dir}/{runner.timestamp}.log').read()
    assert 'loss_gram_global: 0.0000' in text and 'temperature: 0.2500' in text and 'acc_fused: ' in text


def test_a_wrapper_of_the_model_is_seen_through():
    model = torch.nn.Linear(1, 1)
    assert unwrapped(model) is model
    assert unwrapped(torch.nn.DataParallel(model)) is model
    holder = torch.nn.Module()
    holder.module = model
    assert unwrapped(holder) is holder  # one that has a part of that name is no wrapper
