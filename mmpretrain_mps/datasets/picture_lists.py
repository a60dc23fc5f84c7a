"""Lists that somebody writes beside pictures: tables of them, and names of their classes."""

import csv
import io
import unicodedata

from ..utils.files import read_text, read_yaml
from .split import SUBSETS, plain_path, shorten
from .split_readers import readable_name

DEFAULT_TEMPLATES = ('a photo of a {}.',)


def read_class_file(path, keys, source):
    """Read readable names and templates.

    Args:
        path (str): YAML file with ``classes: {folder or label: readable name}`` and ``templates: [...]``; either may
            be left out.
        keys (list[str]): Folders or labels, in label order.
        source (str): What named ``keys``.

    Returns:
        tuple[list[str], Sequence[str]]: Names in label order, and templates.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no YAML, has other keys or one twice, or does not name exactly the classes found.
    """
    # Every scalar as text: `no: no entry` and `1: one` are folders called "no" and "1".
    content = read_yaml(path, as_text=True) or {}
    if not isinstance(content, dict) or not set(content) <= {'classes', 'templates'}:
        found = shorten(list(content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} holds {found}, expected 'classes' and 'templates'.")
    names = content.get('classes', {key: readable_name(composed(key)) for key in keys})
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{path}: 'classes' is {names!r}, expected a mapping of folder or label to readable name.")
    if len({composed(key) for key in names}) < len(names):
        raise ValueError(f"{path}: 'classes' has a key twice, once with composed accents; expected every key once.")
    names = {composed(key): name for key, name in names.items()}
    unnamed = [key for key in keys if composed(key) not in names]
    unknown = sorted(set(names) - {composed(key) for key in keys})
    if unnamed or unknown:
        faults = [f'does not name {shorten(unnamed)}'] * bool(unnamed) + [
            f'names {shorten(unknown)}, which is no class there'
        ] * bool(unknown)
        raise ValueError(f'{path} does not fit the classes of {source}: it {" and ".join(faults)}.')
    return [names[composed(key)] for key in keys], content.get('templates', DEFAULT_TEMPLATES)


def read_table(path, allow_outside=False):
    """Read a CSV file of pictures.

    Args:
        path (str): The file.
        allow_outside (bool): Let paths be absolute, or lead out of the folder of the pictures.

    Returns:
        list[tuple[str, str, str | None]]: Path, label and subset of every row; None where no subset is given.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it has no header, no row, or a row with an empty or unknown value.
    """
    try:
        lines = _read_csv(path)
    except csv.Error as error:
        raise ValueError(f'{path} is no CSV: {error}') from None
    header = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    if not {'path', 'label'} <= set(header) or len(set(header)) != len(header):
        raise ValueError(f"{path} begins with '{','.join(header)}', expected the header path,label or path,label,split.")
    columns = [header.index(name) for name in ('path', 'label', 'split') if name in header]
    rows = []
    for number, cells in lines[1:]:
        where = f'{path}, line {number}'
        if len(cells) != len(header):
            raise ValueError(f'{where} has {len(cells)} values, expected {len(header)}: {",".join(header)}.')
        values = [cells[column].strip() for column in columns]
        if not values[0] or not values[1]:
            raise ValueError(f'{where} is {cells!r}, expected a path and a label.')
        if len(values) == 3 and values[2] not in SUBSETS:
            raise ValueError(f'{where} has the split {values[2]!r}, expected one of {", ".join(SUBSETS)}.')
        rows.append((plain_path(values[0], where, allow_outside), values[1], values[2] if len(values) == 3 else None))
    if not rows:
        raise ValueError(f'{path} has a header but no rows.')
    return rows


def _read_csv(path):
    """Return the number and the cells of every line that is not blank."""
    reader = csv.reader(io.StringIO(read_text(path), newline=''))
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def composed(text):
    """Return text with composed accents: file systems disagree about how to write them."""
    return unicodedata.normalize('NFC', text)
