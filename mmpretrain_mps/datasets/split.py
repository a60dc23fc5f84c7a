"""What a data set consists of: classes, templates, and the rows of its train, val and test subsets."""
import hashlib
import json
import math
import os
import os.path as osp
from collections import defaultdict
from typing import Iterable, List, NamedTuple, Sequence, Tuple, Union

SUBSETS = ('train', 'val', 'test')
CLASS_SUBSETS = ('all', 'base', 'new')

Row = Tuple[Union[str, int], int]


class Split(NamedTuple):
    """The definition of a data set.

    Attributes:
        classes (Sequence[str]): Readable class names; the position is the label. Two classes may share a name.
        templates (Sequence[str]): Prompt templates, each with one ``{}``.
        train (Sequence[tuple]): Rows ``(path, label)``. The path is relative to the image folder, with ``/`` between
            its parts; a data set held in memory gives the index of the picture in its one array instead.
        val (Sequence[tuple]): The same for validation.
        test (Sequence[tuple]): The same for testing.
        source (str): Where the rows were read from; opens every error message.
    """
    classes: Sequence[str]
    templates: Sequence[str]
    train: Sequence[Row] = ()
    val: Sequence[Row] = ()
    test: Sequence[Row] = ()
    source: str = 'split'


def hash_rows(rows) -> str:
    """SHA-256 of anything made of plain lists, dicts, strings and numbers, in canonical JSON.

    Args:
        rows (list | tuple | dict): What to hash. Tuples and lists hash alike.

    Returns:
        str: 64 hexadecimal digits.
    """
    text = json.dumps(rows, ensure_ascii=False, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


def hash_split(split: Split) -> str:
    """Identify a split by its rows, so that another split of the same pictures is told apart.

    Names and templates are left out: they may be overridden without changing which picture is whose.

    Args:
        split (Split): The whole split.

    Returns:
        str: 64 hexadecimal digits.
    """
    return hash_rows({'num_classes': len(split.classes), **{name: getattr(split, name) for name in SUBSETS}})


def check_split(split: Split, allow_duplicates: bool = False) -> None:
    """Refuse a split that would train or score something else than it says.

    Args:
        split (Split): The whole split.
        allow_duplicates (bool): Let a picture occur in several rows.

    Raises:
        ValueError: For an empty split, malformed rows, labels without a class name, classes without any row, or
            pictures that occur twice. The message names the source, what was found and what was expected.
    """
    check_classes(split.classes, split.source)
    check_templates(split.templates, split.source)
    if not any(getattr(split, name) for name in SUBSETS):
        raise ValueError(f'{split.source} holds no pictures, expected at least one in one of {", ".join(SUBSETS)}.')
    first_seen = {}
    used_labels = set()
    for subset in SUBSETS:
        for position, row in enumerate(getattr(split, subset)):
            problem = _find_problem(row, len(split.classes))
            if problem:
                raise ValueError(f'{split.source}: row {position} of "{subset}" {problem}.')
            path, label = row
            used_labels.add(label)
            if not allow_duplicates and path in first_seen:
                other_subset, other_position = first_seen[path]
                raise ValueError(
                    f'{split.source}: row {position} of "{subset}" repeats {path!r} of row {other_position} of '
                    f'"{other_subset}", expected every picture once (allow_duplicates=True accepts it).')
            first_seen.setdefault(path, (subset, position))
    gaps = sorted(set(range(len(split.classes))) - used_labels)
    if gaps:
        raise ValueError(
            f'{split.source}: {shorten(gaps)} of the labels 0..{len(split.classes) - 1} have no picture in any subset, '
            'expected labels without gaps.')


def check_classes(classes: Sequence[str], source: str) -> None:
    """Refuse class names that are not a non-empty sequence of non-empty strings.

    Raises:
        ValueError: With ``source`` and the value found.
    """
    if isinstance(classes, str) or not len(classes):
        raise ValueError(f'{source}: class names are {classes!r}, expected a list with at least one name.')
    for label, name in enumerate(classes):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'{source}: the name of class {label} is {name!r}, expected a non-empty string.')


def check_templates(templates: Sequence[str], source: str) -> None:
    """Refuse templates that a class name cannot be put into.

    Raises:
        ValueError: With ``source`` and the template found.
    """
    if isinstance(templates, str) or not len(templates):
        raise ValueError(f'{source}: templates are {templates!r}, expected a list with at least one template.')
    for template in templates:
        if not isinstance(template, str) or template.count('{}') != 1 or template.count('{') != 1:
            raise ValueError(f"{source}: template {template!r} was found, expected text with one '{{}}' for the name.")


def check_files(paths: Iterable[str], root: str, source: str) -> None:
    """Refuse rows whose file is missing, listing every folder once instead of asking for every file.

    Args:
        paths (Iterable[str]): Paths relative to ``root``.
        root (str): The image folder.
        source (str): What named the paths.

    Raises:
        FileNotFoundError: With the folder, the number of missing files and the first of them.
    """
    by_folder = defaultdict(list)
    for path in paths:
        folder, name = osp.split(path)
        by_folder[folder].append(name)
    if by_folder and not osp.isdir(root):
        raise FileNotFoundError(f'{source} needs the image folder {root}, which does not exist.')
    missing = []
    for folder, names in by_folder.items():
        present = _list_folder(osp.join(root, folder))
        missing.extend(osp.join(folder, name) for name in names if name not in present)
    if missing:
        total = sum(map(len, by_folder.values()))
        raise FileNotFoundError(
            f'{source} names {total} files, of which {len(missing)} are missing under {root}: {shorten(missing)}.')


def base_size(num_classes: int) -> int:
    """Number of base classes: the first half, rounded up."""
    return math.ceil(num_classes / 2)


def class_range(class_subset: str, num_classes: int) -> range:
    """Labels of ``class_subset``, one of 'all', 'base' (first half, rounded up) and 'new' (the others).

    Raises:
        ValueError: If the name is unknown, or no class is left.
    """
    if class_subset not in CLASS_SUBSETS:
        raise ValueError(f'class_subset is {class_subset!r}, expected one of {", ".join(CLASS_SUBSETS)}.')
    bounds = dict(all=(0, num_classes), base=(0, base_size(num_classes)), new=(base_size(num_classes), num_classes))
    labels = range(*bounds[class_subset])
    if not labels:
        raise ValueError(f'class_subset {class_subset!r} of {num_classes} class(es) is empty, expected 2 or more.')
    return labels


def shorten(values: Sequence, limit: int = 5) -> str:
    """Write the first values of a list and how many more there are."""
    values: List = list(values)
    text = ', '.join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f'{text} and {len(values) - limit} more'


def _find_problem(row, num_classes):
    """Say what is wrong with a row, or return None; short, because ImageNet has 1.3 million of them."""
    if not isinstance(row, (tuple, list)) or len(row) != 2:
        return f'is {row!r}, expected (path, label)'
    path, label = row
    if isinstance(label, bool) or not isinstance(label, int):
        return f'has the label {label!r}, expected a whole number'
    if not 0 <= label < num_classes:
        return f'has the label {label}, expected 0..{num_classes - 1} for {num_classes} class names'
    if isinstance(path, str) and (not path or osp.isabs(path)):
        return f'has the path {path!r}, expected a path relative to the image folder'
    if not isinstance(path, (str, int)) or isinstance(path, bool):
        return f'has the path {path!r}, expected a relative path or an index'
    return None


def _list_folder(folder):
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
