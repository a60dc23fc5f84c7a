"""Readers of the files that define the benchmark splits; they read text and never look at pictures."""

import os.path as osp
from collections import defaultdict
from collections.abc import Sequence

from ..utils.files import read_json, read_text
from .split import SUBSETS, Split, plain_path, shorten


def readable_name(name: str) -> str:
    """Turn a class name of a split file into the name for prompts: ``_`` becomes a space, nothing else changes."""
    return name.replace('_', ' ')


def load_json_split(path: str, hint: str = '') -> dict[str, list[tuple[str, int, str]]]:
    """Load and check a ``split_zhou_*.json`` file.

    Args:
        path (str): The file.
        hint (str): Where to get the file; ends the message when it is missing.

    Returns:
        dict[str, list[tuple[str, int, str]]]: For 'train', 'val' and 'test' the rows ``(path, label, class name)`` in
        the order of the file, names as the file writes them.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no JSON, if its structure differs, if a label goes by two names, or if labels are missing.
    """
    content = read_json(path, hint)
    if not isinstance(content, dict) or not all(isinstance(content.get(subset), list) for subset in SUBSETS):
        found = f'an object with {sorted(content)}' if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} holds {found}, expected an object with the lists 'train', 'val' and 'test'.")
    rows = {
        subset: [_check_json_row(row, subset, position, path) for position, row in enumerate(content[subset])]
        for subset in SUBSETS
    }
    label_names(rows, path)
    return rows


def label_names(rows: dict[str, list[tuple[str, int, str]]], path: str) -> list[str]:
    """Return the class names in label order, as the file writes them.

    Args:
        rows (dict[str, list[tuple[str, int, str]]]): Rows of :func:`load_json_split`.
        path (str): The file they come from; opens every error message.

    Returns:
        list[str]: One name per label.

    Raises:
        ValueError: If a label goes by two names, labels have a gap, or one to test on is missing in training.
    """
    names: dict[int, str] = {}
    labels_of = defaultdict(set)
    for subset in SUBSETS:
        for position, (_, label, name) in enumerate(rows[subset]):
            if names.setdefault(label, name) != name:
                raise ValueError(
                    f'{path}: row {position} of "{subset}" calls label {label} {name!r}, '
                    f'but an earlier row calls it {names[label]!r}.'
                )
            labels_of[subset].add(label)
    if not names:
        raise ValueError(f'{path} lists no pictures.')
    if max(names) != len(names) - 1:
        gap = next(label for label in range(len(names)) if label not in names)
        raise ValueError(
            f'{path}: {len(names)} labels up to {max(names)} occur, but none is {gap}; expected labels from 0 without gaps.'
        )
    for subset in ('val', 'test'):
        unseen = sorted(labels_of[subset] - labels_of['train'])
        if unseen:
            raise ValueError(f'{path}: "{subset}" has the label {shorten(unseen)}, which "train" lacks.')
    return [names[label] for label in range(len(names))]


def read_json_split(path: str, templates: Sequence[str], hint: str = '') -> Split:
    """Read a ``split_zhou_*.json`` file; labels are in the file's own numbering.

    Args:
        path (str): The file.
        templates (Sequence[str]): Prompt templates of the data set.
        hint (str): Where to get the file; ends the message when it is missing.

    Returns:
        Split: With readable class names.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it does not hold a split, see :func:`load_json_split`.
    """
    rows = load_json_split(path, hint)
    names = label_names(rows, path)
    short_rows = {subset: [(item, label) for item, label, _ in rows[subset]] for subset in SUBSETS}
    return Split([readable_name(name) for name in names], templates, source=path, **short_rows)


def read_fgvc_split(folder: str, templates: Sequence[str], hint: str = '') -> Split:
    """Read the text files of FGVC-Aircraft: ``variants.txt`` and ``images_variant_{train,val,test}.txt``.

    The position of a variant in ``variants.txt`` is its label. Lines of the other files are ``1025794 707-320``.

    Args:
        folder (str): Folder of the text files.
        templates (Sequence[str]): Prompt templates of the data set.
        hint (str): Where to get the files; ends the message when one is missing.

    Returns:
        Split: With paths like ``1025794.jpg``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line names no picture or no known variant, or a variant is listed twice.
    """
    variants_path = osp.join(folder, 'variants.txt')
    variants = [line for _, line in read_lines(variants_path, hint)]
    if len(set(variants)) != len(variants):
        twice = sorted({name for name in variants if variants.count(name) > 1})
        raise ValueError(f'{variants_path} lists {shorten(twice)} more than once, expected every variant once.')
    labels = {name: label for label, name in enumerate(variants)}
    rows = {}
    for subset in SUBSETS:
        path = osp.join(folder, f'images_variant_{subset}.txt')
        rows[subset] = [_fgvc_row(line, labels, f'{path}, line {number}') for number, line in read_lines(path, hint)]
    return Split([readable_name(name) for name in variants], templates, source=folder, **rows)


def read_class_list(path: str, hint: str = '') -> dict[str, str]:
    """Read ImageNet's ``classnames.txt``: one class per line, folder name and class name, ``n01440764 tench``.

    Args:
        path (str): The file.
        hint (str): Where to get the file; ends the message when it is missing.

    Returns:
        dict[str, str]: Folder name -> class name, sorted by folder name: the position is the label. Names repeat
        (`sunglasses` and `missile` in ImageNet), folder names do not.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a line has no name, a folder is listed twice, or there is no line at all.
    """
    names = {}
    for number, line in read_lines(path, hint):
        folder, _, name = line.partition(' ')
        if not name.strip():
            raise ValueError(f'{path}, line {number} is {line!r}, expected a folder name, a space and a class name.')
        if folder in names:
            raise ValueError(f'{path}, line {number} lists the folder {folder} for the second time.')
        names[folder] = readable_name(name.strip())
    if not names:
        raise ValueError(f'{path} is empty, expected one class per line.')
    return dict(sorted(names.items()))


def read_lines(path: str, hint: str = '') -> list[tuple[int, str]]:
    """Return the number (from 1) and the stripped text of every line that is not blank.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is not UTF-8 text.
    """
    text = read_text(path, hint)
    return [(number, line.strip()) for number, line in enumerate(text.split('\n'), start=1) if line.strip()]


def _check_json_row(row, subset, position, path):
    """Return a row of a split file as a tuple, or say what is wrong with it."""
    well_formed = (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], int)
        and not isinstance(row[1], bool)
        and isinstance(row[2], str)
    )
    if not well_formed or row[1] < 0:
        raise ValueError(f'{path}: row {position} of "{subset}" is {row!r}, expected [path, label, class name].')
    return plain_path(row[0], f'{path}: row {position} of "{subset}"') if row[0] else '', row[1], row[2]


def _fgvc_row(line, labels, where):
    image_id, _, variant = line.partition(' ')
    if variant.strip() not in labels:
        raise ValueError(f'{where} is {line!r}, expected a picture number and a variant of variants.txt.')
    return f'{image_id}.jpg', labels[variant.strip()]
