"""The MLP of a transformer block with one pass over its hidden layer instead of three, and a third of its memory.

PyTorch's own composition of QuickGELU, ``x * sigmoid(1.702 x)``, runs three kernels over the widest tensor of the
network and keeps its input, the sigmoid and, for the weights' gradient, the product. But
``x sigmoid(f x) = silu(f x) / f``: with one factor in the norm before the MLP and the other in the sum behind it, where
they cost nothing, one kernel is left. Only its input is saved; the activation is recomputed in the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import nn

from .frozen_weights import derived, for_autocast
from .layer_norm import HALF, PLAIN, layer_norm, normalize
from .linear import applies_to, linear, multiply, weight_gradient

QUICK_GELU_FACTOR = 1.702


def add_mlp(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Run the second half of a block: ``tokens + mlp(ln_2(tokens))``.

    Equal to the modules up to rounding. Activations other than QuickGELU and exact GELU, unusual norms, and compiled
    graphs, whose compiler fuses and recomputes by itself, go through the modules.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): ``(..., W)``.

    Returns:
        Tensor: ``(..., W)``.
    """
    norm, mlp = block.ln_2, block.mlp
    quick = isinstance(mlp.gelu, QuickGELU)
    exact = type(mlp.gelu) is nn.GELU and mlp.gelu.approximate == 'none'
    if torch.compiler.is_compiling() or type(norm) not in PLAIN or not (quick or exact):
        return tokens + block.ls_2(mlp(normalize(norm, tokens)))
    factor = QUICK_GELU_FACTOR if quick else 1.0
    weight, bias, bias_in, bias_out = (
        _scaled(vector, factor, tokens.dtype) for vector in (norm.weight, norm.bias, mlp.c_fc.bias, mlp.c_proj.bias)
    )
    normed = layer_norm(tokens, norm.normalized_shape, weight, bias, norm.eps)
    outputs = _run(quick, normed, mlp.c_fc.weight, bias_in, mlp.c_proj.weight, bias_out)
    if isinstance(block.ls_2, nn.Identity):
        return torch.add(tokens, outputs, alpha=1 / factor)
    return tokens + block.ls_2(outputs / factor)


def _scaled(vector, factor, dtype):
    """Return ``factor * vector``; that of a frozen one is computed once for tokens of half precision, and rounded as these."""
    if factor == 1:
        return vector
    if dtype in HALF and not vector.requires_grad:
        return derived(vector, (factor, dtype), lambda: (factor * vector).to(dtype))
    return factor * vector


def _run(quick, *tensors):
    tensors = _cast(*tensors)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _RecomputedMlp.apply(quick, *tensors)
    inputs, weight_in, bias_in, weight_out, bias_out = tensors
    hidden = linear(inputs, weight_in, bias_in)
    return linear(F.silu(hidden, inplace=True) if quick else F.gelu(hidden), weight_out, bias_out)


class _RecomputedMlp(torch.autograd.Function):
    """``act(x W1^T + b1) W2^T + b2`` with silu or GELU, which saves ``x`` and the input of the activation."""

    @staticmethod
    def forward(
        ctx: Any,
        quick: bool,
        inputs: torch.Tensor,
        weight_in: torch.Tensor,
        bias_in: torch.Tensor,
        weight_out: torch.Tensor,
        bias_out: torch.Tensor,
    ) -> torch.Tensor:
        """Compute the outputs."""
        ctx.quick, ctx.onednn = quick, applies_to(inputs, weight_in)
        hidden = linear(inputs, weight_in, bias_in)
        ctx.save_for_backward(inputs if weight_in.requires_grad else None, hidden, weight_in, weight_out)
        return linear(_activate(hidden, quick), weight_out, bias_out)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the gradients that are asked for; the activation is recomputed."""
        inputs, hidden, weight_in, weight_out = ctx.saved_tensors
        _, for_inputs, for_weight_in, for_bias_in, for_weight_out, for_bias_out = ctx.needs_input_grad
        to_inputs_of, to_weight_of = (multiply, weight_gradient) if ctx.onednn else (F.linear, _weight_gradient)
        flat, hidden = gradient.reshape(-1, gradient.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
        to_weight_out = to_weight_of(flat, _activate(hidden, ctx.quick)) if for_weight_out else None
        to_bias_out = flat.sum(0) if for_bias_out else None
        to_hidden = to_inputs_of(flat, weight_out.t())
        backward = torch.ops.aten.silu_backward if ctx.quick else torch.ops.aten.gelu_backward
        backward.grad_input(to_hidden, hidden, grad_input=to_hidden)
        to_inputs = to_inputs_of(to_hidden, weight_in.t()).view(gradient.shape) if for_inputs else None
        to_weight_in = to_weight_of(to_hidden, inputs.reshape(-1, inputs.shape[-1])) if for_weight_in else None
        to_bias_in = to_hidden.sum(0) if for_bias_in else None
        return None, to_inputs, to_weight_in, to_bias_in, to_weight_out, to_bias_out


def _weight_gradient(gradient, inputs):
    return gradient.t() @ inputs


def _activate(hidden, quick):
    return F.silu(hidden) if quick else F.gelu(hidden)


def _cast(*tensors):
    """Cast as autocast would, which does not reach the backward pass of a function of one's own."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [for_autocast(tensor).to(dtype) for tensor in tensors]
