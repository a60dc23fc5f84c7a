"""What files that should be pictures are, looked at before the first of them is trained on."""

import functools
import os
import os.path as osp
import stat
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from mmengine.logging import print_log

from ..utils.files import kind_of
from .folder_listing import is_picture_name
from .picture_files import MAX_PIXELS
from .transforms.loading import decoding_fault

_MANY, _WORKERS = 5000, 8


class Look(NamedTuple):
    """What a file is.

    Attributes:
        fault (str): Why it is no picture; '' if it is one.
        identity (tuple[int, int] | None): Device and inode: equal for one file under several names.
    """

    fault: str
    identity: tuple[int, int] | None


def look_at_pictures(paths: Sequence[str], root: str, max_pixels: int = MAX_PIXELS, decode: bool = True) -> dict[str, Look]:
    """Decode files as training does; what was decoded once in this process and did not change is known.

    Args:
        paths (Sequence[str]): Relative to ``root``.
        root (str): The picture folder.
        max_pixels (int): Width times height that is decoded at most.
        decode (bool): Decode; False reads the headers alone, and misses what breaks off later. Defaults to True.

    Returns:
        dict[str, Look]: In the order of ``paths``.
    """
    if decode and len(paths) > _MANY:
        print_log(
            f'{len(paths)} pictures of {root} are decoded once, to find broken ones before the training '
            '(pictures_decoded=False looks at their headers alone)',
            'current',
        )
    with ThreadPoolExecutor(_WORKERS) as pool:  # Pillow lets other threads run as it decodes
        return dict(zip(paths, pool.map(lambda path: _look(osp.join(root, path), max_pixels, decode), paths)))


def find_copies(looks: dict[str, Look]) -> list[list[str]]:
    """Return the paths that are links to one file, hard or symbolic.

    Args:
        looks (dict[str, Look]): From :func:`look_at_pictures`.

    Returns:
        list[list[str]]: Sorted groups of two or more.
    """
    groups = defaultdict(list)
    for path, look in looks.items():
        if look.identity is not None:
            groups[look.identity].append(path)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _look(path, max_pixels, decode):
    if not is_picture_name(osp.basename(path)):
        return Look('ending of no picture', None)
    try:
        status = os.stat(path)
    except OSError:
        return Look('broken link' if osp.islink(path) else 'cannot be read', None)
    if not stat.S_ISREG(status.st_mode):
        return Look(kind_of(status.st_mode), None)
    if not status.st_size:
        return Look('empty file', None)
    fault = _decoding_fault(path, max_pixels, decode, status.st_mtime_ns, status.st_size)
    return Look(fault, (status.st_dev, status.st_ino))


@functools.lru_cache(maxsize=1 << 17)
def _decoding_fault(path, max_pixels, decode, modified_ns, size):
    """Look once per process, however many subsets are built from a file; time and size tell when it changed."""
    return decoding_fault(path, max_pixels, decode)
