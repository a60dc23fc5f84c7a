"""Make the batches of several processes one batch, with exact gradients and no communication in the backward pass.

Losses that compare samples with each other (global Gram, sculpting) are defined on the whole batch. Every process
gathers the features of all, puts its own, differentiable ones in their place and computes the same loss of the whole
batch. The gradient that a process finds is then the part of its own samples; the sum of the parts is the gradient of
one process with the whole batch. Since data-parallel wrappers average instead of summing, the gradient is multiplied
by the number of processes on its way back, and the values, which are logged, stay what they are.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        """Return the values."""
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Scale the gradient."""
        return gradient * ctx.factor, None


def world_size() -> int:
    """Return the number of processes that train together, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(tensors: Sequence[torch.Tensor | None], equal_sizes: bool = False) -> list[torch.Tensor | None]:
    """Concatenate each tensor over all processes, in one exchange.

    Args:
        tensors (Sequence[Tensor | None]): Tensors with one leading batch axis ``(B, ...)``, of the same dtypes and
            trailing shapes in every process; None is passed through. Values travel as float32, which holds features
            as they are and integers up to 2**24.
        equal_sizes (bool): Whether ``B`` is known to be the same in all processes. Otherwise the sizes are exchanged
            first, and on a GPU the host has to wait for that.

    Returns:
        list[Tensor | None]: ``(sum of all B, ...)`` each, in the order of the ranks. Where the input requires a
        gradient, it flows to this process's own part, multiplied by the number of processes.
    """
    ranks = world_size()
    present = [tensor for tensor in tensors if tensor is not None]
    if ranks == 1 or not present:
        return list(tensors)
    size, rank = len(present[0]), dist.get_rank()
    sizes = [size] * ranks if equal_sizes else _exchange_sizes(size, present[0].device)
    packed = torch.cat([tensor.detach().float().reshape(size, -1) for tensor in present], 1)
    rows = _all_gather_rows(packed, sizes)
    columns = rows.split([tensor[0].numel() for tensor in present], 1)
    start = sum(sizes[:rank])
    gathered = iter([_put_back(values, tensor, start, ranks) for values, tensor in zip(columns, present)])
    return [None if tensor is None else next(gathered) for tensor in tensors]


def _put_back(values, own, start, ranks):
    """Give gathered columns their dtype and shape again, and the process's own rows their gradient."""
    values = values.reshape(-1, *own.shape[1:]).to(own.dtype)
    if not own.requires_grad:
        return values
    return torch.cat([values[:start], _ScaleGradient.apply(own, ranks), values[start + len(own) :]])


def _all_gather_rows(packed, sizes):
    """Gather a matrix whose number of rows differs between processes; shorter ones are padded for the journey."""
    longest = max(sizes)
    if len(packed) < longest:
        packed = torch.cat([packed, packed.new_zeros(longest - len(packed), packed.shape[1])])
    gathered = packed.new_empty(longest * len(sizes), packed.shape[1])
    dist.all_gather_into_tensor(gathered, packed)
    if min(sizes) == longest:
        return gathered
    return torch.cat([part[:size] for part, size in zip(gathered.split(longest), sizes)])


def _exchange_sizes(size, device):
    sizes = torch.empty(world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(sizes, torch.tensor([size], device=device))
    return sizes.tolist()
