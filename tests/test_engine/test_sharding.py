"""Shares of the weights in several processes train as whole weights in one, and leave the same files behind."""

import copy
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import tiny_digits
import torch
import torch.distributed as dist
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from tiny_clip import save_tiny_clip
from tiny_run import ROOT
from tiny_steps import build_shaken, pictures
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmpretrain_mps.engine.hooks import ViewBankHook
from mmpretrain_mps.engine.optim_wrapper import TrainableOptimWrapperConstructor
from mmpretrain_mps.engine.preflight import check_processes
from mmpretrain_mps.engine.sharding import ShardedDataParallel
from mmpretrain_mps.models import DualBranchViT

PICTURES = 8
VARIANTS = dict(
    plain=dict(), checkpointing=dict(backbone=dict(checkpointing=True)), no_adapters=dict(backbone=dict(adapters=False))
)
SGD = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4)


def train(rank, num_ranks, architecture, overrides, start=None, **options):
    """Train five steps; return logged values and the whole states of model and optimizer."""
    model = build_shaken(architecture, **overrides)
    if num_ranks > 1:
        model = ShardedDataParallel(model)
    optimizer = TrainableOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=SGD, **options))(model)
    module = model.module if num_ranks > 1 else model
    if start:
        module.load_state_dict(start['model'])
        # A copy: an optimizer works on the tensors that it is given.
        optimizer.load_state_dict(copy.deepcopy(start['optimizer']))
    share = PICTURES // num_ranks
    logs = [
        {name: torch.as_tensor(value).detach() for name, value in model.train_step(data, optimizer).items()}
        for data in pictures(rank * share, share)
    ]
    return dict(logs=logs, model=dict(module.state_dict()), optimizer=optimizer.state_dict())


def train_in_bfloat16(rank, num_ranks, architecture):
    """Train with autocast, with whole float32 weights of blocks and with those in bfloat16; return states and traffic."""
    found = {}
    for name, options in dict(whole={}, half=dict(param_dtype='bfloat16')).items():
        model = ShardedDataParallel(build_shaken(architecture), **options)
        amp = dict(type='mmpretrain.DeviceAmpOptimWrapper', dtype='bfloat16')
        wrapper = TrainableOptimWrapperConstructor({**amp, 'optimizer': SGD})(model)
        with GatheredBytes() as gathered:
            losses = [model.train_step(data, wrapper)['loss'].detach() for data in pictures(4 * rank, 4)]
        local = {parameter.to_local().dtype for parameter in model.parameters()}
        if name == 'half':
            # Without autocast: layer norms would be given weights of one type and tokens of another.
            plain = TrainableOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=SGD))(model)
            try:
                model.train_step(next(iter(pictures(4 * rank, 4))), plain)
            except ValueError as error:
                found['refused'] = str(error)
        state = dict(model.module.state_dict())
        found[name] = dict(losses=losses, state=state, gathered=gathered.bytes, local=local)
    return found


