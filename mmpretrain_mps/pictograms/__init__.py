"""Drawings of a thousand things by several artists, and which of them are trained and tested on.

``NOTICE.md`` beside this file says whose they are; ``tools/build_pictograms.py`` makes all files but the hand-written ones.

    >>> from mmpretrain_mps import pictograms
    >>> pictograms.drawings('noto')['octopus'].shape
    (64, 64, 4)
"""

import hashlib
import io
import json
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['drawings', 'folder', 'index', 'read_index', 'read_sheet', 'write_sheet']

INDEX_NAME = 'pictograms.json'
KEYS = ('concepts', 'kinds', 'left_out', 'sheets', 'shown', 'size', 'things')
COLUMNS = 32
REPAIR = 'install the package again, or write it anew by tools/build_pictograms.py'


def folder() -> Path:
    """Folder of the drawings: the one of this module."""
    return Path(__file__).resolve().parent


@lru_cache(maxsize=1)
def index() -> dict:
    """What there is.

    Returns:
        dict: ``sheets`` (style -> ``file``, ``sha256``, ``role``, ``artist``, ``licence``, ``concepts`` in their order there),
        ``concepts`` (-> ``name``, ``character``, ``group``, ``subgroup``, ``keywords``, ``kind``), ``kinds`` (name -> concepts of
        ``train``, ``val`` and ``test``), ``shown`` (style that is no source -> test concepts of the kinds), ``things`` (concept
        -> styles of ``train``, ``val`` and ``test``), ``left_out`` (``emoji``: reason -> concepts, ``drawings``: style -> reason
        -> concepts), ``size``.
    """
    return read_index(folder())


@cache
def drawings(style: str) -> dict[str, np.ndarray]:
    """All drawings of a style.

    Args:
        style (str): One of ``index()['sheets']``.

    Returns:
        dict[str, np.ndarray]: Concept -> straight RGBA ``(64, 64, 4)``, uint8.

    Raises:
        ValueError: For an unknown style, or a damaged file.
    """
    sheets = index()['sheets']
    if style not in sheets:
        raise ValueError(f'style is {style!r}, expected one of {", ".join(sheets)}')
    return read_sheet(folder(), sheets[style], index()['size'])


def read_index(where: Path) -> dict:
    """Read ``pictograms.json`` of a folder.

    Raises:
        ValueError: If it is missing or damaged.
    """
    path = Path(where) / INDEX_NAME
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read ({error}): {REPAIR}') from error
    missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f'{path} lacks {", ".join(missing)}: {REPAIR}')
    return content


def read_sheet(where: Path, sheet: dict, size: int) -> dict[str, np.ndarray]:
    """Read one sheet, if it is the one that the index describes.

    Args:
        where (Path): Its folder.
        sheet (dict): ``file``, ``sha256`` and ``concepts``.
        size (int): Side of a drawing, pixels.

    Returns:
        dict[str, np.ndarray]: Concept -> straight RGBA ``(size, size, 4)``, uint8.

    Raises:
        ValueError: If the file is missing or another one.
    """
    path = Path(where) / sheet['file']
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f'{path} cannot be read ({error}): {REPAIR}') from error
    found = hashlib.sha256(content).hexdigest()
    if found != sheet['sha256']:
        raise ValueError(f'{path} has the SHA-256 {found}, expected {sheet["sha256"]}: {REPAIR}')
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.array(picture)
    rows = pixels.shape[0] // size
    tiles = pixels.reshape(rows, size, COLUMNS, size, 4).swapaxes(1, 2).reshape(-1, size, size, 4)
    tiles.setflags(write=False)  # they are shared
    return dict(zip(sheet['concepts'], tiles))


def write_sheet(path: Path, tiles: np.ndarray) -> str:
    """Write drawings as one picture, without a loss.

    Args:
        path (Path): Of a WebP file.
        tiles (np.ndarray): ``(N, size, size, 4)``, uint8.

    Returns:
        str: SHA-256 of the file.
    """
    count, size = tiles.shape[:2]
    rows = -(-count // COLUMNS)
    padded = np.zeros((rows * COLUMNS, size, size, 4), np.uint8)
    padded[:count] = tiles
    pixels = padded.reshape(rows, COLUMNS, size, size, 4).swapaxes(1, 2).reshape(rows * size, COLUMNS * size, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'WEBP', lossless=True, quality=75, method=4, exact=True)
    Path(path).write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
