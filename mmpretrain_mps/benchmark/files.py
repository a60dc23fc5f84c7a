"""Files that describe what to run: YAML, JSON or Python, each a mapping."""
import json
from pathlib import Path

import yaml
from mmengine.config import Config

from ..utils.files import read_text

ENDINGS = ('.yaml', '.yml', '.json', '.py')
# How mmengine marks what it fills in before it reads a file.
PLACEHOLDER = '{{'


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
        ValueError: If one of them is no YAML, no JSON or no mapping, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{what} {path} does not exist (looked from {Path.cwd()})')
    if path.suffix not in ENDINGS:
        raise ValueError(f"{what} {path} ends with {path.suffix!r}; expected one of {', '.join(ENDINGS)}")
    try:
        content = Config.fromfile(str(path)).to_dict()
    except Exception:  # mmengine stumbles in many ways over the same few mistakes
        _refuse(path, keys)
        raise
    unknown = [key for key in content if key not in keys]
    if unknown:
        raise ValueError(f"{path} holds {', '.join(map(repr, unknown))}; expected {', '.join(keys)}")
    return content


def _refuse(path, keys):
    """Raise an error if a file, or one that it builds on, is what mmengine cannot read; otherwise return."""
    if path.suffix == '.py':
        return
    text = read_text(path)
    try:
        content = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        if PLACEHOLDER in text:
            return
        raise ValueError(f"{path} is no {'JSON' if path.suffix == '.json' else 'YAML'}: {error}") from None
    expected = f"expected a mapping with some of {', '.join(keys)}"
    if not isinstance(content, dict):
        found = 'a list' if isinstance(content, list) else 'nothing' if content is None else repr(content)
        raise ValueError(f'{path} holds {found}; {expected}')
    strangers = [key for key in content if not isinstance(key, str)]
    if strangers:
        raise ValueError(f"{path} holds {', '.join(map(repr, strangers))}; {expected}")
    bases = content.get('_base_') or []
    for name in bases if isinstance(bases, list) else [bases]:
        if not isinstance(name, str):
            raise ValueError(f'{path}: _base_ is {bases!r}; expected the path of a file, or a list of them')
        base = path.parent / name
        if base.is_file():
            _refuse(base, keys)
        elif '::' not in name:  # which stands for a file of another package
            raise FileNotFoundError(f'{path} builds on {base}, which does not exist')
