"""Sequences of different lengths without padding: their tokens in one row, or in a grid for what needs one."""

from __future__ import annotations

import functools

import torch


class Packing:
    """How the tokens of ``C`` sequences lie in one row of ``T`` tokens, and in a grid of ``C`` times ``S``.

    Linear layers and norms take the row, in which nothing is padded. Attention takes the grid.

    Args:
        lengths (tuple[int, ...]): Tokens of each sequence, 1 or more.
        device (torch.device): Of the tokens.
    """

    def __init__(self, lengths: tuple[int, ...], device: torch.device):
        counts = torch.tensor(lengths)
        self.lengths, self.columns = lengths, max(lengths)
        is_token = torch.arange(self.columns) < counts[:, None]
        self._slots = None if is_token.all() else is_token.flatten().nonzero()[:, 0].to(device)
        self.last_rows = (counts.cumsum(0) - 1).to(device)
        """Where the last token of each sequence stands in the row, ``(C,)``."""
        self.is_padding = (~is_token)[:, None].to(device)
        """Places of the grid behind the end, ``(C, 1, S)``."""

    def to_row(self, grid: torch.Tensor) -> torch.Tensor:
        """Take the tokens of a grid ``(C, S, W)`` as a row ``(T, W)``."""
        row = grid.flatten(0, 1)
        return row if self._slots is None else row.index_select(0, self._slots)

    def to_grid(self, row: torch.Tensor) -> torch.Tensor:
        """Put the tokens of a row ``(T, W)`` into a grid ``(C, S, W)``, with zeros behind the end of a sequence."""
        if self._slots is not None:
            places = len(self.lengths) * self.columns
            row = row.new_zeros(places, row.shape[1]).index_copy(0, self._slots, row)
        return row.unflatten(0, (len(self.lengths), self.columns))

    def lengthened(self, tokens: int) -> Packing:
        """Return the packing of the same sequences with more tokens each."""
        return packing_of(tuple(length + tokens for length in self.lengths), self.last_rows.device)


@functools.lru_cache(maxsize=256)
def packing_of(lengths: tuple[int, ...], device: torch.device) -> Packing:
    """Return a packing that may be used already; the arguments are those of :class:`Packing`."""
    # An index made in inference mode could not be kept for a later backward pass.
    with torch.inference_mode(False):
        return Packing(lengths, device)
