"""Checking a data set on disk before anything is trained on it; nothing is changed, split or deleted."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from mmpretrain.registry import DATASETS

from .benchmarks import locate_folder
from .catalog import where_described
from .making_index import find_dataset
from .split import SUBSETS, check_files, check_split, shorten
from .transforms import LoadRGBImage

if TYPE_CHECKING:
    from .catalog import DatasetSpec

_DECODED_AT_ONCE = 4096


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        level (str): 'error' for what must be mended, 'note' for what may help to, 'ok' for what is in order.
        text (str): What it is.
    """

    level: str
    text: str


def inspect_dataset(name: str, root: str, check_images: bool = False) -> list[Finding]:
    """Check files, folders, counts, class names and, if wanted, every picture of a data set.

    Args:
        name (str): A name of the catalog, or the registered name of any data set of this package.
        root (str): ``data_root`` of the data set.
        check_images (bool): Decode every picture. Defaults to False.

    Returns:
        list[Finding]: What was found; the data set can be used if no level is 'error'.

    Raises:
        KeyError: If no data set has the name.
    """
    registered, spec = find_dataset(name)
    root = osp.expanduser(root)
    findings = [] if spec is None else [Finding('error', text) for text in find_missing_parts(spec, root)]
    if not findings:
        findings = _inspect_content(registered, spec, root, check_images)
    if spec and any(finding.level == 'error' for finding in findings):
        findings += look_for_other_layouts(spec, root)
        findings.append(Finding('note', where_described(spec)))
        if spec.note:
            findings.append(Finding('note', spec.note))
    return findings


def find_missing_parts(spec: DatasetSpec, root: str) -> list[str]:
    """Look for the folders and annotation files of a data set, not at what they hold.

    Args:
        spec (DatasetSpec): Of the catalog.
        root (str): ``data_root`` of the data set.

    Returns:
        list[str]: What is missing; empty if the data set can be looked at more closely.
    """
    if not osp.isdir(root):
        return [f'the data root {root} does not exist']
    folder = _folder(spec, root)
    if not osp.isdir(folder):
        return [f'the folder {folder} does not exist']
    missing = [osp.join(folder, name) for name in spec.annotation_files if not osp.exists(osp.join(folder, name))]
    if spec.annotation_files == ('classnames.txt',) and osp.exists(osp.join(root, 'imagenet', 'classnames.txt')):
        missing = []  # ImageNet's own list serves its variants, too
    images = osp.join(folder, spec.image_root)
    return [f'{path} does not exist' for path in missing] + [f'the image folder {images} does not exist'] * (
        not osp.isdir(images)
    )


def look_for_other_layouts(spec: DatasetSpec, root: str) -> list[Finding]:
    """Look for what mirrors and unpacked archives are known to leave behind.

    Args:
        spec (DatasetSpec): Of the catalog.
        root (str): ``data_root`` of the data set.

    Returns:
        list[Finding]: A note per layout that was recognised, with what to do about it.
    """
    folder = _folder(spec, root)
    findings = []
    for path, advice in spec.other_layouts:
        found = osp.normpath(osp.join(folder, path))
        # On file systems that fold case, the other layout may be the wanted one.
        if osp.exists(found) and not _is_same(found, osp.join(folder, spec.image_root)):
            findings.append(Finding('note', f'{found} was found: {advice}'))
    if osp.isdir(folder):
        wanted = set(spec.annotation_files)
        others = sorted(
            name for name in os.listdir(folder) if name.startswith('split_') and name.endswith('.json') and name not in wanted
        )
        if others and not wanted <= set(os.listdir(folder)):
            findings.append(
                Finding(
                    'note',
                    f'{folder} holds {shorten(others)}, but not {shorten(sorted(wanted))}: '
                    'other split files give other results and are not read',
                )
            )
    return findings


def find_unreadable(paths: Sequence[str], workers: int = 8) -> list[str]:
    """Decode pictures as training does, and list those that cannot be.

    Args:
        paths (Sequence[str]): The pictures.
        workers (int): Threads. Defaults to 8.

    Returns:
        list[str]: What is wrong with each unreadable picture; names its path.
    """
    faults: list[str] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), _DECODED_AT_ONCE):  # the pool takes in all that it is given
            faults += filter(None, pool.map(_decoding_fault, paths[start : start + _DECODED_AT_ONCE]))
    return faults


def find_renamed(paths: Sequence[str], root: str, limit: int = 3) -> list[str]:
    """Look for missing files that are there with another ending or in another case.

    Args:
        paths (Sequence[str]): Paths relative to ``root``.
        root (str): The image folder.
        limit (int): How many to report at most, after a look at the first hundred missing. Defaults to 3.

    Returns:
        list[str]: What each is called on disk.
    """
    missing = islice((path for path in paths if not osp.exists(osp.join(root, path))), 100)
    texts = []
    for path in missing:
        folder, name = osp.split(osp.join(root, path))
        others = sorted(os.listdir(folder)) if osp.isdir(folder) else []
        texts += [f'{path} is there as {other}' for other in others if _plain_stem(other) == _plain_stem(name)][:1]
    return texts[:limit]


def _inspect_content(registered, spec, root, check_images):
    """Check the split, its files and, if wanted, its pictures."""
    findings = []
    try:
        dataset = DATASETS.build(dict(type=registered, data_root=root, lazy_init=True))
        split = dataset.read_published_split() if spec else dataset.read_split()
        check_split(split)
    except (OSError, ValueError, ImportError) as error:
        return [Finding('error', str(error))]
    if spec:
        findings += [Finding('error', f'{split.source}: {text}') for text in dataset.differences(split)]
    for subset in SUBSETS:
        paths = [path for path, _ in getattr(split, subset) if isinstance(path, str)]
        try:
            check_files(paths, dataset.img_prefix, f'"{subset}" of {split.source}')
        except FileNotFoundError as error:
            findings.append(Finding('error', str(error)))
            renamed = find_renamed(paths, dataset.img_prefix)
            if renamed:
                findings.append(Finding('note', f'{"; ".join(renamed)}: expected the names of {split.source}'))
            continue
        if check_images:
            faults = find_unreadable([osp.join(dataset.img_prefix, path) for path in paths])
            if faults:
                findings.append(
                    Finding('error', f'{len(faults)} of {len(paths)} pictures of "{subset}" cannot be read: {shorten(faults)}')
                )
    counts = ', '.join(f'{len(getattr(split, subset))} {subset}' for subset in SUBSETS if getattr(split, subset))
    names = shorten([repr(name) for name in split.classes], limit=4)
    findings.append(Finding('ok', f'{len(split.classes)} classes ({names}); pictures: {counts}'))
    return findings


def _folder(spec, root):
    try:
        return osp.join(root, locate_folder(spec, root))
    except ValueError:  # said again, as an error, when the data set is built
        return osp.join(root, spec.folder)


def _decoding_fault(path):
    """Return why a picture cannot be decoded as training decodes it, or None."""
    try:
        LoadRGBImage().transform(dict(img_path=path))
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _plain_stem(name):
    return osp.splitext(name)[0].lower()


def _is_same(first, second):
    return osp.exists(second) and osp.samefile(first, second)
