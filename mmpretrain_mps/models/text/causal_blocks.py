"""Blocks of a causal text tower in which the sequences of all classes start with the same tokens.

A token sees only what stands before it. So the states of a common start are the same for all classes: they are computed
once, and each class's own tokens attend to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ..backbones.block_functions import function_of_block
from ..backbones.layer_norm import normalize
from ..backbones.mlp import add_mlp
from ..backbones.value_path import project_heads, project_qkv

if TYPE_CHECKING:
    from torch import nn

    from .packing import Packing


class SharedPart(NamedTuple):
    """What one block makes of the tokens that are equal for all classes. ``P`` of them enter the block, maybe none."""

    leaving: torch.Tensor
    """Tokens that were shared in the block before and no longer are, ``(1, R, W)``."""
    keys: torch.Tensor
    """``(1, P, W)``."""
    values: torch.Tensor
    """``(1, P, W)``."""
    output: torch.Tensor | None
    """``(1, P, W)``; None where nothing needs it."""


@function_of_block
def run_shared(block: nn.Module, tokens: torch.Tensor, leaving: torch.Tensor, needs_output: bool) -> SharedPart:
    """Run a block over the tokens that are equal for all classes.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        tokens (Tensor): ``(1, P, W)``.
        leaving (Tensor): Handed through, see :class:`SharedPart`.
        needs_output (bool): Whether more than keys and values is wanted.

    Returns:
        SharedPart: What each class's own tokens need.
    """
    if not tokens.shape[1]:
        return SharedPart(leaving, tokens, tokens, tokens)
    queries, keys, values = project_qkv(block.attn, normalize(block.ln_1, tokens))
    if not needs_output:
        return SharedPart(leaving, keys, values, None)
    attended = attend(block.attn, queries, keys, values, _is_later(tokens))
    return SharedPart(leaving, keys, values, _add_halves(block, tokens, attended))


@function_of_block
def run_own(block: nn.Module, row: torch.Tensor, packing: Packing, shared: SharedPart, ends_only: bool) -> torch.Tensor:
    """Run a block over each class's own tokens, which attend to the shared ones and to what stands before them.

    Args:
        block (nn.Module): A ``ResidualAttentionBlock`` of open_clip.
        row (Tensor): Tokens of all classes behind each other, ``(T, W)``.
        packing (Packing): How they lie in the row.
        shared (SharedPart): Of the same block.
        ends_only (bool): Compute the last token of each class alone.

    Returns:
        Tensor: ``(T, W)``, or ``(C, W)`` with ``ends_only``.
    """
    queries, keys, values = project_qkv(block.attn, normalize(block.ln_1, row))
    keys, values = packing.to_grid(keys), packing.to_grid(values)
    if ends_only:
        row, queries = (x.index_select(0, packing.last_rows) for x in (row, queries))
        attended = attend(block.attn, queries[:, None], keys, values, packing.is_padding, shared)[:, 0]
    else:
        queries = packing.to_grid(queries)
        attended = packing.to_row(attend(block.attn, queries, keys, values, _is_later(queries), shared))
    return _add_halves(block, row, attended)


def attend(
    attention: nn.MultiheadAttention,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    is_hidden: torch.Tensor,
    shared: SharedPart | None = None,
) -> torch.Tensor:
    """Attend to tokens of the own class and to shared ones.

    The shared keys and values are not copied for each class: all queries of a head are multiplied with them at once.

    Args:
        attention (nn.MultiheadAttention): Says how many heads there are.
        queries (Tensor): ``(C, Q, W)``, heads side by side.
        keys (Tensor): ``(C, S, W)``.
        values (Tensor): ``(C, S, W)``.
        is_hidden (Tensor): Which keys a query must not see, bool, ``(Q, S)`` or ``(C, Q, S)``.
        shared (SharedPart, optional): With keys and values that all queries see.

    Returns:
        Tensor: ``(C, Q, W)``, before the output projection.
    """
    classes = len(queries)
    # (heads, C, tokens, W / heads)
    queries, keys, values = (_split_heads(x, attention.num_heads) for x in (queries, keys, values))
    queries = queries * queries.shape[-1] ** -0.5
    scores = (queries @ keys.mT).masked_fill(is_hidden, float('-inf'))
    if shared is None or not shared.keys.shape[1]:
        attended = scores.softmax(-1).to(values.dtype) @ values
    else:
        common_keys, common_values = (_split_heads(x, attention.num_heads)[:, 0] for x in (shared.keys, shared.values))
        common_scores = (queries.flatten(1, 2) @ common_keys.mT).unflatten(1, (classes, -1))
        weights = torch.cat([common_scores, scores], -1).softmax(-1).to(values.dtype)
        common_weights, weights = weights.split((common_scores.shape[-1], scores.shape[-1]), -1)
        common = (common_weights.flatten(1, 2) @ common_values).unflatten(1, (classes, -1))
        attended = common + weights @ values
    return attended.permute(1, 2, 0, 3).flatten(2)


def _split_heads(tokens, heads):
    return tokens.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)


def _is_later(tokens):
    length = tokens.shape[1]
    return torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)


def _add_halves(block, tokens, attended):
    """Finish a block behind its attention."""
    return add_mlp(block, tokens + block.ls_1(project_heads(block.attn, attended)))
