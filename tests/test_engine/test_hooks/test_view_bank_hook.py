"""Whole trainings on pre-drawn views."""

import os
import time
from unittest import mock

import pytest
import tiny_run
import torch
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_clip import shake
from tiny_digits import write_config

from mmpretrain_mps.engine.hooks import ViewBankHook, view_bank_hook
from mmpretrain_mps.engine.hooks.view_bank_hook import views_of_training
from mmpretrain_mps.engine.launch import fit_wrapper
from mmpretrain_mps.models import DualBranchViT
from mmpretrain_mps.models.caches import view_bank
from mmpretrain_mps.utils import apply_options


@HOOKS.register_module()
class InterruptBefore(Hook):
    """Interrupts the run before an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise KeyboardInterrupt


def build_runner(config, work_dir, options, **entries):
    """Build a runner of 20 pictures for 3 epochs, without validation; ``options`` as of the command line."""
    cfg = Config.fromfile(config)
    apply_options(cfg, {'num_shots': 2, 'train_cfg.max_epochs': 3, **options})
    cfg.merge_from_dict(dict(work_dir=str(work_dir), log_level='ERROR', experiment_name=os.urandom(8).hex()))
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.merge_from_dict(entries)
    return Runner.from_cfg(cfg)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('bank'))


@pytest.fixture
def make(config, tmp_path):
    return lambda name='run', options=(), **entries: build_runner(
        config, tmp_path / name, {'view_bank': 4, **dict(options)}, **entries
    )


@pytest.fixture
def trunk_runs(monkeypatch):
    """Number of pictures that went through the trunk."""
    runs, original = [], DualBranchViT._run_trunk
    monkeypatch.setattr(DualBranchViT, '_run_trunk', lambda self, x: runs.append(len(x)) or original(self, x))
    return runs


def weights(runner):
    return {name: value for name, value in runner.model.state_dict().items() if 'tuned' in name}


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize('storage, dtype', [('auto', None), ('disk', 'float32'), ('device', None)])
def test_steps_have_the_losses_and_gradients_of_the_same_views_without_a_bank(make, storage, dtype):
    runner = make(options={'custom_hooks.5.storage': storage, 'custom_hooks.5.dtype': dtype})
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    shake(runner.model)  # at the start, both branches are equal and the Gram differences are nothing but rounding
    runner.call_hook('before_run')
    runner.call_hook('before_train')
    dataset, model = runner.train_dataloader.dataset, runner.model
    runner.train_dataloader.sampler.set_epoch(2)
    views = dataset._pre_drawn
    for data in runner.train_dataloader:
        pictures = [
            views.load(dataset.get_data_info(sample.sample_idx))[shown]
            for sample, shown in zip(data['data_samples'], data['inputs']['views'])
        ]
        direct = dict(inputs=list(torch.stack(pictures, 1)), data_samples=data['data_samples'])
        results = []
        for batch in (data, direct):
            model.zero_grad()
            losses = model(**model.data_preprocessor(batch, True), mode='loss')
            total(losses).backward()
            results.append((losses, [p.grad for p in model.parameters() if p.requires_grad]))
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_a_training_runs_the_frozen_part_once_per_view_that_it_shows(make, trunk_runs, tmp_path):
    runner = make(options={'optim_wrapper.accumulative_counts': 2})
    runner.train()
    # One view for the size; 20 pictures show at most 4 views, which three epochs of 2 nearly all use.
    assert trunk_runs[0] == 1 and 60 < sum(trunk_runs[1:]) <= 80
    assert runner.model.data_preprocessor.view_bank is None
    assert isinstance(runner.train_dataloader.dataset[0]['inputs'], list)
    assert not list(tmp_path.rglob('view_bank*'))
    runner.call_hook('before_run')  # as a test after the training does
    assert isinstance(runner.train_dataloader.dataset[0]['inputs'], list)


@pytest.mark.slow
def test_an_interrupted_and_resumed_training_gives_the_same_bits(make):
    whole = make('whole')
    whole.train()
    half = make('half')
    half.register_hook(dict(type='InterruptBefore', epoch=1))
    with pytest.raises(KeyboardInterrupt):
        half.train()
    resumed = make('half', resume=True)
    resumed.train()
    assert resumed.epoch == 3
    ours, theirs = weights(resumed), weights(whole)
    assert ours and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_accumulation_mixed_precision_checkpointing_and_compilation_go_with_it(make):
    make(
        options={
            'optim_wrapper.type': 'DeviceAmpOptimWrapper',
            'model.backbone.checkpointing': True,
            'model.compile': dict(backend='eager'),
            'optim_wrapper.accumulative_counts': 2,
            'num_shots': 1,
            'custom_hooks.5.dtype': 'bfloat16',
            'train_cfg.max_epochs': 1,
        }
    ).train()


def train_ranks(rank, num_ranks, config, folder):
    """Train with batches that are 10 together; return weights and the number of views that were computed."""
    torch.manual_seed(0)
    entries = {'train_dataloader.batch_size': 10 // num_ranks, 'train_cfg.max_epochs': 2, 'default_hooks.checkpoint': None}
    if num_ranks > 1:
        entries.update(launcher='pytorch')
    cfg_hook = Config(dict(launcher=entries.get('launcher', 'none')))
    if num_ranks > 1:
        fit_wrapper(cfg_hook)
        entries['model_wrapper_cfg'] = cfg_hook.model_wrapper_cfg.to_dict()
    computed, original = [], DualBranchViT._run_trunk
    with mock.patch.object(DualBranchViT, '_run_trunk', lambda self, x: computed.append(len(x)) or original(self, x)):
        runner = build_runner(config, f'{folder}/{num_ranks}', {'view_bank': 8}, **entries)
        model = runner.model.module if num_ranks > 1 else runner.model
        shake(model)
        runner.train()
    return {**{name: value for name, value in model.state_dict().items() if 'tuned' in name}, 'views': sum(computed)}


def test_two_processes_train_like_one_and_compute_only_what_they_show(config, tmp_path):
    one = train_ranks(0, 1, str(config), str(tmp_path))
    two = run_ranks(train_ranks, 2, tmp_path / 'meeting', str(config), str(tmp_path))
    views = one.pop('views')
    for rank in two:
        assert rank.pop('views') < 0.7 * views
        torch.testing.assert_close(rank, one, rtol=1e-4, atol=1e-5)


def test_the_plan_of_a_process_holds_what_its_sampler_deals_out(make):
    runner = make()
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    dataset, plans = runner.train_dataloader.dataset, []
    views = dataset.set_view_bank(4)
    for rank in range(3):
        sampler = DefaultSampler(dataset, seed=1, round_up=False)
        sampler.rank, sampler.world_size = rank, 3
        expected = torch.zeros(20, 4, dtype=torch.bool)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            for picture in sampler:
                for view in views.shown(epoch)[picture].tolist():
                    expected[picture, view] = True
        sampler.set_epoch(1)
        plans.append(views_of_training(sampler, views, 20, 3))
        assert torch.equal(plans[-1], expected) and sampler.epoch == 1
    assert torch.equal(plans[0] | plans[1] | plans[2], views_of_training(DefaultSampler(dataset, seed=1), views, 20, 3))


def test_a_bank_beyond_its_limit_is_refused_before_any_work(make, trunk_runs):
    runner = make(options={'custom_hooks.5.max_bytes': 50_000, 'train_cfg.max_epochs': 20})
    # 20 pictures x 4 views x (2 x 5 tokens x 16 wide + 5 x 8) x 4 bytes
    message = (
        r'would take 64\.00 kB of ram, but max_bytes allows 50\.00 kB: 20 pictures x 4 views, 80 of them used; '
        r'stem 5 x 16 float32 \+ shared 5 x 16 float32 \+ zero_shot 5 x 8 float32 = 0\.8 kB per view.*'
        r'view_bank=3 fits, custom_hooks\.5\.max_bytes=64000 .*custom_hooks\.5\.storage=disk'
    )
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert trunk_runs == [1] and runner.model.class_names is None and runner.iter == 0


@pytest.mark.parametrize('size', [10**8, 10**12])
def test_a_bank_that_would_fill_the_memory_while_it_is_drawn_is_refused_before_it_is_drawn(make, trunk_runs, size):
    runner = make(options={'view_bank': size})
    start = time.monotonic()
    with pytest.raises(ValueError, match=f'view_bank={size} views of 20 pictures take .* while they are drawn, but max_bytes'):
        runner.train()
    assert time.monotonic() - start < 10 and not trunk_runs


def test_a_bank_beyond_the_memory_is_refused_before_any_work_whatever_its_limit(make, trunk_runs, monkeypatch):
    monkeypatch.setattr(view_bank, 'available_memory', lambda: 1000)
    runner = make(options={'custom_hooks.5.max_bytes': 1e15})
    with pytest.raises(ValueError, match=r'takes .* kB of memory, but only 1\.00 kB are available'):
        runner.train()
    assert trunk_runs == [1] and runner.model.class_names is None and runner.iter == 0


def test_views_of_one_picture_go_through_the_frozen_part_in_bounded_batches(make, trunk_runs, monkeypatch):
    monkeypatch.setattr(view_bank_hook, '_BATCH', 3)
    make(options={'num_shots': 1}).train()
    assert trunk_runs[0] == 1 and max(trunk_runs) == 3 and 30 < sum(trunk_runs[1:]) <= 40


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(view_bank=-1), 'view_bank is -1, expected a number'),
        (dict(view_bank=True), 'view_bank is True'),
        (dict(storage='tape'), r"storage of ViewBankHook is 'tape', expected 'auto' or one of \('ram', 'disk', 'device'\)"),
        (dict(dtype='int8'), "dtype of ViewBankHook is 'int8'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ViewBankHook(**arguments)


@pytest.mark.parametrize(
    'entries, message',
    [
        (dict(train_cfg=dict(_delete_=True, by_epoch=False, max_iters=4)), 'the train loop is IterBasedTrainLoop'),
        ({'train_dataloader.sampler': dict(_delete_=True, type='InfiniteSampler')}, 'sampler is InfiniteSampler'),
        ({'model.data_preprocessor': dict(type='SelfSupDataPreprocessor')}, 'preprocessor is SelfSupDataPreprocessor'),
        (dict(compile=True), 'does not go with compile of the runner'),
    ],
)
def test_runs_that_it_cannot_serve_are_refused(make, entries, message):
    with pytest.raises(ValueError, match=message):
        make(**entries).train()


def test_models_and_data_sets_of_other_kinds_are_refused(tmp_path):
    cfg = Config.fromfile(tiny_run.write_config(tmp_path))
    cfg.merge_from_dict(dict(work_dir=str(tmp_path), custom_hooks=[dict(type='ViewBankHook', view_bank=4)]))
    with pytest.raises(ValueError, match='the training data set is TinyDataset, expected FewShotDataset'):
        Runner.from_cfg(cfg).train()
