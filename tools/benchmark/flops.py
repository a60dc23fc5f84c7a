"""Floating-point operations of the method: the least that it needs, and what a run multiplies."""

import contextlib
import math

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mmpretrain_mps.models.backbones.frozen_weights import remembered_apart
from mmpretrain_mps.models.backbones.linear import force_onednn


def block_flops(width, tokens, mlp_ratio=4.0):
    """Return the operations of one transformer block for one picture, two per multiplication with addition."""
    linear = (4 + 2 * mlp_ratio) * width**2 * tokens
    attention = 2 * tokens**2 * width
    return 2 * (linear + attention)


def least_flops(visual, group_depths, training):
    """Count the operations that the method cannot do without, for one picture (and view, in training).

    Forward: the patches; the trunk once; the first adapted block once for both branches; the other blocks of each
    branch; adapters; in training the projection of all tokens. Prediction needs [CLS] of the last blocks alone, for
    which keys and values need not be computed: scores and weighted sums can be taken of the block's input. Backward:
    twice the forward of what is tuned, once that of frozen blocks that a gradient crosses.

    Args:
        visual (VisionTransformer): The vision tower of open_clip.
        group_depths (Sequence[int]): Blocks of trunk, adapted and tuned part.
        training (bool): A training step, or a prediction.

    Returns:
        float: Floating-point operations.
    """
    width, embed = visual.proj.shape
    tokens = visual.positional_embedding.shape[0]
    mlp_ratio = visual.transformer.resblocks[0].mlp.c_fc.out_features / width
    block, adapter = block_flops(width, tokens, mlp_ratio), 2 * width**2 * tokens
    patches = 2 * visual.conv1.weight.numel() * (tokens - 1)
    trunk, adapted, tuned = group_depths
    later = max(adapted - 1, 0)
    shared = patches + (trunk + min(adapted, 1)) * block + adapted * adapter
    if not training:
        heads = visual.transformer.resblocks[0].attn.num_heads
        last = 2 * (2 + 2 + 2 * mlp_ratio) * width**2 + 4 * heads * tokens * width
        return shared + 2 * ((later + tuned - 1) * block + last + 2 * width * embed)
    projection = 2 * tokens * width * embed
    forward = shared + 2 * ((later + tuned) * block + projection)
    # A frozen block or adapter input costs one product per weight on the way back, a tuned one two.
    backward = 2 * tuned * block + later * block + (adapted + later) * adapter + 2 * projection
    return forward + backward


def counted_flops(function):
    """Return the operations that PyTorch counts in a function, backward included, without computing anything.

    Args:
        function (Callable): Runs on fake tensors, therefore must not keep what it computes. PyTorch's fused attention
            module for inference is not in its tables, so that it is switched off meanwhile.

    Returns:
        int: Floating-point operations.
    """
    with without_numbers(), flop_counter() as counter:
        function()
    return counter.get_total_flops()


@contextlib.contextmanager
def without_numbers():
    """Run PyTorch on shapes alone within this context, through operators that its counters know."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Nor are oneDNN's products known.
        with force_onednn(False), remembered_apart(), FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def flop_counter():
    """Return PyTorch's counter of operations, which here knows all operators that the method runs."""
    return FlopCounterMode(display=False, custom_mapping=uncounted_operators())


def uncounted_operators():
    """Return the operators of which PyTorch's counter of operations does not know, and how to count them."""
    aten = torch.ops.aten
    known = {
        aten._native_multi_head_attention: attention_flops,
        # Known to newer releases alone.
        aten._scaled_dot_product_flash_attention_for_cpu: scores_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: scores_backward_flops,
    }
    if hasattr(torch.ops.mkldnn, '_linear_pointwise'):
        known[torch.ops.mkldnn._linear_pointwise] = linear_flops
    return known


def linear_flops(inputs, weight, *args, out_shape=None, **kwargs):
    """Return the operations of oneDNN's product of inputs ``(..., in)`` with a weight ``(out, in)``, of their shapes."""
    return 2 * math.prod(inputs) * weight[0]


def attention_flops(queries, *args, out_shape=None, **kwargs):
    """Return the operations of a whole self-attention on tokens ``(N, L, W)``: four projections, scores and weighted sums."""
    number, length, width = queries
    return 2 * number * length * width * (4 * width + 2 * length)


def scores_flops(queries, keys, values, *args, out_shape=None, **kwargs):
    """Return the operations of the scores and weighted sums of an attention on a CPU."""
    return sdpa_flop_count(queries, keys, values)


def scores_backward_flops(gradient, queries, keys, values, *args, out_shape=None, **kwargs):
    """Return the operations of the way back through :func:`scores_flops`, which computes the scores again."""
    return sdpa_backward_flop_count(gradient, queries, keys, values)
