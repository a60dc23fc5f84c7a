"""Files that describe what to run, each a mapping in YAML, JSON or Python, and files of what came of it."""

import contextlib
import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.file_backend import AtomicLocalBackend
from ..utils.config_files import ENDINGS, read_data, read_program
from ..utils.files import AnyPath
from ..utils.places import existing_config
from ..utils.trust import check_program


def read_mapping(path: AnyPath, what: str, keys: Collection[str]) -> dict[str, Any]:
    """Read a file of some of these keys, and the files that it builds on by ``_base_``, as configs do.

    Raises FileNotFoundError if one does not exist, and ValueError if one is no YAML, no JSON or no mapping, holds anything
    else, or names code from elsewhere; messages say ``what`` it is, such as ``'grid file'``.
    """
    path = existing_config(path, what)
    if path.suffix not in ENDINGS:
        raise ValueError(f'{what} {path} ends with {path.suffix!r}; expected one of {", ".join(ENDINGS)}')
    if path.suffix == '.py':
        content = read_program(path).to_dict()
    else:
        content = read_data(path, f'a mapping with some of {", ".join(keys)}')
    check_keys(path, content, keys)
    return content


def check_keys(owner: Any, section: Collection, known: Collection, needed: Collection = (), some: str = '') -> None:
    """Refuse a section that holds other keys than the known ones, or lacks one that is needed; ``owner`` opens the message."""
    unknown = [repr(key) for key in section if key not in known]
    missing = [repr(key) for key in needed if key not in section]
    found = [f'{verb} {", ".join(names)}' for verb, names in (('holds', unknown), ('lacks', missing)) if names]
    if found:
        raise ValueError(f'{owner} {" and ".join(found)}; expected {some}{", ".join(map(str, known)) or "nothing"}')


def listed(value: Any) -> Sequence:
    """Return a value that may stand alone as a list."""
    return value if isinstance(value, (list, tuple)) else [value]


def check_named_config(config: str, path: AnyPath) -> None:
    """Refuse a config in Python that a file of plain data names, unless it is one of this project or trusted."""
    # A file in Python is the user's program already.
    if Path(path).suffix != '.py' and Path(config).suffix == '.py':
        with contextlib.suppress(FileNotFoundError):  # which is said when it is read
            check_program(existing_config(config), path)


def json_text(content: Any, indent: int = 1) -> str:
    """Return content as the text of a JSON file."""
    return json.dumps(content, indent=indent, ensure_ascii=False) + '\n'


def csv_text(lines: Iterable[Iterable]) -> str:
    """Return lines as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()


def write_files(folder: AnyPath, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write files by their names below a folder, each complete or not at all; return their paths."""
    for name, content in contents.items():
        AtomicLocalBackend().put(content.encode() if isinstance(content, str) else content, Path(folder, name))
    return [Path(folder, name) for name in contents]
