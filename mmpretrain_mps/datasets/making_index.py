"""Making index files: of a split file alone, or of a data set on disk."""

from __future__ import annotations

import os.path as osp
from logging import WARNING
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from .benchmarks import locate_folder
from .catalog import CATALOG, find_spec
from .few_shot import FewShotDataset
from .index_file import IndexFile
from .sampling import few_shot_picks
from .split import SUBSETS, Split, check_split, hash_split, shorten
from .split_readers import label_names, load_json_split

if TYPE_CHECKING:
    from .catalog import DatasetSpec


def index_of_split_file(path: str, num_shots: int, seed: int, subset: str = 'train') -> IndexFile:
    """Draw from a ``split_zhou_*.json`` file without looking at pictures.

    Args:
        path (str): The split file.
        num_shots (int): Pictures per class; 'val' gets ``min(num_shots, 4)``.
        seed (int): Seed of the picks.
        subset (str): 'train' or 'val'. Defaults to 'train'.

    Returns:
        IndexFile: Rows in the order of the picks; class names as the split file writes them.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it does not hold a split, or has no pictures to draw from.
    """
    rows = load_json_split(path)
    names = label_names(rows, path)
    split = Split(names, ('{}',), source=path, **{key: [row[:2] for row in rows[key]] for key in SUBSETS})
    check_split(split)
    labels = {key: [label for _, label in getattr(split, key)] for key in ('train', 'val')}
    if not labels[subset]:
        raise ValueError(f'{path}: "{subset}" is empty, expected pictures to draw from.')
    picks = few_shot_picks(labels['train'], num_shots, seed, labels['val'])
    short = picks.short_classes if subset == 'train' else picks.short_val_classes
    if short:
        listed = shorten([f'"{names[label]}" ({count})' for label, count in short.items()], limit=20)
        print_log(
            f'{path}: {len(short)} of {len(names)} classes have too few pictures in "{subset}" and give all they have: {listed}.',
            'current',
            WARNING,
        )
    drawn = [getattr(split, subset)[position] for position in getattr(picks, subset)]
    return IndexFile(_name_of_split_file(path), subset, num_shots, seed, hash_split(split), names, drawn)


def index_of_dataset(name: str, root: str, num_shots: int, seed: int, subset: str = 'train', **options: Any) -> IndexFile:
    """Draw from a data set on disk; every file of the subset is looked for first.

    Args:
        name (str): A name of the catalog, or the registered name of any data set of this package.
        root (str): ``data_root`` of the data set.
        num_shots (int): Pictures per class; 'val' gets ``min(num_shots, 4)``.
        seed (int): Seed of the picks.
        subset (str): 'train' or 'val'. Defaults to 'train'.
        **options: Further arguments of the data set.

    Returns:
        IndexFile: Rows in the order of the picks.

    Raises:
        FileNotFoundError: If files are missing.
        KeyError: If no data set has the name.
        ValueError: If the data set does not hold together, or has no such subset.
    """
    registered, spec = find_dataset(name)
    dataset = dict(type=registered, data_root=root, subset=subset, **options)
    index = FewShotDataset(dataset, num_shots=num_shots, seed=seed, subset=subset, cache_images=False).index
    if spec and spec.annotation_files[0].endswith('.json'):
        # Names as the split file writes them, so that both ways of making an index file give the same one.
        path = osp.join(root, locate_folder(spec, osp.expanduser(root)), spec.annotation_files[0])
        index = index._replace(classes=label_names(load_json_split(osp.expanduser(path)), path))
    return index


def find_dataset(name: str) -> tuple[str, DatasetSpec | None]:
    """Find a data set by its name in the catalog or in the registry.

    Args:
        name (str): Like 'OxfordPets', 'oxford_pets', 'CLIPOxfordPets' or 'Digits'.

    Returns:
        tuple[str, DatasetSpec | None]: Registered name, and the specification of the catalog if there is one.

    Raises:
        KeyError: If no data set of this package has the name.
    """
    for spec in CATALOG.values():
        if name == registered_name(spec):
            return name, spec
    found = DATASETS.get(name)
    if found is not None and found.__module__.startswith(__package__):
        return name, None
    spec = find_spec(name)
    return registered_name(spec), spec


def registered_name(spec: DatasetSpec) -> str:
    """Return the name under which a data set of the catalog is registered: mmpretrain's own have the plain names."""
    return 'CLIP' + spec.name.replace('-', '')


def _name_of_split_file(path):
    """Tell the data set by the name of its split file."""
    file_name = osp.basename(path)
    names = [spec.name for spec in CATALOG.values() if file_name in spec.annotation_files]
    return names[0] if names else osp.splitext(file_name)[0]
