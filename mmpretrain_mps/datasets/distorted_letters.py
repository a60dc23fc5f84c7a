"""Letters in a domain that the embedded model does not know: harder than the digits, and made without a download."""

import functools
from typing import Any

import numpy as np
import scipy
from mmpretrain.registry import DATASETS
from PIL import Image

from ..mini_clip.rendering import IMAGE_SIZE, can_draw, font_faces, render_glyph
from .base import SplitDataset
from .split import SUBSETS, Split

# Where the small letter is the capital in another size, the capital stands for both.
SAME_SHAPE = 'cosvwxz'
LETTERS = tuple('ABCDEFGHIJKLMNOPQRSTUVWXYZ') + tuple(c for c in 'abcdefghijklmnopqrstuvwxyz' if c not in SAME_SHAPE)
LETTER_NAMES = tuple(f'{"capital" if c.isupper() else "small"} letter {c.lower()}' for c in LETTERS)
LETTER_TEMPLATES = ('a photo of the {}.', 'an image of a {}.', 'a drawing of the {}.', 'a printed {}.')
PER_CLASS = dict(train=32, val=10, test=24)
GLYPH_SIZE = 64


@DATASETS.register_module()
class DistortedLetters(SplitDataset):
    """45 letters of fonts that the embedded model never saw, under distortions that its pre-training did not have.

    Each picture (32x32) is a glyph of one of eight faces (DejaVu Serif, Computer Modern), turned by up to 15 degrees, on
    a background of coloured blotches, in an ink that differs from it by little, crossed by a bar, with the noise of a
    sensor. Per class there are 32 pictures to train on, 10 for validation and 24 to test on, equally many of every face
    as far as that divides. All are drawn from ``render_seed``, so that they are the same everywhere.

    Args:
        render_seed (int): Seed of the distortions. Defaults to 0.
        **kwargs: Arguments of :class:`SplitDataset`; ``data_root`` is not used.

    Raises:
        ValueError: If ``render_seed`` is no whole number from 0 on.
    """

    def __init__(self, render_seed: int = 0, **kwargs: Any):
        if not isinstance(render_seed, int) or isinstance(render_seed, bool) or render_seed < 0:
            raise ValueError(f'render_seed is {render_seed!r}, expected a whole number from 0 on.')
        self.render_seed = render_seed
        super().__init__(**kwargs)

    def read_split(self) -> Split:
        """Return the split; rows hold the number of the picture."""
        rows, start = {}, 0
        for subset in SUBSETS:
            count = PER_CLASS[subset] * len(LETTERS)
            rows[subset] = [(start + i, i % len(LETTERS)) for i in range(count)]
            start += count
        return Split(LETTER_NAMES, LETTER_TEMPLATES, **rows, source='DistortedLetters')

    def read_image(self, index: int) -> np.ndarray:
        """Return picture ``index`` as uint8 RGB ``(32, 32, 3)``."""
        glyphs = _glyphs()[LETTERS[index % len(LETTERS)]]
        glyph = glyphs[index // len(LETTERS) % len(glyphs)]
        return distort(glyph, np.random.default_rng([self.render_seed, index]))

    def identify(self, split: Split) -> str:
        """Return the ``split_id``; other seeds make other pictures of the same labels."""
        rows: dict[str, Any] = {
            name: [(f'{self.render_seed}/{i}', label) for i, label in getattr(split, name)] for name in SUBSETS
        }
        return super().identify(split._replace(**rows))


def distort(glyph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a picture of a glyph that is hard to read.

    Args:
        glyph (np.ndarray): Ink ``(S, S)``, uint8, 255 on 0.
        rng (np.random.Generator): Source of randomness.

    Returns:
        np.ndarray: ``(32, 32, 3)``, uint8.
    """
    ink = _place(glyph, rng) / 255
    # A bar of paper goes through the ink, as if something lay on it.
    ink *= 1 - _bar(rng)
    paper = _blotches(rng)
    # Ink and paper differ by one step of brightness, so that no picture is without a letter.
    step = rng.uniform(0.4, 0.6) * rng.choice((-1, 1))
    hue = rng.uniform(-0.12, 0.12, 3)
    picture = paper + ink[..., None] * (step + hue)
    picture = scipy.ndimage.gaussian_filter(picture, (rng.uniform(0.2, 0.6),) * 2 + (0,))
    picture += rng.normal(0, rng.uniform(0.01, 0.05), picture.shape)
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)


def _place(glyph, rng):
    side = int(round(IMAGE_SIZE * rng.uniform(0.7, 1.0)))
    turned = Image.fromarray(glyph).rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
    turned = turned.resize((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new('L', (IMAGE_SIZE, IMAGE_SIZE))
    margin = IMAGE_SIZE - side
    canvas.paste(turned, (int(rng.integers(margin + 1)), int(rng.integers(margin + 1))))
    return np.asarray(canvas, np.float64)


def _bar(rng):
    """Return 1 within a straight bar of 1 to 2 pixels through the middle third, 0 elsewhere."""
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] - (IMAGE_SIZE - 1) / 2
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-1, 1) * IMAGE_SIZE / 6
    distance = np.abs(x * np.cos(angle) + y * np.sin(angle) - offset)
    return (distance < rng.uniform(0.5, 1.0)).astype(float)


def _blotches(rng):
    """Return a paper of smooth coloured blotches around middle grey, ``(32, 32, 3)``."""
    field = scipy.ndimage.gaussian_filter(
        rng.normal(size=(IMAGE_SIZE, IMAGE_SIZE, 3)), (rng.uniform(2, 5),) * 2 + (0,), mode='wrap'
    )
    field *= rng.uniform(0.03, 0.09) / field.std()
    return rng.uniform(0.35, 0.65) + rng.uniform(-0.1, 0.1, 3) + field


@functools.lru_cache(maxsize=1)  # half a second, for 1.5 MB
def _glyphs():
    """Return the inks of every letter, one per face that can draw it."""
    faces = font_faces('held_out')
    return {letter: [render_glyph(face, letter, GLYPH_SIZE) for face in faces if can_draw(face, letter)] for letter in LETTERS}
