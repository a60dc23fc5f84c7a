"""Low-rank updates of frozen attention weights (LoRA): beside the weights while they are learned, or merged into them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

PARTS = ('q', 'k', 'v', 'o')
POSITIONS = ('all', 'bottom', 'mid', 'up', 'half-bottom', 'half-up', 'top3')
SCALINGS = ('sqrt', 'rank')


class LowRankAttention(nn.Module):
    r"""Trainable low-rank updates of the projections of one attention, which itself is not touched.

    .. math:: W h + b \;\to\; W h + b + s\, B A (m \circ h), \qquad s = \alpha / \sqrt{r} \text{ or } \alpha / r

    `LoRA <https://arxiv.org/abs/2106.09685>`_ with the scale of `rsLoRA <https://arxiv.org/abs/2312.03732>`_, as
    `CLIP-LoRA <https://arxiv.org/abs/2405.18541>`_ trains it. :math:`A` starts uniform in :math:`\pm 1 / \sqrt{D}`,
    :math:`B` at zero. In training, :math:`m` drops inputs of the update at random, anew for each projection; the frozen
    path sees all of them. Two thin products are computed, never :math:`B A`.

    The attention finds the updates by its attribute ``low_rank``, where :func:`project_qkv` looks. It does not own them:
    they appear in states and among parameters under their own module alone.

    Args:
        attention (nn.MultiheadAttention): Of a block of open_clip, width ``D``; frozen here.
        parts (Sequence[str]): Which projections are updated: of ``'q'``, ``'k'``, ``'v'`` (input), ``'o'`` (output).
        rank (int): :math:`r`.
        alpha (float): :math:`\alpha`, unitless.
        dropout (float): Probability of dropping an input of an update; what is kept is scaled to make up for it.
        scaling (str): ``'sqrt'``: :math:`s = \alpha / \sqrt{r}`; ``'rank'``: :math:`s = \alpha / r`.

    Attributes:
        merged (bool): Whether the weights of the attention contain the updates.
        A (nn.ParameterDict): ``(r, D)`` of each part.
        B (nn.ParameterDict): ``(D, r)`` of each part.

    Raises:
        ValueError: If the attention has updates already, or an argument is out of range.
    """

    def __init__(
        self,
        attention: nn.MultiheadAttention,
        parts: Sequence[str] = ('q', 'k', 'v'),
        rank: int = 2,
        alpha: float = 1.0,
        dropout: float = 0.25,
        scaling: str = 'sqrt',
    ):
        super().__init__()
        _check_settings(parts, rank, dropout, scaling)
        if getattr(attention, 'low_rank', None) is not None:
            raise ValueError('this attention has low-rank updates already; expected one set of updates for each block')
        width = attention.embed_dim
        self.parts, self.dropout = tuple(parts), dropout
        self.scale = alpha / (math.sqrt(rank) if scaling == 'sqrt' else rank)
        self.A = nn.ParameterDict({part: torch.empty(rank, width) for part in parts})
        self.B = nn.ParameterDict({part: torch.zeros(width, rank) for part in parts})
        for matrix in self.A.values():
            nn.init.uniform_(matrix, -1 / math.sqrt(width), 1 / math.sqrt(width))
        # Plain values, which compiled graphs watch.
        self.merged, self._disabled = False, False
        self._frozen = {}
        # Neither owns the other: a list hides a module, and the instance's dictionary does too.
        self._attention = [attention.requires_grad_(False)]
        attention.__dict__['low_rank'] = self

    def in_force(self, part: str) -> bool:
        """Whether a projection needs its update to be added."""
        return part in self.parts and not self._disabled and not self.merged

    def down(self, part: str, inputs: torch.Tensor) -> torch.Tensor:
        r"""Compute :math:`s A (m \circ h)`.

        Args:
            part (str): One of ``parts``.
            inputs (Tensor): :math:`h`, ``(..., D)``.

        Returns:
            Tensor: ``(..., r)``.
        """
        return F.linear(self.drop(part, inputs), self.A[part]) * self.scale

    def drop(self, part: str, inputs: torch.Tensor) -> torch.Tensor:
        r"""Compute :math:`m \circ h`: each number dropped or scaled up by itself in training, else as it is."""
        return F.dropout(inputs, self.dropout, self.training)

    def forward(self, part: str, inputs: torch.Tensor) -> torch.Tensor:
        r"""Compute the update :math:`s B A (m \circ h)`.

        Args:
            part (str): One of ``parts``.
            inputs (Tensor): ``(..., D)``.

        Returns:
            Tensor: ``(..., D)``.
        """
        return F.linear(self.down(part, inputs), self.B[part])

    def train(self, mode: bool = True) -> LowRankAttention:
        """Set the mode; training takes merged updates apart."""
        if mode:
            self.unmerge()
        return super().train(mode)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the updates to the weights of the attention, where they cost nothing, until training or loading."""
        if self.merged:
            return
        for part, rows in self._weights().items():
            self._frozen[part] = rows.clone()
            rows.add_((self.scale * self.B[part] @ self.A[part]).to(rows))
        self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the frozen weights back, to the last bit."""
        for part, rows in self._weights().items() if self.merged else ():
            rows.copy_(self._frozen[part])
        self.merged, self._frozen = False, {}

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute with the frozen weights alone for a while."""
        merged, before = self.merged, self._disabled
        self.unmerge()
        self._disabled = True
        try:
            yield
        finally:
            self._disabled = before
            if merged:
                self.merge()

    def _weights(self):
        """Return the rows of the frozen weights that belong to each part."""
        (attention,) = self._attention
        rows = dict(zip('qkv', attention.in_proj_weight.data.chunk(3)), o=attention.out_proj.weight.data)
        return {part: rows[part] for part in self.parts}

    def _load_from_state_dict(self, *args):
        # What the weights contain would be other updates than those that come.
        self.unmerge()
        super()._load_from_state_dict(*args)


