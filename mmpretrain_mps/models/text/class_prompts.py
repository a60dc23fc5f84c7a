"""The tokenised prompts of all classes, as the text tower takes them."""

from typing import NamedTuple

import torch

from .text_tower import TextTower


class Prompts(NamedTuple):
    """Prompts of ``C`` classes, cut behind the longest."""

    embeddings: torch.Tensor
    """Of their tokens, without positions and without gradient, ``(C, L, W)``."""
    ends: list[int]
    """Position of each end token."""
    shared: int
    """Leading positions whose tokens are equal for all classes."""


class ClassPrompts:
    """Looks up the prompts of a model's classes once for as long as the classes stay.

    What a step would otherwise repeat: token embeddings, and on a GPU the wait for the positions of the end tokens.

    Args:
        tower (TextTower): Of the model.
    """

    def __init__(self, tower: TextTower):
        self._tower = [tower]  # a list: whoever owns this owns the tower already
        self._cached: tuple | None = None

    def of(self, token_ids: torch.Tensor) -> Prompts:
        """Return the prompts of token ids.

        Args:
            token_ids (Tensor): ``(C, context_length)``, integer; a buffer of the model, for example.

        Returns:
            Prompts: On the device of the tower.
        """
        (tower,) = self._tower
        state = (token_ids.data_ptr(), token_ids._version, token_ids.shape, tower.device, tower.dtype)
        if self._cached is None or self._cached[0] != state:
            # With the ids themselves, so that no other tensor can take their place in memory.
            self._cached = state, token_ids, _look_up(tower, token_ids)
        return self._cached[2]


def _look_up(tower, token_ids):
    # Tensors made in inference mode could not be kept for a later backward pass.
    with torch.inference_mode(False), torch.no_grad():
        token_ids = token_ids.clone()
        ends = tower.find_ends(token_ids).tolist()
        differs = (token_ids != token_ids[:1]).any(0).tolist()
        shared = min(differs.index(True) if True in differs else len(differs), *ends)
        return Prompts(tower.embed(token_ids[:, : max(ends) + 1]).detach(), ends, shared)