class GatheredBytes(TorchDispatchMode):
    """Counts the bytes of the weights that are gathered within this context."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if 'all_gather_into_tensor' in func.__name__ or 'allgather_base' in func.__name__:
            tensor = next(leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor))
            self.bytes += tensor.nbytes
        return func(*args, **(kwargs or {}))


def train_all(rank, num_ranks, architecture):
    """All scenarios in one start of the processes."""
    found = {name: train(rank, num_ranks, architecture, overrides) for name, overrides in VARIANTS.items()}
    found['accumulated'] = train(rank, num_ranks, architecture, {}, accumulative_counts=2)
    found['clipped'] = train(rank, num_ranks, architecture, {}, clip_grad=dict(max_norm=1.0))
    found['continued'] = train(rank, num_ranks, architecture, {}, start=found['plain'])
    return found


def shares(rank, num_ranks, architecture):
    """Return what one process holds of all weights, and whether an infinite gradient elsewhere stops its update."""
    model = ShardedDataParallel(build_shaken(architecture))
    parameters = list(model.parameters())
    held = sum(parameter.to_local().numel() for parameter in parameters)
    total = sum(parameter.numel() for parameter in parameters)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer, scaler = torch.optim.SGD(trained, lr=0.1), torch.amp.GradScaler('cpu', init_scale=8.0)
    before = [parameter.full_tensor() for parameter in trained]
    data = model.module.data_preprocessor(next(pictures(4 * rank, 4)), True)
    scaler.scale(model.module.parse_losses(model(**data, mode='loss'))[0]).backward()
    if rank == 1:
        trained[3].grad.to_local().view(-1)[0] = float('inf')
    scaler.step(optimizer)
    scaler.update()
    moved = sum(not torch.equal(old, parameter.full_tensor()) for old, parameter in zip(before, trained))
    return dict(held=held, total=total, moved=moved, scale=scaler.get_scale())


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture(scope='module')
def one(architecture):
    return train_all(0, 1, architecture)


@pytest.fixture(scope='module')
def two(architecture, tmp_path_factory):
    return run_ranks(train_all, 2, tmp_path_factory.mktemp('ranks') / 'run', architecture)


@pytest.mark.parametrize('scenario', [*VARIANTS, 'accumulated', 'clipped', 'continued'])
def test_losses_weights_and_momentum_are_those_of_one_process(one, two, scenario):
    for rank in two:
        torch.testing.assert_close(rank[scenario], one[scenario], rtol=1e-5, atol=1e-5)


def test_states_are_whole_and_plain(one, two):
    for rank in two:
        state = rank['plain']['model']
        assert list(state) == list(one['plain']['model'])
        assert all(type(value) is torch.Tensor for value in state.values())
        momenta = [entry['momentum_buffer'] for entry in rank['plain']['optimizer']['state'].values()]
        assert all(type(value) is torch.Tensor for value in momenta)


def test_each_process_holds_its_share_and_all_skip_a_step_that_one_finds_infinite(architecture, tmp_path):
    ranks = run_ranks(shares, 2, tmp_path / 'run', architecture)
    assert sum(rank['held'] for rank in ranks) == ranks[0]['total']
    assert all(abs(rank['held'] / rank['total'] - 0.5) < 0.02 for rank in ranks)
    assert [(rank['moved'], rank['scale']) for rank in ranks] == [(0, 4.0), (0, 4.0)]


def test_weights_of_blocks_are_gathered_in_half_precision_and_kept_whole(architecture, tmp_path):
    for rank in run_ranks(train_in_bfloat16, 2, tmp_path / 'run', architecture):
        whole, half = rank['whole'], rank['half']
        assert half['local'] == {torch.float32}
        assert "is 'bfloat16', but the model computes in float32: add --amp and" in rank['refused']
        assert 0.4 < half['gathered'] / whole['gathered'] < 0.7
        torch.testing.assert_close(half['losses'], whole['losses'], rtol=0.02, atol=0.02)
        assert all(value.dtype == whole['state'][name].dtype for name, value in half['state'].items())
        moved = [name for name, value in half['state'].items() if not torch.equal(value, whole['state'][name])]
        for name in moved:
            torch.testing.assert_close(half['state'][name], whole['state'][name], rtol=0.05, atol=0.02)


def test_another_type_to_gather_in_is_refused():
    with pytest.raises(ValueError, match="param_dtype of ShardedDataParallel is 'int8', expected one of .'bfloat16', 'float16'."):
        ShardedDataParallel(torch.nn.Linear(1, 1), param_dtype='int8')


def test_the_base_config_switches_it_on_and_one_process_trains_the_same_file(tmp_path, capsys):
    config = tmp_path / 'sharded.py'
    plain = tiny_digits.write_config(tmp_path)
    config.write_text(f"_base_ = ['{plain.name}', '{ROOT / 'configs' / '_base_' / 'sharded.py'}']\n")
    options = (
        'num_shots=2',
        'model.gram_loss.p=2',
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.save_best=accuracy/zero_shot',
    )
    run_ranks(
        tiny_digits.train, 2, tmp_path / 'ranks', str(config), str(tmp_path / 'two'), (*options, 'train_dataloader.batch_size=5')
    )
    tiny_digits.train(0, 1, str(config), str(tmp_path / 'one'), (*options, 'train_dataloader.batch_size=10'))
    assert 'a single process keeps everything' in capsys.readouterr().out
    # The accuracy of the frozen branch is best after the first epoch, whatever is tuned.
    for file in ('epoch_2.pth', 'best_accuracy_zero_shot_epoch_1.pth'):
        two, one = (torch.load(tmp_path / name / file, weights_only=True) for name in ('two', 'one'))
        assert set(two) == set(one)
        for part in {'state_dict', 'optimizer'} & set(one):
            torch.testing.assert_close(two[part], one[part], rtol=1e-5, atol=1e-6)
        assert two['message_hub']['runtime_info']['best_score'] == one['message_hub']['runtime_info']['best_score']


def count_frozen_runs(rank, num_ranks, config, folder):
    """Train with zero-shot features kept on disk, which one process then loses; return how often they were computed."""
    counts = []
    for run in range(3):
        runs, original = [], DualBranchViT._run_zero_shot
        with mock.patch.object(DualBranchViT, '_run_zero_shot', lambda *args: runs.append(1) or original(*args)):
            tiny_digits.train(
                rank,
                num_ranks,
                config,
                f'{folder}/{run}',
                ('num_shots=1', f'custom_hooks.4.cache={folder}/kept', 'train_dataloader.batch_size=5'),
            )
        counts.append(len(runs))
        dist.barrier()
        if run == 0 and rank == 1:
            (file,) = Path(folder, 'kept').glob('*-1of2.safetensors')
            file.unlink()
        dist.barrier()
    return torch.tensor(counts)


def test_where_one_process_lacks_its_kept_features_all_compute_them(tmp_path):
    config = tiny_digits.write_config(tmp_path, epochs=1, more="model_wrapper_cfg = dict(type='ShardedDataParallel')")
    ranks = run_ranks(count_frozen_runs, 2, tmp_path / 'ranks', str(config), str(tmp_path))
    first, lost, kept = ranks[0].tolist()
    assert ranks[1].tolist() == [first, lost, kept]
    assert first == lost > kept


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model_wrapper_cfg.type': 'MMFullyShardedDataParallel'}, "asks for MMFully.* can be .*'ShardedDataParallel'"),
        ({'model_wrapper_cfg.type': 'MMSeparateDistributedDataParallel'}, 'wraps the parts of a model one by one'),
        (dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy')), 'FlexibleRunner with FSDPStrategy'),
        (dict(runner_type='FlexibleRunner', launcher='pytorch'), 'cannot read; leave out runner_type'),
        ({'model_wrapper_cfg.type': 'ShardedDataParallel', 'model.compile': True}, 'leave out compile, or the sharding'),
        ({'model_wrapper_cfg.type': 'ShardedDataParallel', 'custom_hooks': [dict(type='EMAHook')]}, 'EMAHook copies'),
        (
            {'model_wrapper_cfg.type': 'ShardedDataParallel', 'default_hooks': dict(ema=dict(type='EMAHook'), timer=None)},
            'EMAHook copies',
        ),
        (
            {'model_wrapper_cfg.type': 'ShardedDataParallel', 'custom_hooks': [dict(type='ViewBankHook', view_bank=8)]},
            'view_bank=8 computes .* use view_bank=0, or leave out the sharding',
        ),
        (
            {'model_wrapper_cfg.type': 'ShardedDataParallel', 'val_dataloader.sampler.round_up': False},
            'val_dataloader.sampler has round_up=False; leave it out',
        ),
        (
            {'model_wrapper_cfg.type': 'ShardedDataParallel', 'test_dataloader.sampler.round_up': False},
            'test_dataloader.sampler has round_up=False',
        ),
        (
            {'model_wrapper_cfg.type': 'ShardedDataParallel', 'optim_wrapper.type': 'OptimWrapper'},
            'optim_wrapper.constructor=TrainableOptimWrapperConstructor',
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_built(options, message):
    cfg = Config(dict(launcher='pytorch'))
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=message):
        check_processes(cfg)


def test_a_view_bank_is_refused_by_its_hook_too_for_tools_that_do_not_look_before(monkeypatch):
    monkeypatch.setattr('mmpretrain_mps.engine.hooks.view_bank_hook.is_training', lambda runner: True)
    with pytest.raises(ValueError, match='view_bank=8 computes .* use view_bank=0, or leave out the sharding'):
        ViewBankHook(8).before_run(SimpleNamespace(model=ShardedDataParallel.__new__(ShardedDataParallel)))


def test_a_model_without_blocks_cannot_be_sharded():
    with pytest.raises(ValueError, match='shards the blocks of an MPSCLIPClassifier, but the model is a Linear'):
        ShardedDataParallel(torch.nn.Linear(2, 2))


def test_an_optimizer_of_whole_weights_is_left_alone(architecture):
    model = build_shaken(architecture)
    wrapper = TrainableOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=SGD))(model)
    assert isinstance(wrapper, OptimWrapper) and not wrapper.optimizer._optimizer_state_dict_post_hooks
