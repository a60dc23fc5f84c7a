"""What a data set consists of: classes, templates, and the rows of its train, val and test subsets."""

import contextlib
import hashlib
import json
import math
import os
import os.path as osp
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SUBSETS = ('train', 'val', 'test')
CLASS_SUBSETS = ('all', 'base', 'new')

Row = tuple[str | int, int]


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


def hash_rows(rows: list[Any] | tuple[Any, ...] | dict[str, Any]) -> str:
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


def check_split(split: Split, allow_duplicates: bool = False, allow_outside: bool = False) -> None:
    """Refuse a split that would train or score something else than it says.

    Args:
        split (Split): The whole split.
        allow_duplicates (bool): Let a picture occur in several rows.
        allow_outside (bool): Let a path be absolute, or lead out of the image folder.

    Raises:
        ValueError: For an empty split, malformed rows, labels without a class name, classes without any row, or
            pictures that occur twice. The message names the source, what was found and what was expected.
    """
    check_classes(split.classes, split.source)
    check_templates(split.templates, split.source)
    if not any(getattr(split, name) for name in SUBSETS):
        raise ValueError(f'{split.source} holds no pictures, expected at least one in one of {", ".join(SUBSETS)}.')
    first_seen: dict[str | int, tuple[str, int]] = {}
    used_labels = set()
    for subset in SUBSETS:
        for position, row in enumerate(getattr(split, subset)):
            problem = _find_problem(row, len(split.classes), allow_outside)
            if problem:
                raise ValueError(f'{split.source}: row {position} of "{subset}" {problem}.')
            path, label = row
            used_labels.add(label)
            if not allow_duplicates and path in first_seen:
                other_subset, other_position = first_seen[path]
                raise ValueError(
                    f'{split.source}: row {position} of "{subset}" repeats {path!r} of row {other_position} of '
                    f'"{other_subset}", expected every picture once (allow_duplicates=True accepts it).'
                )
            first_seen.setdefault(path, (subset, position))
    gaps = sorted(set(range(len(split.classes))) - used_labels)
    if gaps:
        raise ValueError(
            f'{split.source}: {shorten(gaps)} of the labels 0..{len(split.classes) - 1} have no picture in any subset, '
            'expected labels without gaps.'
        )


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
        # Control characters, and bytes of a folder's name that are no UTF-8: no model has met these, no log can hold them.
        if any(unicodedata.category(letter) in ('Cc', 'Cs') for letter in name):
            raise ValueError(
                f'{source}: the name of class {label} is {name!r}, expected text in UTF-8 without control '
                'characters such as line breaks.'
            )


def find_equal_names(classes: Sequence[str]) -> dict[str, list[int]]:
    """Return the names that several classes share, case and blanks aside, with their labels.

    Args:
        classes (Sequence[str]): Names in label order.

    Returns:
        dict[str, list[int]]: Empty if all differ.
    """
    labels = defaultdict(list)
    for label, name in enumerate(classes):
        labels[' '.join(name.casefold().split())].append(label)
    return {classes[found[0]]: found for found in labels.values() if len(found) > 1}


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


def plain_path(path: str, where: str, allow_outside: bool = False) -> str:
    """Return a relative path in the one form that it has here, so that ``./a`` and ``a`` are one picture.

    Args:
        path (str): With ``/`` between its parts.
        where (str): Who gave it; opens the message.
        allow_outside (bool): Let it be absolute, or lead out of the image folder.

    Returns:
        str: Without ``.``, ``..`` and empty parts.

    Raises:
        ValueError: If it is absolute, or leads out of the folder that it is relative to.
    """
    plain = posixpath.normpath(path)
    if not allow_outside and (plain.startswith(('/', '../')) or plain == '..' or osp.isabs(path)):
        raise ValueError(
            f'{where} has the path {path!r}, expected one below the image folder (allow_outside=True accepts others).'
        )
    return plain


