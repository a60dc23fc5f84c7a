"""What files from others may start: parts of this project, of mmengine and of mmpretrain, and nothing else unless told.

YAML and JSON files and the configs in work folders are data, and can be had from anywhere. But a config names classes
and modules, mmengine imports whatever is named, and that runs it. Names are therefore checked here, before anything is
built. Configs in Python are programs: those that the user names on the command line run, those that a file from
elsewhere names do not.
"""

import argparse
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmengine.registry
import mmpretrain
import mmpretrain.registry
from mmengine.registry import Registry

from .places import config_folder

VARIABLE = 'MMPRETRAIN_MPS_TRUST'
# Before the name of a file of weights that is a program, see :func:`..models.loading.clip_loader.load_clip`.
PROGRAM = 'torchscript:'
REMEDY = f'If you trust it, say so with --trust, or {VARIABLE}=1'
SCOPES = ('mmengine', 'mmpretrain', 'mmcv')
PACKAGES = ('mmpretrain_mps', *SCOPES)
ROOT = Path(__file__).resolve().parents[2]
CONFIG_ROOTS = (
    config_folder(),
    Path(mmpretrain.__file__).resolve().parent / '.mim' / 'configs',
    ROOT.parent / 'mmpretrain' / 'configs',
)


def is_trusting() -> bool:
    """Whether the user trusts the code that files name."""
    return os.environ.get(VARIABLE, '0').lower() not in ('', '0', 'no', 'off')


def add_trust_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``, which holds for the whole process and those that it starts."""
    parser.add_argument(
        '--trust',
        nargs=0,
        action=_Trust,
        help='run the code that YAML and JSON files, checkpoints and work '
        'folders name; otherwise only parts of this project, mmengine and mmpretrain',
    )


class _Trust(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        os.environ[VARIABLE] = '1'
        setattr(namespace, self.dest, True)


def check_names(content: Any, source: Any) -> None:
    """Refuse content of a file that names code from elsewhere, unless the user trusts it.

    Args:
        content (dict | list): Plain data, as of a config; keys may be dotted, as those of ``--cfg-options``.
        source (str | Path): The file; opens the message.

    Raises:
        ValueError: With the place and the name.
    """
    if is_trusting():
        return
    for place, value in _walk(content, ''):
        key = place.rpartition('.')[2]
        if 'custom_imports' in place.split('.') and isinstance(value, str) and key != 'allow_failed_imports':
            if value.partition('.')[0] not in PACKAGES:
                raise ValueError(f'{source}: {place} imports {value!r}, which is no part of {", ".join(PACKAGES)}. {REMEDY}.')
        elif isinstance(value, str) and value.startswith(PROGRAM):
            raise ValueError(f'{source}: {place} is {value!r}, a program that would be run. {REMEDY}.')
        elif key in ('default_scope', '_scope_') and value not in SCOPES:
            raise ValueError(f'{source}: {place} is {value!r}, expected one of {", ".join(SCOPES)}. {REMEDY}.')
        elif (key.endswith('type') or key == 'constructor') and isinstance(value, str) and not _is_known(value):
            raise ValueError(
                f'{source}: {place} is {value!r}, which none of the registries of {", ".join(SCOPES)} has: it '
                f'would be imported, and run. {REMEDY}.'
            )


def check_program(path: str | Path, source: Any) -> None:
    """Refuse a Python file that a file from elsewhere names, unless it is a config of this project or of mmpretrain.

    Args:
        path (str | Path): The Python file.
        source (str | Path): What names it.

    Raises:
        ValueError: With both.
    """
    real = Path(path).resolve()
    if not is_trusting() and not any(root in real.parents for root in CONFIG_ROOTS):
        raise ValueError(
            f'{source} names {path}, which is a program and would be run; expected a config of this project or '
            f'of mmpretrain, or one in YAML or JSON. {REMEDY}.'
        )


def _walk(node, place) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no container, with the dotted place where it stands."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else None
    if items is None:
        yield place, node
        return
    for key, value in items:
        yield from _walk(value, f'{place}.{key}' if place else str(key))


def _is_known(name):
    """Whether a name is registered, or at least no name of a module: mmengine imports what it does not know."""
    scope, dot, plain = name.partition('.')
    if dot:
        return scope in SCOPES and plain in registered()
    if name in registered():
        return True
    try:
        return importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return False


def registered() -> dict[str, Any]:
    """Return what is in the registries of mmengine and mmpretrain, by name; what this package has is in the latter."""
    registries = [
        value
        for module in (mmengine.registry, mmpretrain.registry)
        for value in vars(module).values()
        if isinstance(value, Registry)
    ]
    for registry in registries:
        registry.import_from_location()
    return {name: kind for registry in registries for name, kind in registry.module_dict.items()}
