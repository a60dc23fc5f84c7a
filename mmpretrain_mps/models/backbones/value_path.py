"""Transformer blocks of open_clip, run whole, for [CLS] alone, or along their value path.

The weights stay in open_clip's modules; these functions only decide what is computed of a block.
"""
import functools

import torch
import torch.nn.functional as F

from .lean_mlp import add_mlp
from .linear import linear


def with_gathered_weights(function):
    """Let a function of a block find the block's weights complete, also where each process keeps a share of them.

    Sharding gathers a module's weights when the module itself is called. A block that
    :class:`ShardedDataParallel` marked (``weights_are_sharded``) takes the function as an argument of that call.

    Args:
        function (Callable): Takes a block first.

    Returns:
        Callable: With the same arguments.
    """

    @functools.wraps(function)
    def run(block, *args, **kwargs):
        if getattr(block, 'weights_are_sharded', False):
            return block(function, *args, **kwargs)
        return function(block, *args, **kwargs)

    return run


@with_gathered_weights
def run_block(block, tokens, cls_only=False):
    """Run one residual attention block.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): Block input, ``(N, L, W)``; token 0 is [CLS].
        cls_only (bool): Compute the output of [CLS] alone. Keys and values still come from all tokens, so the result
            equals token 0 of the whole output at a fraction of its cost.

    Returns:
        Tensor: ``(N, L, W)``, or ``(N, 1, W)`` with ``cls_only``.
    """
    normed = block.ln_1(tokens)
    if cls_only:
        tokens = tokens[:, :1]
        attended = _cls_attention(block.attn, normed)
    else:
        attended = _self_attention(block.attn, normed)
    return add_mlp(block, tokens + block.ls_1(attended))


def run_blocks(blocks, tokens, cls_only=False, positions=()):
    """Run consecutive blocks.

    Args:
        blocks (Sequence[nn.Module]): Of open_clip; may be empty.
        tokens (Tensor): Input of the first, ``(N, L, W)``; token 0 is [CLS].
        cls_only (bool): Return the output of [CLS] alone.
        positions (Container[int]): Of blocks whose input is wanted, too.

    Returns:
        tuple[Tensor, dict[int, Tensor]]: The output ``(N, L, W)``, or ``(N, 1, W)`` with ``cls_only``; [CLS] ``(N, W)`` at
        the input of the blocks at ``positions``, for :func:`pseudo_forward`.
    """
    inputs = {}
    last = len(blocks) - 1
    for position, block in enumerate(blocks):
        if position in positions:
            inputs[position] = tokens[:, 0]
        tokens = run_block(block, tokens, cls_only and position == last)
    # Without a single block there is nothing to spare, but the shape asked for still holds.
    return tokens[:, :1] if cls_only else tokens, inputs


@with_gathered_weights
def value_projection(block, tokens):
    """Run one block with attention replaced by its value path, each token on its own.

    .. math:: x' = x + W_o (W_v \\mathrm{ln}_1(x) + b_v) + b_o, \\qquad x'' = x' + \\mathrm{mlp}(\\mathrm{ln}_2(x'))

    `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, the pseudo-forward of hierarchical sculpting. Only the
    value third of the joint input projection is multiplied.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): ``(..., W)``.

    Returns:
        Tensor: ``(..., W)``.
    """
    width = tokens.shape[-1]
    attention = block.attn
    values = linear(block.ln_1(tokens), attention.in_proj_weight[2 * width:], attention.in_proj_bias[2 * width:])
    return add_mlp(block, tokens + block.ls_1(_project(attention, values)))


def pseudo_forward(blocks, inputs):
    """Carry intermediate features to the output space through the value paths of all remaining blocks.

    The chains of several starting points share the blocks that lie behind the later start, so they are run together.

    Args:
        blocks (Sequence[nn.Module]): Consecutive blocks up to the last of the network.
        inputs (Mapping[int, Tensor]): Input ``(N, W)`` of the block at that position of ``blocks``, for every chain
            that starts there; the keys are the starting positions.

    Returns:
        dict[int, Tensor]: Output ``(N, W)`` of the last block for every starting position.
    """
    running, starts = None, []
    # Without `default=`: torch 2.11's compiler breaks its graph at a `min` with a default over a mapping.
    for position in range(min([len(blocks), *inputs]), len(blocks)):
        if position in inputs:
            starting = inputs[position]
            running = starting if running is None else torch.cat([running, starting])
            starts.append(position)
        running = value_projection(blocks[position], running)
    return dict(zip(starts, running.chunk(len(starts)))) if starts else {}


def _self_attention(attention, normed):
    queries, keys, values = linear(normed, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    return _attend(attention, queries, keys, values)


def _cls_attention(attention, normed):
    """Attend from [CLS] alone, without keys and values of the other tokens.

    With a single query per head, scores ``q . (W_k x)`` are ``(W_k^T q) . x``, and the weighted sum of ``W_v x`` is
    ``W_v`` times the weighted sum of ``x``: a vector per head takes the place of two matrix products over all tokens.
    The bias of the keys adds the same to all scores of a query, to which softmax is blind.
    """
    width, heads = normed.shape[-1], attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    queries = linear(normed[:, 0], weight[:width], bias[:width]).unflatten(-1, (heads, -1))
    to_keys, to_values = (weight[start:start + width].unflatten(0, (heads, -1)) for start in (width, 2 * width))
    scores = torch.einsum('nhd,hdw->nhw', queries, to_keys) @ normed.mT
    weights = (scores * queries.shape[-1]**-0.5).softmax(-1)
    attended = torch.einsum('nhw,hdw->nhd', weights.to(normed.dtype) @ normed, to_values).flatten(1) + bias[2 * width:]
    return _project(attention, attended)[:, None]


def _attend(attention, queries, keys, values):
    heads = attention.num_heads
    queries, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return _project(attention, attended.transpose(1, 2).flatten(2))


def _project(attention, values):
    return linear(values, attention.out_proj.weight, attention.out_proj.bias)