def check_files(paths: Iterable[str], root: str, source: str, allow_outside: bool = False) -> None:
    """Refuse rows whose file is missing or elsewhere, listing every folder once instead of asking for every file.

    Args:
        paths (Iterable[str]): Paths relative to ``root``.
        root (str): The image folder; may itself be a link.
        source (str): What named the paths.
        allow_outside (bool): Follow links that lead out of ``root``.

    Raises:
        FileNotFoundError: With the folder, the number of missing files and the first of them.
        ValueError: If links lead out of ``root``; with the first of them.
    """
    by_folder = defaultdict(list)
    for path in paths:
        folder, name = osp.split(path)
        by_folder[folder].append(name)
    if by_folder and not osp.isdir(root):
        raise FileNotFoundError(f'{source} needs the image folder {root}, which does not exist.')
    missing: list[str] = []
    outside: list[str] = []
    for folder, names in by_folder.items():
        present, links = _list_folder(osp.join(root, folder))
        missing.extend(osp.join(folder, name) for name in names if name not in present)
        if allow_outside:
            continue
        if not is_below(osp.join(root, folder), root):
            outside.extend(osp.join(folder, name) for name in names)
        else:
            outside.extend(
                osp.join(folder, name) for name in links.intersection(names) if not is_below(osp.join(root, folder, name), root)
            )
    if outside:
        raise outside_error(outside, root, source)
    if missing:
        total = sum(map(len, by_folder.values()))
        raise FileNotFoundError(
            f'{source} names {total} files, of which {len(missing)} are missing under {root}: {shorten(missing)}.'
        )


def is_below(path: str, root: str) -> bool:
    """Whether a path lies in a folder once all links are followed."""
    real = osp.realpath(root)
    return osp.join(osp.realpath(path), '').startswith(osp.join(real, ''))


def outside_error(paths: Sequence[str], root: str, source: str) -> ValueError:
    """Return the error for pictures that are links to somewhere else."""
    first = sorted(paths)[0]
    return ValueError(
        f'{source}: {len(paths)} pictures lie outside of {root}: {shorten(sorted(paths), 3)}; {first} leads to '
        f'{osp.realpath(osp.join(root, first))}. Copy them into it, or follow such links with allow_outside=True.'
    )


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
    values = list(values)
    text = ', '.join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f'{text} and {len(values) - limit} more'


def _find_problem(row, num_classes, allow_outside):
    """Say what is wrong with a row, or return None; short, because ImageNet has 1.3 million of them."""
    if not isinstance(row, (tuple, list)) or len(row) != 2:
        return f'is {row!r}, expected (path, label)'
    path, label = row
    if isinstance(label, bool) or not isinstance(label, int):
        return f'has the label {label!r}, expected a whole number'
    if not 0 <= label < num_classes:
        return f'has the label {label}, expected 0..{num_classes - 1} for {num_classes} class names'
    if isinstance(path, str):
        return _find_path_problem(path, allow_outside)
    if not isinstance(path, int) or isinstance(path, bool):
        return f'has the path {path!r}, expected a relative path or an index'
    return None


def _find_path_problem(path, allow_outside):
    # One look at the letters clears nearly every path; only the others are taken apart.
    if path and path[0] not in './' and path[-1] != '/' and '//' not in path and '/.' not in path and '\0' not in path:
        return None
    if not path or '\0' in path:
        return f'has the path {path!r}, expected a path relative to the image folder'
    try:
        plain = plain_path(path, 'it', allow_outside)
    except ValueError:
        return (
            f'has the path {path!r}, expected a path relative to the image folder and below it (allow_outside=True '
            'accepts others)'
        )
    return None if plain == path else f'has the path {path!r}, expected it as {plain!r}'


def _list_folder(folder):
    """Return the names in a folder, and which of them are links."""
    names, links = set(), set()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.is_symlink():
                links.add(entry.name)
    return names, links
