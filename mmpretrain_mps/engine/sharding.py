"""Weights, gradients and optimizer state dealt out to processes, for trainings too large for one of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.registry import MODEL_WRAPPERS  # the Runner looks wrappers up here, and not in mmpretrain's
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..models.backbones.cuda_graph import GraphedForward
from ..models.backbones.frozen_weights import nothing_remembered
from ..models.computation.precision import AMP_DTYPES

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner
    from mmpretrain.structures import DataSample
    from torch.optim import Optimizer

NO_VIEW_BANK = (
    'view_bank={} computes the features of the frozen part in each process by itself, but '
    'ShardedDataParallel gathers its weights in all together; use view_bank=0, or leave out the sharding'
)


def _keep_weights():
    """Initialise nothing."""


@MODEL_WRAPPERS.register_module()
class ShardedDataParallel(nn.Module):
    """Data-parallel training in which each process keeps a share of every weight (PyTorch's FSDP2).

    Numbers are those of ``MMDistributedDataParallel``. Each of the ``R`` processes holds 1/R of the weights, frozen
    ones too, of the gradients and of the optimizer's state. A transformer block is complete in memory only while it is
    computed; what is no block (embeddings, adapters, norms, projections) is complete from the forward to the end of the
    backward pass. A text tower that a method keeps is whole in each process.

    That saves memory while a model trains, not while it is made: mmengine builds the whole model in every process and
    moves it to the process's device before it is wrapped, so that all weights must fit there once. What never has to
    fit beside them are gradients, optimizer state and activations.

    Checkpoints are the same files as without: :func:`whole_state` puts the shares together before the main process
    writes, and every process takes its share of what is loaded.

    Args:
        module (nn.Module): The classifier; its backbone names the blocks (``all_blocks()``). Random weights must be the
            same in all processes, which the Runner's seed makes them.
        param_dtype (str, optional): ``'bfloat16'`` or ``'float16'``: the weights of blocks are gathered, and complete, in this
            type: half the traffic and half the memory of a complete block, for training with ``--amp`` in the same type, where
            matrix products see no other weights anyway. Each process's share, the sums of gradients, the optimizer and
            checkpoints stay float32. Defaults to float32.

    Raises:
        ValueError: If the model does not say which blocks it has, cannot be sharded as it is, or the type is another one.
    """

    def __init__(self, module: nn.Module, param_dtype: str | None = None):
        super().__init__()
        if param_dtype is not None and param_dtype not in AMP_DTYPES:
            raise ValueError(
                f'param_dtype of ShardedDataParallel is {param_dtype!r}, expected one of {sorted(AMP_DTYPES)} or None'
            )
        _check_can_shard(module)
        # Hashes the frozen weights, which are complete for the last time.
        module.describe()
        mesh = init_device_mesh(get_device(), (get_world_size(),))
        # Norms, embeddings, adapters and projections are small, and stay as they are.
        policy = {}
        if param_dtype is not None:
            policy['mp_policy'] = MixedPrecisionPolicy(param_dtype=AMP_DTYPES[param_dtype], reduce_dtype=torch.float32)
            module.register_forward_pre_hook(functools.partial(_check_autocast, param_dtype))
        for block in module.backbone.all_blocks():
            # The backbone runs functions of a block; as its forward pass they are what the weights are gathered for.
            block.forward = functools.partial(_apply, block)
            block.weights_are_sharded = True
            fully_shard(block, mesh=mesh, **policy)
        self.module = fully_shard(module, mesh=mesh, **_whole_in_each_process(module))
        if mesh.device_type == 'cpu':
            # The averages that gloo scatters are sums with torch 2.8; this way FSDP2 asks for sums, and divides them itself.
            for part in self.module.modules():
                if isinstance(part, FSDPModule):
                    part.set_force_sum_reduction_for_comms(True)
        # The weights are there. mmengine's Runner would compare them before and after it initialises them, which torch 2.11
        # cannot do with sharded ones.
        self.module.init_weights = _keep_weights
        self.module.register_state_dict_post_hook(_put_model_together)
        self.module.register_load_state_dict_pre_hook(_deal_model_out)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the classifier."""
        with nothing_remembered():
            return self.module(*args, **kwargs)

    def train_step(self, data: dict[str, Any] | tuple | list, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """Run one training step; see mmengine's ``BaseModel``. Small steps are reduced and then accumulated."""
        # What is made of gathered weights must go when they go.
        with nothing_remembered():
            return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict[str, Any] | tuple | list) -> list[DataSample]:
        """Predict a batch in validation."""
        with nothing_remembered():
            return self.module.val_step(data)

    def test_step(self, data: dict[str, Any] | tuple | list) -> list[DataSample]:
        """Predict a batch in a test."""
        with nothing_remembered():
            return self.module.test_step(data)


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is one process's share of a larger one."""
    return isinstance(tensor, DTensor)


def shard_optimizer_state(optimizer: Optimizer) -> None:
    """Let an optimizer of sharded parameters save a whole, plain state and take its share of one; others stay as is.

    Args:
        optimizer (Optimizer): Just built.
    """
    if any(is_sharded(parameter) for group in optimizer.param_groups for parameter in group['params']):
        optimizer.register_state_dict_post_hook(_put_optimizer_together)
        optimizer.register_load_state_dict_post_hook(_deal_optimizer_out)


@contextlib.contextmanager
def whole_state(runner: Runner) -> Iterator[None]:
    """Let the main process alone ask for the states of model and optimizer, which takes all processes otherwise.

    mmengine saves in the main process only. Within this context, which all processes enter, states are those at its
    beginning, whole and on the host. Within itself, it changes nothing.

    Args:
        runner (Runner): Of the training; nothing happens unless its model is sharded.
    """
    # Within a context that has been entered already, states are those at its beginning.
    if not isinstance(runner.model, ShardedDataParallel) or 'state_dict' in vars(runner.model.module):
        yield
        return
    owners = (runner.model.module, runner.optim_wrapper)
    for owner in owners:
        owner.state_dict = functools.partial(_return, owner.state_dict())
    try:
        yield
    finally:
        for owner in owners:
            del owner.state_dict


def _return(value):
    return value


def _apply(block, function, *args, **kwargs):
    return function(block, *args, **kwargs)


def _check_autocast(param_dtype, *_):
    device = get_device()
    computed = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    if computed != AMP_DTYPES[param_dtype]:
        raise ValueError(
            f'param_dtype of ShardedDataParallel is {param_dtype!r}, but the model computes in {str(computed)[6:]}: add --amp '
            f'and optim_wrapper.dtype={param_dtype}, or leave out model_wrapper_cfg.param_dtype'
        )


def _check_can_shard(module):
    name = type(module).__name__
    if not hasattr(getattr(module, 'backbone', None), 'all_blocks'):
        raise ValueError(f'ShardedDataParallel shards the blocks of an MPSCLIPClassifier, but the model is a {name}')
    if isinstance(module.backbone.forward, GraphedForward):
        raise ValueError('ShardedDataParallel gathers weights in every pass, which no graph holds; leave out model.cuda_graph')
    if getattr(module, 'class_names', None) is None and not getattr(module, 'predicts_any_classes', True):
        raise ValueError(
            f'{name} learns something of each class, whose number must be known before it is dealt out; '
            'name the classes in the config: model.class_names=[...]'
        )


def _whole_in_each_process(module):
    """Return the arguments that leave out a text tower that stays: it encodes classes outside of the forward pass, too."""
    tower = getattr(module, 'text_tower', None)
    return {} if tower is None else dict(ignored_params=set(tower.parameters()))


def _put_together(value):
    # To the host: the whole of what is sharded need not fit into one device.
    return value.full_tensor().cpu() if is_sharded(value) else value


def _deal_out(value, like):
    if not is_sharded(like) or is_sharded(value) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _put_model_together(module, state, prefix, local_metadata):
    state.update({name: _put_together(value) for name, value in state.items()})


def _deal_model_out(module, state, prefix, *_):
    for name, parameter in module.named_parameters():
        if prefix + name in state:
            state[prefix + name] = _deal_out(state[prefix + name], parameter)


def _put_optimizer_together(optimizer, state):
    moments = {index: {key: _put_together(value) for key, value in own.items()} for index, own in state['state'].items()}
    return {**state, 'state': moments}


def _deal_optimizer_out(optimizer):
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim:  # not the count of steps
                state[key] = _deal_out(value, parameter)
