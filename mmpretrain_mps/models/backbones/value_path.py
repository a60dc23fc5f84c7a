"""Transformer blocks of open_clip, run whole, for [CLS] alone, or along their value path.

The weights stay in open_clip's modules; these functions only decide what is computed of a block.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .block_functions import function_of_block
from .frozen_weights import for_autocast
from .layer_norm import normalize
from .linear import linear
from .mlp import add_mlp

if TYPE_CHECKING:
    from torch import nn

    from ..low_rank import LowRankAttention


@function_of_block
def run_block(block: nn.Module, tokens: torch.Tensor, cls_only: bool = False, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Run one residual attention block.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): Block input, ``(N, L, W)``; token 0 is [CLS].
        cls_only (bool): Compute the output of [CLS] alone. Keys and values still come from all tokens, so the result
            equals token 0 of the whole output at a fraction of its cost.
        mask (Tensor, optional): ``(L, L)``, bool; which tokens (columns) each token (row) attends to. [CLS] attends to
            all of them.

    Returns:
        Tensor: ``(N, L, W)``, or ``(N, 1, W)`` with ``cls_only``.
    """
    normed = normalize(block.ln_1, tokens)
    if cls_only:
        tokens = tokens[:, :1]
        attended = _cls_attention(block.attn, normed)
    else:
        attended = _attend(block.attn, *project_qkv(block.attn, normed), mask)
    return add_mlp(block, tokens + block.ls_1(attended))


def run_blocks(
    blocks: Sequence[nn.Module] | nn.ModuleList, tokens: torch.Tensor, cls_only: bool = False, positions: Container[int] = ()
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
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


@function_of_block
def value_projection(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
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
    normed = normalize(block.ln_1, tokens)
    weight, bias = for_autocast(attention.in_proj_weight), for_autocast(attention.in_proj_bias)
    values = linear(normed, weight[2 * width :], bias[2 * width :])
    return add_mlp(block, tokens + block.ls_1(project_heads(attention, _update(attention, 'v', normed, values))))


def pseudo_forward(blocks: Sequence[nn.Module] | nn.ModuleList, inputs: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
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


def project_qkv(attention: nn.MultiheadAttention, normed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute queries, keys and values, with the low-rank updates that the attention has.

    :class:`LowRankAttention` hangs itself on ``attention.low_rank``.

    Args:
        attention (nn.MultiheadAttention): Of a block of open_clip.
        normed (Tensor): Its input, ``(..., W)``.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Each ``(..., W)``, heads side by side.
    """
    projected = linear(normed, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    return tuple(_update(attention, part, normed, values) for part, values in zip('qkv', projected))


@function_of_block
def cls_attention_row(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Compute how [CLS] attends to all tokens in a block.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): Block input, ``(N, L, W)``; token 0 is [CLS].

    Returns:
        Tensor: Weights after softmax, mean over the heads: ``(N, L)``, sums 1.
    """
    return _cls_weights(block.attn, normalize(block.ln_1, tokens)).mean(1)


def low_rank_of(attention: nn.MultiheadAttention, part: str) -> LowRankAttention | None:
    """Return the low-rank update of a projection as far as one is in force, else None.

    Args:
        attention (nn.MultiheadAttention): Of a block of open_clip.
        part (str): ``'q'``, ``'k'``, ``'v'`` or ``'o'``.

    Returns:
        LowRankAttention | None: The updates of this attention.
    """
    updates = getattr(attention, 'low_rank', None)
    return updates if updates is not None and updates.in_force(part) else None


def _update(attention, part, inputs, outputs):
    """Add the low-rank update of a projection to its outputs."""
    updates = low_rank_of(attention, part)
    return outputs if updates is None else outputs + updates(part, inputs)


def _cls_attention(attention, normed):
    """Attend from [CLS] alone, without keys and values of the other tokens.

    With a single query per head, scores ``q . (W_k x)`` are ``(W_k^T q) . x``, and the weighted sum of ``W_v x`` is
    ``W_v`` times the weighted sum of ``x``: a vector per head takes the place of two matrix products over all tokens.
    The bias of the keys adds the same to all scores of a query, to which softmax is blind. Low-rank updates
    ``W + B A`` split the same way: ``B`` goes where ``W`` goes, and ``A x`` takes the place of ``x``.
    """
    width = normed.shape[-1]
    to_values = _of_heads(attention, for_autocast(attention.in_proj_weight)[2 * width :])
    weights = _cls_weights(attention, normed).to(normed.dtype)
    attended = torch.einsum('nhw,hdw->nhd', weights @ normed, to_values)
    updates = low_rank_of(attention, 'v')
    if updates is not None:
        attended = attended + torch.einsum(
            'nhr,hdr->nhd', weights @ updates.down('v', normed), _of_heads(attention, updates.B['v'])
        )
    return project_heads(attention, attended.flatten(1) + attention.in_proj_bias[2 * width :])[:, None]


def _cls_weights(attention, normed):
    """Return the attention of [CLS] to all tokens, ``(N, heads, L)``."""
    width, heads = normed.shape[-1], attention.num_heads
    weight, bias = for_autocast(attention.in_proj_weight), for_autocast(attention.in_proj_bias)
    queries = _update(attention, 'q', normed[:, 0], linear(normed[:, 0], weight[:width], bias[:width]))
    queries = queries.unflatten(-1, (heads, -1))
    to_keys = _of_heads(attention, weight[width : 2 * width])
    scores = torch.einsum('nhd,hdw->nhw', queries, to_keys) @ normed.mT
    updates = low_rank_of(attention, 'k')
    if updates is not None:
        to_low_rank = torch.einsum('nhd,hdr->nhr', queries, _of_heads(attention, updates.B['k']))
        scores = scores + to_low_rank @ updates.down('k', normed).mT
    return (scores * queries.shape[-1] ** -0.5).softmax(-1)


def _of_heads(attention, weight):
    return weight.unflatten(0, (attention.num_heads, -1))


def _attend(attention, queries, keys, values, mask=None):
    heads = attention.num_heads
    queries, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return project_heads(attention, attended.transpose(1, 2).flatten(2))


def project_heads(attention: nn.MultiheadAttention, values: torch.Tensor) -> torch.Tensor:
    """Compute the output projection of an attention, with the low-rank update that it has.

    Args:
        attention (nn.MultiheadAttention): Of a block of open_clip.
        values (Tensor): What the heads attended to, side by side, ``(..., W)``.

    Returns:
        Tensor: ``(..., W)``.
    """
    projected = linear(values, attention.out_proj.weight, attention.out_proj.bias)
    return _update(attention, 'o', values, projected)
