"""Pictures that a program gives, as paths or in memory."""

import contextlib
import itertools
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmpretrain.registry import DATASETS
from PIL import Image

from .base import SplitDataset
from .picture_files import MAX_PIXELS, pictures_below
from .picture_lists import DEFAULT_TEMPLATES
from .split import Split, hash_rows
from .transforms import LoadRGBImage
from .transforms.loading import decoding_fault

_given: dict[str, 'Given'] = {}
_numbers = itertools.count()


class Given(NamedTuple):
    """Labelled pictures."""

    pictures: list
    """Absolute paths (str), or arrays ``(H, W, 3)``, uint8, RGB."""
    labels: list[int]
    names: list[str]
    """Of the classes, in the order of their labels."""


@contextlib.contextmanager
def given(data: Given) -> Iterator[str]:
    """Let :class:`GivenPictures` find pictures for a while: a config can name them, but not hold them.

    Args:
        data (Given): The pictures.

    Yields:
        str: What the data set's ``key`` is to be.
    """
    key = f'given-{next(_numbers)}'
    _given[key] = data
    try:
        yield key
    finally:
        del _given[key]


@DATASETS.register_module()
class GivenPictures(SplitDataset):
    """Training pictures that a program has given; there are no others.

    Args:
        key (str): Of :func:`given`.
        **kwargs: See :class:`SplitDataset`.

    Raises:
        ValueError: If nothing is given under that key.
    """

    def __init__(self, key: str = '', **kwargs: Any):
        if key not in _given:
            raise ValueError(
                'the pictures of this training were given by a program, which has ended, and lie in no folder; name '
                "a data set in their place, for instance dict(type='PictureFolder', data_root=...)"
            )
        self._data = _given[key]
        # They are who they are: the same picture may be given twice, and from anywhere.
        super().__init__(allow_duplicates=True, allow_outside=True, files_checked=False, **kwargs)

    def read_split(self) -> Split:
        """Return the pictures as the training subset, those in memory by their places."""
        rows = [
            (picture if isinstance(picture, str) else place, label)
            for place, (picture, label) in enumerate(zip(self._data.pictures, self._data.labels))
        ]
        return Split(self._data.names, DEFAULT_TEMPLATES, train=rows, source='the given pictures')

    def read_image(self, index: int) -> np.ndarray:
        """Return a picture that is in memory."""
        return self._data.pictures[index]

    def identify(self, split: Split) -> str:
        """Hash paths, and pixels where there is no path."""
        return hash_rows(
            [[path if isinstance(path, str) else _pixels_id(self._data.pictures[path]), label] for path, label in split.train]
        )

    def _doubts(self, split):
        return [doubt for doubt in super()._doubts(split) if 'none to test on' not in doubt]


def sources_of(pictures: Any) -> list:
    """Return pictures as a list of what :class:`LoadRGBImage` reads.

    Args:
        pictures (str | Path | PIL.Image.Image | Sequence): A folder, with all folders below it; one picture; or a sequence of
            pictures: paths, pictures of Pillow, bytes of files, or RGB arrays ``(H, W, 3)`` or grey ones ``(H, W)``.

    Returns:
        list: Absolute paths (str), and everything else as it is.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If there are no pictures, or something is none.
    """
    if isinstance(pictures, (str, Path)):
        path = Path(pictures).expanduser()
        if not path.exists():
            raise FileNotFoundError(f'{pictures} does not exist; expected a folder of pictures, a picture, or a list of them')
        pictures = pictures_below(path) if path.is_dir() else [path]
    elif isinstance(pictures, (bytes, Image.Image)):
        pictures = [pictures]
    if pictures is None or not hasattr(pictures, '__iter__'):
        raise ValueError(f'pictures is {pictures!r}, expected a folder, or a list of paths, pictures of Pillow or arrays')
    sources = [_source_of(picture, place) for place, picture in enumerate(pictures)]
    if not sources:
        raise ValueError('there are no pictures: the list is empty')
    return sources


def checked_pictures(sources: Sequence, max_pixels: int = MAX_PIXELS) -> list:
    """Look at every picture before the first is trained on.

    Args:
        sources (Sequence): Of :func:`sources_of`.
        max_pixels (int): Width times height that is decoded at most.

    Returns:
        list: Paths as they are, all others as arrays ``(H, W, 3)``, uint8, RGB.

    Raises:
        ValueError: Names the pictures that cannot be read, and why.
    """
    load = LoadRGBImage(max_pixels=max_pixels)

    def look(place: int) -> tuple[Any, str]:
        """Return a picture as it is kept, and why it cannot be read."""
        source = sources[place]
        if isinstance(source, str):
            return source, decoding_fault(source, max_pixels)
        try:
            return load(dict(img=source, img_path=None, sample_idx=place))['img'], ''
        except (ValueError, OSError) as error:
            return None, str(error.__cause__ or error)

    with ThreadPoolExecutor(8) as pool:  # Pillow lets other threads run as it decodes
        looks = list(pool.map(look, range(len(sources))))
    # Without a path, a picture goes by its place (from 0) among those that were given.
    names = [source if isinstance(source, str) else f'picture {place}' for place, source in enumerate(sources)]
    faults = [f'{name} ({fault})' for name, (_, fault) in zip(names, looks) if fault]
    if faults:
        more = f' and {len(faults) - 5} more' if len(faults) > 5 else ''
        raise ValueError(f'{len(faults)} of {len(sources)} pictures cannot be read: {", ".join(faults[:5])}{more}')
    return [picture for picture, _ in looks]


def _source_of(picture, place):
    if isinstance(picture, (str, Path)):
        return osp.abspath(osp.expanduser(os.fspath(picture)))
    if isinstance(picture, (bytes, np.ndarray, Image.Image)):
        return picture
    raise ValueError(
        f'picture {place} is a {type(picture).__name__}, expected a path, a picture of Pillow, or an array (H, W, 3)'
    )


def _pixels_id(picture: np.ndarray) -> str:
    return hash_rows([list(picture.shape), picture.tobytes().hex()])
