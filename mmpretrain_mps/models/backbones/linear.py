"""Linear layers through the faster of the two matrix libraries that PyTorch brings for CPUs.

PyTorch multiplies float32 matrices with MKL, which on processors of other makers leaves the 512-bit units idle; oneDNN,
its other library, uses them and was measured twice as fast there. Both compute in float32 and differ in rounding alone.
The choice follows from the processor, never from a timing, so that equal machines give equal numbers.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from .frozen_weights import for_autocast

_forced = None


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute ``inputs @ weight^T + bias``, as ``torch.nn.functional.linear``.

    Args:
        inputs (Tensor): ``(..., K)``.
        weight (Tensor): ``(N, K)``.
        bias (Tensor, optional): ``(N,)``.

    Returns:
        Tensor: ``(..., N)``.
    """
    if not applies_to(inputs, weight):
        return F.linear(inputs, for_autocast(weight), for_autocast(bias))
    tensors = (inputs, weight, bias)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        return _OneDnnLinear.apply(*tensors)
    return multiply(*tensors)


def applies_to(inputs: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a product goes through oneDNN: float32 on the CPU, outside of autocast and of graphs that are compiled, exported
    or traced, in which its operator has no place."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if inputs.device.type != 'cpu' or torch.is_autocast_enabled('cpu'):
        return False
    return inputs.dtype == weight.dtype == torch.float32 and (prefers_onednn() if _forced is None else _forced)


def multiply(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute ``inputs @ weight^T + bias`` by oneDNN, without gradients; the operands may be transposed views."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, 'none', [], '')


@functools.cache
def prefers_onednn() -> bool:
    """Whether oneDNN is the faster library here: 512-bit units in a processor that is not Intel's."""
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    if not available or torch.backends.cpu.get_cpu_capability() != 'AVX512':
        return False
    try:
        return 'AuthenticAMD' in Path('/proc/cpuinfo').read_text()
    except OSError:
        return False


@contextlib.contextmanager
def force_onednn(use: bool | None) -> Iterator[None]:
    """Decide for oneDNN or against it within a ``with`` statement, whatever the processor; for comparisons.

    Args:
        use (bool | None): None leaves the choice to the processor.
    """
    global _forced
    before, _forced = _forced, use
    try:
        yield
    finally:
        _forced = before


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Compute the product."""
        ctx.save_for_backward(inputs if weight.requires_grad else None, weight if inputs.requires_grad else None)
        return multiply(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the gradients that are asked for."""
        inputs, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_inputs = multiply(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        to_weight = weight_gradient(flat, inputs.reshape(-1, inputs.shape[-1])) if ctx.needs_input_grad[1] else None
        to_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        return to_inputs, to_weight, to_bias


def weight_gradient(gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return ``gradient^T @ inputs`` by oneDNN, for rows ``(M, N)`` and ``(M, K)``."""
    return multiply(gradient.t(), inputs.t())
