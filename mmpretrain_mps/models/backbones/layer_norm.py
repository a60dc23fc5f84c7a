"""Layer norms that leave tokens of half precision what they are.

Autocast runs layer norms in float32 on GPUs: every activation is copied to float32, normalised, and copied back, and the
float32 copy is kept for the backward pass. The kernels compute their statistics in float32 whatever they read and write.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.transformer import LayerNorm
from torch import nn

from .frozen_weights import for_autocast

PLAIN = (LayerNorm, nn.LayerNorm)
HALF = (torch.bfloat16, torch.float16)


def normalize(norm: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Run a layer norm.

    Args:
        norm (nn.Module): Of open_clip or torch; a kind of another meaning runs as it is.
        tokens (Tensor): ``(..., W)``.

    Returns:
        Tensor: ``(..., W)``, of the tokens' type. The same as by the module, but for the rounding of the weights where
        autocast is on and the tokens have half precision.
    """
    if type(norm) not in PLAIN:
        return norm(tokens)
    return layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def layer_norm(tokens: torch.Tensor, shape: Sequence[int], weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """Compute ``torch.nn.functional.layer_norm`` in the tokens' type; see :func:`normalize`."""
    device = tokens.device.type
    if tokens.dtype in HALF and torch.is_autocast_enabled(device):
        weight, bias = (for_autocast(vector).to(tokens.dtype) for vector in (weight, bias))
        # As a context of torch.autocast would, in a fraction of the time that its own work takes.
        torch.set_autocast_enabled(device, False)
        try:
            return F.layer_norm(tokens, shape, weight, bias, eps)
        finally:
            torch.set_autocast_enabled(device, True)
    return F.layer_norm(tokens, shape, weight, bias, eps).to(tokens.dtype)
