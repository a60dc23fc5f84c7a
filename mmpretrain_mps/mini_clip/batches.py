"""Pictures of the pre-training: masks held in memory, and batches drawn from them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import augmentation, handwriting, rendering
from . import concepts as _concepts

MASK_SIZE = 40


class Masks(NamedTuple):
    """Ink masks of one source, kept in memory for the whole run.

    Attributes:
        ink (Tensor): ``(N, 40, 40)`` uint8.
        concept (np.ndarray): ``(N,)`` position in the source's names.
        names (list[str]): Concept names.
    """

    ink: Tensor
    concept: np.ndarray
    names: list[str]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """Positions of masks and their concepts, each concept equally likely.

        Args:
            count (int): How many.
            rng (np.random.Generator): Source of randomness.

        Returns:
            tuple[Tensor, np.ndarray]: Masks ``(count, 40, 40)`` and concepts
            ``(count,)``.
        """
        # Masks are stored sorted by concept.
        bounds = np.searchsorted(self.concept, np.arange(len(self.names) + 1))
        concept = rng.integers(len(self.names), size=count)
        low, high = bounds[concept], bounds[concept + 1]
        rows = low + (rng.random(count) * (high - low)).astype(int)
        return self.ink[torch.from_numpy(rows)], concept


class Recipe(NamedTuple):
    """Hyper-parameters of a run.

    Attributes:
        steps (int): Optimiser steps.
        drawn_digits (int): Pictures per batch of drawn digits.
        font_digits (int): Pictures per batch of digits from fonts.
        letters (int): Pictures per batch of letters.
        symbols (int): Pictures per batch of symbols.
        shapes (int): Pictures per batch of coloured shapes.
        drawn_per_digit (int): Drawn masks rendered per digit.
        learning_rate (float): Peak of the cosine schedule.
        weight_decay (float): For matrices only.
        warmup (int): Steps of linear warm-up.
        seed (int): Seeds data, augmentation and weights.
    """

    steps: int = 3400
    drawn_digits: int = 40
    font_digits: int = 12
    letters: int = 26
    symbols: int = 24
    shapes: int = 26
    drawn_per_digit: int = 4000
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.05
    warmup: int = 300
    seed: int = 0


class Batch(NamedTuple):
    """One step's data.

    Attributes:
        pictures (Tensor): ``(B, 3, 32, 32)`` in -1..1.
        captions (list[str]): ``T`` captions, one per distinct concept.
        positives (Tensor): ``(B, T)`` bool, which captions fit a picture.
        blocks (tuple[int]): Numbers of captions that are told apart among
            themselves, in their order; all of them if empty.
        tokens (Tensor, optional): Token ids ``(T, L)`` of the captions, where they are known already.
    """

    pictures: Tensor
    captions: list[str]
    positives: Tensor
    blocks: tuple[int, ...] = ()
    tokens: Tensor | None = None


def drawn_masks(per_digit: int, seed: int) -> Masks:
    """Drawn digits, ``per_digit`` of each.

    Args:
        per_digit (int): Masks per digit.
        seed (int): Seed of a local generator.

    Returns:
        Masks: ``10 * per_digit`` masks.
    """
    rng = np.random.default_rng([seed, 1])
    return _draw_each(lambda digit: handwriting.draw_digit(digit, rng, MASK_SIZE), range(10), _concepts.DIGIT_NAMES, per_digit)


def _draw_each(draw, concepts, names, number: int) -> Masks:
    """Masks that are drawn anew, ``number`` of every concept."""
    ink = np.stack([draw(concept) for concept in concepts for _ in range(number)])
    return Masks(torch.from_numpy(ink), np.repeat(np.arange(len(names)), number), list(names))


def font_masks(group: str, split: str = 'train') -> Masks:
    """One mask per character and training face that has it.

    Args:
        group (str): ``digits``, ``letters`` or ``symbols``.
        split (str): Which faces, see :func:`rendering.font_faces`.

    Returns:
        Masks: A few thousand at most.
    """
    faces = rendering.font_faces(split)
    names: list[str] = []
    ink, concept = [], []
    for name, characters in _concepts.glyph_characters(group).items():
        for face in faces:
            for character in characters:
                if rendering.can_draw(face, character):
                    ink.append(rendering.render_glyph(face, character, MASK_SIZE, 0.92))
                    concept.append(len(names))
        names.append(name)
    return Masks(torch.from_numpy(np.stack(ink)), np.array(concept), names)


def shape_masks(per_shape: int, seed: int) -> Masks:
    """Shapes without colour.

    Args:
        per_shape (int): Masks per shape.
        seed (int): Seed of a local generator.

    Returns:
        Masks: ``16 * per_shape`` masks.
    """
    rng = np.random.default_rng([seed, 2])
    return _draw_each(
        lambda name: rendering.render_shape(name, rng, MASK_SIZE, 0.92), _concepts.SHAPE_NAMES, _concepts.SHAPE_NAMES, per_shape
    )


class BatchMaker:
    """Draws pre-training batches from masks held in memory.

    Args:
        recipe (Recipe): Batch composition and seed.
        start (int): Step to start from; batches depend on seed and step only,
            so a resumed run sees the batches it would have seen.
        split (str): Faces of the glyphs, see :func:`rendering.font_faces`.
    """

    def __init__(self, recipe: Recipe, start: int = 0, split: str = 'train') -> None:
        self.recipe = recipe
        self.step = start
        self.sources = {
            'drawn': drawn_masks(recipe.drawn_per_digit, recipe.seed),
            'digits': font_masks('digits', split),
            'letters': font_masks('letters', split),
            'symbols': font_masks('symbols', split),
            'shapes': shape_masks(60, recipe.seed),
        }
        self._colours = torch.tensor(list(_concepts.COLOURS.values()), dtype=torch.float32) / 255
        self._colour_names = list(_concepts.COLOURS)
        self._aliases = _concepts.digit_aliases()

    def counts(self) -> dict[str, int]:
        """Number of masks by source."""
        return {name: len(m.ink) for name, m in self.sources.items()}

    def next(self) -> Batch:
        """Draw the next batch.

        Returns:
            Batch: Of the size that the recipe adds up to.
        """
        rng = np.random.default_rng([self.recipe.seed, 3, self.step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.step += 1
        pictures, names = self._glyphs(rng, generator)
        shape_pictures, shape_names, shapes = self._shapes(rng, generator)
        parents = [None] * len(names) + shapes
        return self._with_captions(torch.cat(pictures + [shape_pictures]), names + shape_names, parents, rng)

    def views(self, step: int, count: int) -> list[Tensor]:
        """Several pictures of the same masks, which are drawn as of a batch.

        Args:
            step (int): What they depend on, with the seed.
            count (int): Pictures of each mask.

        Returns:
            list[Tensor]: ``count`` tensors ``(B, 3, 32, 32)`` in -1..1.
        """
        found = []
        for view in range(count):
            # The same masks and colours of shapes, and a warp and paint each.
            rng = np.random.default_rng([self.recipe.seed, 4, step])
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)) + view)
            pictures, _ = self._glyphs(rng, generator)
            found.append(torch.cat(pictures + [self._shapes(rng, generator)[0]]))
        return found

    def _glyphs(self, rng: np.random.Generator, generator: torch.Generator) -> tuple[list[Tensor], list[str]]:
        """Pictures by source, and the concept of each picture."""
        recipe = self.recipe
        pictures, names = [], []
        for source, count in (
            ('drawn', recipe.drawn_digits),
            ('digits', recipe.font_digits),
            ('letters', recipe.letters),
            ('symbols', recipe.symbols),
        ):
            masks = self.sources[source]
            ink, concept = masks.draw(count, rng)
            pictures.append(augmentation.augment_glyphs(ink, source == 'drawn', generator))
            names += [masks.names[c] for c in concept]
        return pictures, names

    def _shapes(self, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, list[str], list[str]]:
        """Pictures, names with the colour and names without it."""
        count, masks = self.recipe.shapes, self.sources['shapes']
        ink, concept = masks.draw(count, rng)
        colour = rng.integers(len(self._colour_names), size=count)
        pictures = augmentation.augment_shapes(ink, self._colours[torch.from_numpy(colour)], generator)
        shapes = [masks.names[c] for c in concept]
        names = [f'{self._colour_names[c]} {shape}' for c, shape in zip(colour, shapes)]
        return pictures, names, shapes

    def _with_captions(self, pictures: Tensor, names: list[str], parents: list[str | None], rng: np.random.Generator) -> Batch:
        """One caption per distinct concept, and which pictures it fits."""
        # A coloured shape is captioned by its shape alone now and then.
        spoken = [parent if parent and rng.random() < 0.3 else name for name, parent in zip(names, parents)]
        distinct = list(dict.fromkeys(spoken))
        column = {name: i for i, name in enumerate(distinct)}
        positives = torch.zeros(len(names), len(distinct), dtype=torch.bool)
        for row, (name, parent) in enumerate(zip(names, parents)):
            for fitting in (name, parent):
                if fitting in column:
                    positives[row, column[fitting]] = True
        return Batch(pictures, [self._caption(n, rng) for n in distinct], positives)

    def _caption(self, name: str, rng: np.random.Generator) -> str:
        if name in self._aliases:
            templates = _concepts.TEMPLATES['digits']
            if rng.random() < 0.15:
                name = self._aliases[name]
        elif name.split()[-1] in _concepts.SHAPE_NAMES:
            templates = _concepts.TEMPLATES['shapes']
        else:
            templates = _concepts.TEMPLATES['letters']
        return templates[rng.integers(len(templates))].format(name)
