"""Configs as files: those in Python are run, those in YAML and JSON and those that a work folder keeps are read."""

import ast
import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from .files import parse_json, parse_yaml, read_text
from .places import config_beside, existing_config
from .trust import SCOPES, check_names, check_program

DATA_ENDINGS = ('.yaml', '.yml', '.json')
ENDINGS = (*DATA_ENDINGS, '.py')
_BASE_VALUE = re.compile(r"""["']?\{\{\s*_base_\.([\w.]+)\s*\}\}["']?""")
_OTHER_PLACEHOLDER = re.compile(r'\{\{\s*(?:file(?:Dirname|Basename|BasenameNoExtension|Extname)|\$.*?)\s*\}\}')
_MARK = 'value of a base of mmpretrain_mps: '
_NUMBERS = dict(inf=float('inf'), nan=float('nan'))


def read_config_file(path: str | Path) -> Config:
    """Read a config.

    One in Python is a program and is run, as mmengine does. One in YAML or JSON is data: it may build on others
    (``_base_``) and name parts of this project, mmengine and mmpretrain, see :mod:`.trust`.

    Args:
        path (str | Path): The file, or the name of one of this project's.

    Returns:
        Config: What it holds, with what it builds on.

    Raises:
        FileNotFoundError: If it, or a file that it builds on, does not exist.
        ValueError: If it is no config, builds on itself, or names code from elsewhere.
    """
    path = existing_config(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f'config {path} ends with {path.suffix!r}; expected one of {", ".join(ENDINGS)}')
    if path.suffix == '.py':
        return read_program(path)
    content = read_data(path)
    if content.get('custom_imports'):
        import_modules_from_strings(**content['custom_imports'])
    return Config(content, cfg_text=read_text(path), filename=str(path))


def read_data(path: str | Path, what: str = 'a mapping', above: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a mapping in YAML or JSON, and the files that it builds on.

    ``{{_base_.name}}`` stands for a value of these; mmengine's other placeholders are for configs in Python.

    Args:
        path (str | Path): The file.
        what (str): What is expected, for messages.
        above (Sequence[Path]): Files that build on this one.

    Returns:
        dict: Plain data; from a base in Python, what that gives.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is no such mapping, builds on itself, or names code from elsewhere.
    """
    path = Path(path)
    if path.resolve() in above:
        raise ValueError(f'{path} builds on itself ({" -> ".join(file.name for file in (*above, path))})')
    text = _BASE_VALUE.sub(lambda found: f'"{_MARK}{found[1]}"', read_text(path))
    other = _OTHER_PLACEHOLDER.search(text)
    if other:
        raise ValueError(f'{path} holds {other[0]}; of such placeholders, files that are data may hold {{{{_base_.name}}}} alone')
    content = parse_json(text, path) if path.suffix == '.json' else parse_yaml(text, path)
    if not isinstance(content, dict):
        found = 'a list' if isinstance(content, list) else 'nothing' if content is None else repr(content)
        raise ValueError(f'{path} holds {found}; expected {what}')
    strangers = [key for key in content if not isinstance(key, str)]
    if strangers:
        raise ValueError(f'{path} holds {", ".join(map(repr, strangers))}; expected {what}')
    bases = content.pop('_base_', None) or []
    names = bases if isinstance(bases, list) else [bases]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f'{path}: _base_ is {bases!r}; expected the path of a file, or a list of them')
    base: dict[str, Any] = {}
    for name in names:
        part = _read_base(name, path, what, (*above, path.resolve()))
        twice = sorted(set(base) & set(part))
        if twice:
            raise ValueError(f'{path}: {", ".join(twice)} stand in several of the files that it builds on, {", ".join(names)}')
        base.update(part)
    content = _with_base_values(content, base, path)
    check_names(content, path)
    try:
        return Config._merge_a_into_b(content, base) if names else content
    except TypeError as error:  # a mapping in place of a list, or the other way round
        raise ValueError(f'{path}: {error}') from None


def read_program(path: str | Path) -> Config:
    """Run a config in Python, which the user has named.

    Raises:
        ValueError: If it, or what it builds on, fails, with the line where it does.
    """
    try:
        _refuse_circles(str(path), ())
        return Config.fromfile(str(path))
    except RecursionError:
        raise ValueError(f'config {path} cannot be read: it builds on itself') from None
    except Exception as error:  # a config is a program, and may fail like one
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error


def _refuse_circles(path, above):
    """Raise RecursionError at once, for which mmengine needs a quarter of a minute."""
    if os.path.realpath(path) in above:
        raise RecursionError
    for base in Config._get_base_files(path) if path.endswith('.py') else ():
        if '::' not in base:
            _refuse_circles(os.path.join(os.path.dirname(path), base), (*above, os.path.realpath(path)))


def read_config_text(text: str, source: Any) -> dict[str, Any]:
    """Read the text of a config that mmengine wrote, as work folders and checkpoints keep it, without running it.

    Args:
        text (str): Assignments of numbers, text, lists, tuples, mappings and calls of ``dict``.
        source (str | Path): Where it is from; opens the message.

    Returns:
        dict: What is assigned.

    Raises:
        ValueError: If it does anything else.
    """
    try:
        content = {}
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign) or not all(isinstance(to, ast.Name) for to in statement.targets):
                raise ValueError(f'line {statement.lineno} is no assignment of a value')
            value = _literal(statement.value)
            content.update({to.id: value for to in statement.targets if isinstance(to, ast.Name)})
        return content
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'{source} is no config as mmengine writes it, and is not run: {error or "it is nested too deeply"}'
        ) from None


def read_config_in(checkpoint: dict[str, Any], source: Any) -> Config:
    """Read the config that a checkpoint keeps: data, which may name parts of this project, mmengine and mmpretrain.

    Args:
        checkpoint (dict): As it was read.
        source (str | Path): The file; opens the message.

    Returns:
        Config: Complete, as the run had it.

    Raises:
        ValueError: If there is none, it does more than to give values, or names code from elsewhere.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'checkpoint {source} does not hold the config that it was trained with; name the config file, too')
    content = read_config_text(text, f'the config in checkpoint {source}')
    check_names(content, f'checkpoint {source}')
    return Config(content)


def _read_base(name, path, what, above):
    if '::' in name:
        if name.partition('::')[0] not in SCOPES:
            raise ValueError(f'{path}: _base_ is {name!r}; expected a file, or a config of one of {", ".join(SCOPES)}')
        return read_program(Config._get_cfg_path(name, str(path))[0]).to_dict()
    base = config_beside(path, name)
    if not os.path.isfile(base):
        raise FileNotFoundError(f'{path} builds on {base}, which does not exist')
    if base.suffix in DATA_ENDINGS:
        return read_data(base, what, above)
    check_program(base, path)
    return read_program(base).to_dict()


def _with_base_values(node, base, path):
    if isinstance(node, dict):
        return {key: _with_base_values(value, base, path) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_base_values(value, base, path) for value in node]
    if not isinstance(node, str) or not node.startswith(_MARK):
        return node
    value = base
    for key in node[len(_MARK) :].split('.'):
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f'{path}: nothing that it builds on has {node[len(_MARK) :]!r}')
        value = value[key]
    return copy.deepcopy(value)


def _literal(node):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and not node.args
        and all(keyword.arg for keyword in node.keywords)
    ):
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_literal(node.operand)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    raise ValueError(f'line {node.lineno} holds {ast.unparse(node)[:60]!r}, expected a value')
