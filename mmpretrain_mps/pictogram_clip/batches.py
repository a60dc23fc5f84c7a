"""Batches of the pre-training: drawings, names, keywords and kinds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..mini_clip.batches import Batch
from .augmentation import augment
from .captions import KIND_TEMPLATES, TEMPLATES, Described
from .drawings import Drawings


class PictogramRecipe(NamedTuple):
    """Hyper-parameters of a run.

    Attributes:
        steps (int): Optimiser steps.
        pictograms (int): Pictures per batch of emoji in several colours.
        icons_of_kinds (int): Pictures per batch of icons whose kind is known.
        icons (int): Pictures per batch of all icons.
        patch_dropout (float): Share of the patches that a picture is trained without.
        changed (float): Share of the pictures whose colours, lines or paper are changed, too.
        changed_from (float): Part of the run after which that share is reached, growing from 0.
        learning_rate (float): Peak of the cosine schedule.
        weight_decay (float): For matrices only.
        warmup (int): Steps of linear warm-up.
        seed (int): Seeds data, augmentation and weights.
    """

    steps: int = 3000
    pictograms: int = 80
    icons_of_kinds: int = 28
    icons: int = 20
    patch_dropout: float = 0.4
    changed: float = 0.85
    changed_from: float = 0.35
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.1
    warmup: int = 200
    seed: int = 0


class PictogramBatches:
    """Draws batches from drawings held in memory.

    Args:
        recipe (PictogramRecipe): Composition and seed.
        drawings (dict): ``pictograms`` and ``icons``.
        start (int): Step to start from; batches depend on seed and step only.
    """

    def __init__(self, recipe: PictogramRecipe, drawings: dict[str, Drawings], start: int = 0) -> None:
        self.recipe = recipe
        self.step = start
        self._drawings = drawings
        icons = drawings['icons']
        known = {one.name for one in icons.described if one.kind}
        # Each name is as likely as the others, however many draw it.
        self._sources = [
            ('pictograms', list(drawings['pictograms'].rows_by_name.values()), recipe.pictograms),
            ('icons', [rows for name, rows in icons.rows_by_name.items() if name in known], recipe.icons_of_kinds),
            ('icons', list(icons.rows_by_name.values()), recipe.icons),
        ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return number of drawings by source and style."""
        return {source: dict(drawings.styles) for source, drawings in self._drawings.items()}

    def next(self) -> Batch:
        """Draw the next batch."""
        rng = np.random.default_rng([self.recipe.seed, 5, self.step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.step += 1
        pixels, described = [], []
        for source, names, count in self._sources:
            rows = [int(rng.choice(names[place])) for place in rng.integers(len(names), size=count)]
            pixels.append(self._drawings[source].pixels[rows])
            described += [self._drawings[source].described[row] for row in rows]
        recipe = self.recipe
        changed = recipe.changed * min(1.0, self.step / max(1.0, recipe.changed_from * recipe.steps))
        mirrored = torch.tensor([one.can_be_mirrored for one in described])
        return caption(augment(torch.cat(pixels), mirrored, changed, generator), described, rng)


def caption(pictures: Tensor, described: Sequence[Described], rng: np.random.Generator) -> Batch:
    """Give pictures captions of three sorts: their names, a keyword of every second one, and their kinds.

    Args:
        pictures (Tensor): ``(B, 3, S, S)``.
        described (Sequence[Described]): What they show.
        rng (np.random.Generator): Source of randomness.

    Returns:
        Batch: With one block of captions for each sort; a picture without a kind or keyword has no caption in that block.
    """
    names = list(dict.fromkeys(one.name for one in described))
    keywords = list(dict.fromkeys(str(rng.choice(one.keywords)) for one in described[::2] if one.keywords))
    kinds = list(dict.fromkeys(one.kind for one in described if one.kind))
    blocks = (
        (names, [{one.name} for one in described], TEMPLATES),
        (keywords, [{one.name, *one.keywords} for one in described], TEMPLATES),
        (kinds, [{one.kind} for one in described], KIND_TEMPLATES),
    )
    captions: list[str] = []
    positives, sizes = [], []
    for texts, fitting, templates in blocks:
        captions += [templates[rng.integers(len(templates))].format(text) for text in texts]
        positives.append(
            torch.tensor([[text in one for text in texts] for one in fitting], dtype=torch.bool).reshape(
                len(described), len(texts)
            )
        )
        sizes.append(len(texts))
    return Batch(pictures, captions, torch.cat(positives, 1), tuple(size for size in sizes if size))