class LowRankUpdates(nn.Module):
    """Low-rank updates of the attentions of one transformer.

    Args:
        blocks (Sequence[nn.Module]): ``ResidualAttentionBlock`` of open_clip, first to last.
        position (str): Which blocks are updated, see :func:`updated_blocks`.
        **kwargs: Of :class:`LowRankAttention`.

    Attributes:
        blocks (nn.ModuleDict): :class:`LowRankAttention` by the number of its block.

    Raises:
        ValueError: If ``position`` or another argument does not fit.
    """

    def __init__(self, blocks: Sequence[nn.Module] | nn.ModuleList, position: str = 'all', **kwargs: Any):
        super().__init__()
        self.blocks = nn.ModuleDict(
            {str(index): LowRankAttention(blocks[index].attn, **kwargs) for index in updated_blocks(len(blocks), position)}
        )

    @property
    def merged(self) -> bool:
        """bool: Whether the frozen weights contain the updates."""
        return any(updates.merged for updates in self.blocks.values())

    def merge(self) -> None:
        """Add all updates to the frozen weights; see :meth:`LowRankAttention.merge`."""
        for updates in self.blocks.values():
            updates.merge()

    def unmerge(self) -> None:
        """Put all frozen weights back, to the last bit."""
        for updates in self.blocks.values():
            updates.unmerge()

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute with the frozen weights alone for a while, also where updates are merged."""
        with contextlib.ExitStack() as stack:
            for updates in self.blocks.values():
                stack.enter_context(updates.disabled())
            yield


def updated_blocks(depth: int, position: str = 'all') -> range:
    """Say which blocks of a transformer are updated.

    ``'bottom'``, ``'mid'`` and ``'up'`` are its thirds, ``'half-bottom'`` and ``'half-up'`` its halves, from the input to
    the output; where the depth does not divide, the part at the bottom takes the rest. ``'top3'`` are the last three
    blocks.

    Args:
        depth (int): Number of blocks.
        position (str): One of :data:`POSITIONS`.

    Returns:
        range: Numbers of the blocks, from 0.

    Raises:
        ValueError: If the position is unknown, or the transformer has too few blocks for it.
    """
    third, half = depth // 3, depth // 2
    parts = {
        'all': (0, depth),
        'bottom': (0, depth - 2 * third),
        'mid': (depth - 2 * third, depth - third),
        'up': (depth - third, depth),
        'half-bottom': (0, depth - half),
        'half-up': (depth - half, depth),
        'top3': (depth - 3, depth),
    }
    if position not in parts:
        raise ValueError(f'position must be one of {POSITIONS}, but is {position!r}')
    blocks = range(*parts[position])
    if not blocks or blocks.start < 0:
        raise ValueError(f"position {position!r} needs a deeper transformer than this one, which has {depth} blocks; use 'all'")
    return blocks


def _check_settings(parts, rank, dropout, scaling):
    if not parts or not set(parts) <= set(PARTS) or len(set(parts)) != len(parts):
        raise ValueError(f'low-rank updates are for some of {PARTS}, each named once, but got {tuple(parts)}')
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f'the rank of low-rank updates must be a whole number >= 1, but is {rank!r}')
    if not 0 <= dropout < 1:
        raise ValueError(f'the dropout of low-rank updates must lie in [0, 1), but is {dropout!r}')
    if scaling not in SCALINGS:
        raise ValueError(f'scaling must be one of {SCALINGS}, but is {scaling!r}')
