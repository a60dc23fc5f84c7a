"""Transformer blocks of open_clip, run whole, for [CLS] alone, or along their value path.

The weights stay in open_clip's modules; these functions only decide what is computed of a block.
"""
import torch
import torch.nn.functional as F


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
    tokens = tokens + block.ls_1(attended)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


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
    values = F.linear(block.ln_1(tokens), attention.in_proj_weight[2 * width:], attention.in_proj_bias[2 * width:])
    tokens = tokens + block.ls_1(attention.out_proj(values))
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


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
    for position in range(min(inputs, default=len(blocks)), len(blocks)):
        if position in inputs:
            starting = inputs[position]
            running = starting if running is None else torch.cat([running, starting])
            starts.append(position)
        running = value_projection(blocks[position], running)
    return dict(zip(starts, running.chunk(len(starts)))) if starts else {}


def _self_attention(attention, normed):
    queries, keys, values = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    return _attend(attention, queries, keys, values)


def _cls_attention(attention, normed):
    width = normed.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    queries = F.linear(normed[:, :1], weight[:width], bias[:width])
    keys, values = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    return _attend(attention, queries, keys, values)


def _attend(attention, queries, keys, values):
    heads = attention.num_heads
    queries, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return attention.out_proj(attended.transpose(1, 2).flatten(2))
