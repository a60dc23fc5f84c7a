"""Picture files from others: opened by the readers of a few formats alone, and measured before they are decoded."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..utils.files import open_regular
from .folder_listing import is_picture_name

# Pillow knows many more, some of which it hands to other programs: Encapsulated PostScript is run by Ghostscript.
FORMATS = ('JPEG', 'PNG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'AVIF', 'JPEG2000', 'TGA', 'PPM')
# 300 MB once decoded. A file of 40 kB can hold more.
MAX_PIXELS = 100_000_000


def check_max_pixels(max_pixels: int) -> int:
    """Return a limit for pixels, or refuse it.

    Raises:
        ValueError: If it is no number of pixels, or more than Pillow itself reads.
    """
    most = 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else float('inf')
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or not 1 <= max_pixels <= most:
        raise ValueError(
            f'max_pixels is {max_pixels!r}, expected a number of pixels from 1 to {most}, the limit of Pillow '
            '(PIL.Image.MAX_IMAGE_PIXELS changes it)'
        )
    return max_pixels


@contextlib.contextmanager
def open_picture(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a picture whose pixels are still to be decoded.

    Args:
        source (str | Path | bytes): A file, or what is in it.
        max_pixels (int): Width times height that is decoded at most.

    Yields:
        PIL.Image.Image: Opened, not decoded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, or has more pixels.
        OSError: If it is a picture of none of :data:`FORMATS`, or none at all.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ValueError(f'{error} (max_pixels={max_pixels})') from None
        with image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(
                    f'{width} x {height} pixels are more than max_pixels={max_pixels}, expected less: a small '
                    'file may fill the memory'
                )
            yield image


def pictures_below(folder: str | Path) -> list[str]:
    """List the pictures in a folder and in those below it; hidden ones, other files and links to folders are passed over.

    Args:
        folder (str | Path): To look into.

    Returns:
        list[str]: Paths, sorted by their parts, whatever the order of the file system.

    Raises:
        ValueError: If it holds no picture.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        found += [os.path.join(place, name) for name in files if is_picture_name(name)]
    if not found:
        raise ValueError(f'{folder} holds no pictures, and neither do the folders below it')
    return sorted(found, key=lambda path: Path(path).parts)
