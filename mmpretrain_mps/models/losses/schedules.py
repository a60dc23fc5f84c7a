"""Values that change over the epochs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class CosineValue(NamedTuple):
    """A value that moves from ``start`` to ``end`` along half a cosine."""

    start: float
    end: float

    @classmethod
    def of(cls, value: Any) -> CosineValue:
        """Read a constant or ``dict(start=..., end=...)``.

        Raises:
            ValueError: If ``value`` is neither.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return cls(float(value), float(value))
        if isinstance(value, dict) and set(value) == {'start', 'end'}:
            return cls(float(value['start']), float(value['end']))
        raise ValueError(f'expected a number or dict(start=..., end=...), but got {value!r}')

    def at(self, epoch: int, max_epochs: int) -> float:
        """Return the value at an epoch.

        .. math:: v(e) = v_{end} + (v_{start} - v_{end}) (1 + \\cos(\\pi e / E)) / 2

        Args:
            epoch (int): Epoch ``e``, from 0.
            max_epochs (int): Epochs ``E`` of the whole training.
        """
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * epoch / max_epochs)) / 2
