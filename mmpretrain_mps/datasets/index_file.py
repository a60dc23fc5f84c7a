"""Index files: the picks of one few-shot training or validation set, as JSON that can be published.

::

    {"format": "mmpretrain_mps-picks", "version": 1, "dataset": "OxfordPets", "subset": "train",
     "num_shots": 16, "seed": 1, "rule": "coop-1", "split_id": "<SHA-256>", "sha256": "<SHA-256>",
     "classes": ["abyssinian", ...],
     "items": [{"path": "Abyssinian_1.jpg", "label": 0, "classname": "abyssinian"}, ...]}

``num_shots`` is the number of training shots, for ``val`` too, where at most 4 per class are drawn. ``split_id``
identifies the whole split that was drawn from, and ``sha256`` the items: it is :func:`~.split.hash_rows` of
``[[path, label, classname], ...]`` in their order. Labels count all classes, also when base or new ones are used later.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..utils.files import read_json
from .sampling import MAX_VAL_SHOTS, SAMPLING_RULE
from .split import check_classes, hash_rows, shorten

FORMAT = 'mmpretrain_mps-picks'
VERSION = 1
_TYPES = dict(dataset=str, subset=str, num_shots=int, seed=int, rule=str, split_id=str, sha256=str, classes=list, items=list)


class IndexFile(NamedTuple):
    """Content of an index file.

    Attributes:
        dataset (str): ``metainfo['dataset_name']`` of the data set.
        subset (str): 'train' or 'val'.
        num_shots (int): Training pictures per class.
        seed (int): Seed of the picks.
        split_id (str): Identity of the split that was drawn from.
        classes (tuple[str]): All class names, in label order.
        rows (tuple): ``(path, label)`` in the order of the picks; an index instead of a path for data in memory.
        rule (str): Name of the sampling rule.
        path (str): Where it was read from; opens error messages.
    """

    dataset: str
    subset: str
    num_shots: int
    seed: int
    split_id: str
    classes: Sequence[str]
    rows: Sequence[tuple]
    rule: str = SAMPLING_RULE
    path: str = 'index file'


def write(path: str, index: IndexFile) -> str:
    """Write an index file; its folder is made where it is missing, an older file is replaced as a whole.

    Args:
        path (str): Where to write.
        index (IndexFile): What to write.

    Returns:
        str: The ``sha256`` of the items.

    Raises:
        OSError: If the path is a folder, or cannot be written for another reason.
    """
    if not os.path.basename(path) or os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    items = [dict(path=item, label=int(label), classname=index.classes[label]) for item, label in index.rows]
    digest = _hash_items(items)
    content = dict(
        format=FORMAT,
        version=VERSION,
        dataset=index.dataset,
        subset=index.subset,
        num_shots=index.num_shots,
        seed=index.seed,
        rule=index.rule,
        split_id=index.split_id,
        sha256=digest,
        classes=list(index.classes),
    )
    head = json.dumps(content, ensure_ascii=False, indent=1)[:-2]  # without the closing newline and brace
    lines = ',\n'.join('  ' + json.dumps(item, ensure_ascii=False) for item in items)  # one line per pick: short diffs
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    unfinished = f'{path}.unfinished'
    with open(unfinished, 'w', encoding='utf-8', errors='surrogateescape') as file:
        file.write(f'{head},\n "items": [\n{lines}\n ]\n}}\n')
    os.replace(unfinished, path)
    return digest


def read(path: str) -> IndexFile:
    """Read an index file and check that it is whole.

    Args:
        path (str): The file.

    Returns:
        IndexFile: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no index file, of another version or rule, malformed, or its hash does not fit its items.
    """
    path = os.path.expanduser(path)
    try:
        # Names that are no UTF-8 stay what they are, here, in the writing and in the hash.
        content = read_json(path, errors='surrogateescape')
    except FileNotFoundError:
        raise FileNotFoundError(f'Index file {path} does not exist.') from None
    except ValueError as error:
        raise ValueError(f'{path} is no index file: it does not hold JSON that can be read ({error})') from None
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        found = content.get('format') if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path} has the format {found!r}, expected {FORMAT!r}.')
    if content.get('version') != VERSION:
        raise ValueError(f'{path} has version {content.get("version")!r}, expected {VERSION}.')
    for key, kind in _TYPES.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f'{path}: {key!r} is {content.get(key)!r}, expected {kind.__name__}.')
    if content['rule'] != SAMPLING_RULE:
        raise ValueError(f'{path} follows the sampling rule {content["rule"]!r}, expected {SAMPLING_RULE!r}.')
    check_classes(content['classes'], path)
    rows = tuple(_read_item(item, position, content['classes'], path) for position, item in enumerate(content['items']))
    twice = [path for path, count in Counter(path for path, _ in rows).items() if count > 1]
    if twice:
        raise ValueError(f'{path} names {shorten(twice)} more than once, expected every picture once.')
    digest = _hash_items(content['items'])
    if digest != content['sha256']:
        raise ValueError(
            f'{path} states the SHA-256 {content["sha256"]} of its items, but they have {digest}: '
            'the list was changed after it was written. Write it anew, or fetch it again.'
        )
    keys = ('dataset', 'subset', 'num_shots', 'seed', 'split_id', 'classes', 'rule')
    return IndexFile(**{key: content[key] for key in keys}, rows=rows, path=path)


def locate(index: IndexFile, rows: Sequence[tuple], dataset: str, subset: str, split_id: str, num_classes: int) -> list[int]:
    """Find the picks of an index file among the rows of a data set.

    Args:
        index (IndexFile): The picks.
        rows (Sequence[tuple]): ``(path, label)`` of the pictures of the data set.
        dataset (str): Name of the data set.
        subset (str): Its subset.
        split_id (str): Identity of its split.
        num_classes (int): Number of all its classes.

    Returns:
        list[int]: Positions in ``rows``, in the order of the file.

    Raises:
        ValueError: If the file belongs to another data set, subset or split, or names pictures that are not there or
            have another label there.
    """
    for name, found, expected in (
        ('data set', index.dataset, dataset),
        ('subset', index.subset, subset),
        ('number of classes', len(index.classes), num_classes),
    ):
        if found != expected:
            raise ValueError(f'{index.path} is for the {name} {found!r}, expected {expected!r}.')
    positions = {row: position for position, row in enumerate(rows)}
    if len(positions) < len(rows):
        raise ValueError(
            f'{index.path} cannot be used: {dataset} has several pictures of one path and label, as '
            'concatenated data sets may; draw by num_shots and seed instead.'
        )
    missing = [row for row in index.rows if row not in positions]
    if missing:
        raise ValueError(
            f'{index.path} names {len(index.rows)} pictures, of which {len(missing)} are not among the {len(rows)} of '
            f'the subset "{subset}" of {dataset} with the same label: {shorten(missing)}.'
        )
    asked = index.num_shots if index.subset == 'train' else min(index.num_shots, MAX_VAL_SHOTS)
    there, picked = (Counter(label for _, label in pairs) for pairs in (rows, index.rows))
    other = [f'{picked[label]} of class {label}' for label in there if picked[label] != min(asked, there[label])]
    if other:
        raise ValueError(f'{index.path} has {shorten(other)}, expected {asked} of each class, or all that there are.')
    if index.split_id != split_id:
        raise ValueError(
            f'{index.path} was drawn from the split {index.split_id} of {dataset}, but this data set has the split '
            f'{split_id}: its files or its split file have changed. Write the index file anew if that is meant.'
        )
    return [positions[row] for row in index.rows]


def _read_item(item, position, classes, path):
    keys = ('path', 'label', 'classname')
    where = f'{path}: item {position}'
    if not isinstance(item, dict) or sorted(item) != sorted(keys):
        raise ValueError(f'{where} is {item!r}, expected the keys {", ".join(keys)}.')
    label = item['label']
    if type(label) is not int or not 0 <= label < len(classes):
        raise ValueError(f'{where} has the label {label!r}, expected 0..{len(classes) - 1}.')
    if type(item['path']) not in (str, int) or (isinstance(item['path'], str) and os.path.isabs(item['path'])):
        raise ValueError(f'{where} has the path {item["path"]!r}, expected a relative path or an index.')
    if item['classname'] != classes[label]:
        raise ValueError(f'{where} calls class {label} {item["classname"]!r}, expected {classes[label]!r}.')
    return item['path'], label


def _hash_items(items):
    return hash_rows([[item['path'], item['label'], item['classname']] for item in items])
