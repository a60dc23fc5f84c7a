"""The MLP of a transformer block with one pass over its hidden layer instead of three, and half its memory.

PyTorch's own composition of ``x * sigmoid(1.702 x)`` runs three kernels over the widest tensor of the network and keeps
its input, the sigmoid and, for the weights' gradient, the product. Here the factor goes into the matrix products on both
sides, which leaves ``silu``, one kernel; only its input is kept, and the activation is computed again on the way back.
"""
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import nn

QUICK_GELU_FACTOR = 1.702


def run_mlp(mlp, inputs):
    """Run the MLP of an open_clip block.

    Equal to ``mlp(inputs)`` up to rounding. Activations other than QuickGELU and exact GELU, and compiled graphs, whose
    compiler fuses and recomputes by itself, go through the modules.

    Args:
        mlp (nn.Module): With ``c_fc``, ``gelu`` and ``c_proj``.
        inputs (Tensor): ``(..., W)``.

    Returns:
        Tensor: ``(..., W)``.
    """
    quick = isinstance(mlp.gelu, QuickGELU)
    exact = type(mlp.gelu) is nn.GELU and mlp.gelu.approximate == 'none'
    if torch.compiler.is_compiling() or not (quick or exact):
        return mlp(inputs)
    tensors = _cast(inputs, mlp.c_fc.weight, mlp.c_fc.bias, mlp.c_proj.weight, mlp.c_proj.bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _LeanMlp.apply(quick, *tensors)
    return _forward(quick, *tensors, in_place=True)[0]


class _LeanMlp(torch.autograd.Function):
    """``act(x W1^T + b1) W2^T + b2``, which keeps ``x`` and the input of the activation."""

    @staticmethod
    def forward(ctx, quick, inputs, weight_in, bias_in, weight_out, bias_out):
        outputs, rows, hidden = _forward(quick, inputs, weight_in, bias_in, weight_out, bias_out)
        ctx.quick = quick
        ctx.save_for_backward(rows if weight_in.requires_grad else None, hidden, weight_in, weight_out)
        return outputs

    @staticmethod
    def backward(ctx, gradient):
        rows, hidden, weight_in, weight_out = ctx.saved_tensors
        _, for_inputs, for_weight_in, for_bias_in, for_weight_out, for_bias_out = ctx.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_weight_out = None
        if for_weight_out:
            to_weight_out = flat.t() @ _activate(hidden, ctx.quick)
            if ctx.quick:
                to_weight_out /= QUICK_GELU_FACTOR
        to_bias_out = flat.sum(0) if for_bias_out else None
        # The factors before and behind the activation cancel in what follows.
        to_hidden = flat @ weight_out
        backward = torch.ops.aten.silu_backward if ctx.quick else torch.ops.aten.gelu_backward
        backward.grad_input(to_hidden, hidden, grad_input=to_hidden)
        to_inputs = (to_hidden @ weight_in).view(gradient.shape) if for_inputs else None
        to_weight_in = to_hidden.t() @ rows if for_weight_in else None
        to_bias_in = to_hidden.sum(0) if for_bias_in else None
        return None, to_inputs, to_weight_in, to_bias_in, to_weight_out, to_bias_out


def _forward(quick, inputs, weight_in, bias_in, weight_out, bias_out, in_place=False):
    factor = QUICK_GELU_FACTOR if quick else 1.0
    rows = inputs.reshape(-1, inputs.shape[-1])
    # hidden = factor * (x W1^T + b1), and x sigmoid(factor x) = silu(factor x) / factor.
    hidden = torch.addmm(factor * bias_in, rows, weight_in.t(), alpha=factor)
    active = _activate(hidden, quick, in_place)
    return torch.addmm(bias_out, active, weight_out.t(), alpha=1 / factor).view(inputs.shape), rows, hidden


def _activate(hidden, quick, in_place=False):
    if quick:
        return F.silu(hidden, inplace=in_place)
    return F.gelu(hidden)


def _cast(*tensors):
    """Cast as autocast would, which does not reach the backward pass of a function of one's own."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [tensor.to(dtype) for tensor in tensors]
