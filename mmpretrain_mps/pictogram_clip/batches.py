"""Batches of the pre-training: drawings, names, keywords and kinds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


class Sketch(NamedTuple):
    """A batch before its pictures are made."""

    rows: list[Tensor]
    """Of the drawings, for each part of a batch."""
    mirrored: Tensor
    """``(B,)`` bool, which of them can be mirrored."""
    seed: int
    texts: Batch
    """Without pictures."""


class Sketches(Dataset):
    """What is drawn in each step, by its number.

    Args:
        recipe (PictogramRecipe): Composition and seed.
        described (dict): What is known of each drawing of ``pictograms`` and ``icons``.
        parts (list): Source, rows of each name, and pictures of every part of a batch.
        tokenize (callable, optional): Captions to token ids ``(T, L)``, which the batches then have, too.
    """

    def __init__(
        self,
        recipe: PictogramRecipe,
        described: Mapping[str, Sequence[Described]],
        parts: Sequence[tuple[str, list[np.ndarray], int]],
        tokenize: Callable[[list[str]], Tensor] | None = None,
    ) -> None:
        self.recipe, self.described, self.parts, self.tokenize = recipe, described, parts, tokenize

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Sketch:
        rng = np.random.default_rng([self.recipe.seed, 5, step])
        seed = int(rng.integers(2**62))
        rows, shown = [], []
        for source, names, count in self.parts:
            rows.append([int(rng.choice(names[place])) for place in rng.integers(len(names), size=count)])
            shown += [self.described[source][row] for row in rows[-1]]
        texts = caption(torch.empty(0), shown, rng)
        if self.tokenize is not None:
            texts = texts._replace(tokens=self.tokenize(texts.captions))
        mirrored = torch.tensor([one.can_be_mirrored for one in shown])
        return Sketch([torch.tensor(part) for part in rows], mirrored, seed, texts)


class PictogramBatches:
    """Draws batches from drawings held in memory.

    Args:
        recipe (PictogramRecipe): Composition and seed.
        drawings (dict): ``pictograms`` and ``icons``.
        start (int): Step to start from; batches depend on seed, step and kind of device only.
        device (torch.device or str): Where pictures are made.
        workers (int): Processes that draw and write captions ahead, which changes nothing; ``step`` is not moved any more then.
        tokenize (callable, optional): As in :class:`Sketches`.
    """

    def __init__(
        self,
        recipe: PictogramRecipe,
        drawings: dict[str, Drawings],
        start: int = 0,
        device: torch.device | str = 'cpu',
        workers: int = 0,
        tokenize: Callable[[list[str]], Tensor] | None = None,
    ) -> None:
        self.recipe = recipe
        self.step = start
        self._drawings = drawings
        icons = drawings['icons']
        known = {one.name for one in icons.described if one.kind}
        # Each name is as likely as the others, however many draw it.
        parts = [
            ('pictograms', list(drawings['pictograms'].rows_by_name.values()), recipe.pictograms),
            ('icons', [rows for name, rows in icons.rows_by_name.items() if name in known], recipe.icons_of_kinds),
            ('icons', list(icons.rows_by_name.values()), recipe.icons),
        ]
        described = {source: found.described for source, found in drawings.items()}
        self._sketches = Sketches(recipe, described, parts, tokenize)
        self._workers = workers
        self._ahead: Iterator[Sketch] | None = None
        self._generator = torch.Generator(device)
        pixels = {source: found.pixels.to(device) for source, found in drawings.items()}
        self._pixels = [pixels[source] for source, _, _ in parts]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return number of drawings by source and style."""
        return {source: dict(drawings.styles) for source, drawings in self._drawings.items()}

    def next(self) -> Batch:
        """Draw the next batch."""
        sketch = self._next_sketch()
        self.step += 1
        recipe, device = self.recipe, self._generator.device
        changed = recipe.changed * min(1.0, self.step / max(1.0, recipe.changed_from * recipe.steps))
        drawings = torch.cat([pixels[rows.to(device)] for pixels, rows in zip(self._pixels, sketch.rows)])
        pictures = augment(drawings, sketch.mirrored.to(device), changed, self._generator.manual_seed(sketch.seed))
        return sketch.texts._replace(pictures=pictures)

    def _next_sketch(self):
        if not self._workers:
            return self._sketches[self.step]
        if self._ahead is None:
            steps = range(self.step, self.recipe.steps)
            self._ahead = iter(DataLoader(self._sketches, None, sampler=steps, num_workers=self._workers))
        return next(self._ahead)


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
        columns = {text: column for column, text in enumerate(texts)}
        fits = np.zeros((len(described), len(texts)), dtype=bool)
        for row, of_picture in enumerate(fitting):
            fits[row, [columns[text] for text in of_picture if text in columns]] = True
        positives.append(torch.from_numpy(fits))
        sizes.append(len(texts))
    return Batch(pictures, captions, torch.cat(positives, 1), tuple(size for size in sizes if size))
