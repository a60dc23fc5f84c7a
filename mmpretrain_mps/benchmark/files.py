"""Files that describe what to run: YAML, JSON or Python, each a mapping."""

import os
from pathlib import Path

from ..utils.config_files import ENDINGS, read_data, read_program
from ..utils.trust import check_program


def read_mapping(path, what, keys):
    """Read a file that describes something, and the files that it builds on.

    Args:
        path (str | Path): ``.yaml``, ``.yml``, ``.json`` or ``.py``; ``_base_`` names files to build on, as in configs.
        what (str): What the file is, for messages, such as ``'grid file'``.
        keys (Sequence[str]): What it may hold.

    Returns:
        dict: What it holds.

    Raises:
        FileNotFoundError: If it, or a file that it builds on, does not exist.
        ValueError: If one of them is no YAML, no JSON or no mapping, holds anything else, or names code from elsewhere.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False for names that no system takes, too
        raise FileNotFoundError(f'{what} {path} does not exist (looked from {Path.cwd()})')
    if path.suffix not in ENDINGS:
        raise ValueError(f'{what} {path} ends with {path.suffix!r}; expected one of {", ".join(ENDINGS)}')
    if path.suffix == '.py':
        content = read_program(path).to_dict()
    else:
        content = read_data(path, f'a mapping with some of {", ".join(keys)}')
    unknown = [key for key in content if key not in keys]
    if unknown:
        raise ValueError(f'{path} holds {", ".join(map(repr, unknown))}; expected {", ".join(keys)}')
    return content


def check_named_config(config, path):
    """Refuse a config in Python that a file of plain data names, unless it is one of this project or trusted.

    Args:
        config (str): The config.
        path (str | Path): The file that names it; one in Python is the user's program already.

    Raises:
        ValueError: With both.
    """
    if Path(path).suffix != '.py' and Path(config).suffix == '.py' and os.path.isfile(config):
        check_program(config, path)
