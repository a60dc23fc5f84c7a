"""What can be seen to be wrong with a config before anything is built: numbers, and names that nothing would read."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from .trust import registered

if TYPE_CHECKING:
    from mmengine.config import Config

_Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any, start: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= start


_COUNT: _Check = (lambda value: _is_count(value, 1), 'a whole number from 1 on')
_WEIGHT: _Check = (lambda value: _is_number(value) and value >= 0, 'a finite number from 0 on')
# By their last name in the config, wherever they stand.
NUMBERS: dict[str, _Check] = {
    'lr': _WEIGHT,
    'weight_decay': _WEIGHT,
    'loss_weight': _WEIGHT,
    'batch_size': _COUNT,
    'num_workers': (_is_count, 'a whole number from 0 on (0: no further processes)'),
    'max_epochs': (_COUNT[0], f'{_COUNT[1]} (tools/test.py CONFIG --zero-shot tests CLIP before any training)'),
    'max_iters': _COUNT,
    'seed': (lambda value: value is None or _is_count(value) and value < 2**32, 'a whole number from 0 to 4294967295'),
    'logit_scale': (lambda value: value is None or _is_number(value) and value > 0, 'a finite number above 0'),
}
# Sections that mmengine reads without a word about what else they hold.
SECTIONS = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
}
# Read by those who build a part, or by mmengine's merging of configs.
_OF_BUILDERS = frozenset({'type', '_scope_', '_delete_', 'constructor', 'paramwise_cfg', 'convert_to_iter_based', 'init_cfg'})


def check_values(cfg: Config | Mapping) -> None:
    """Refuse a config with numbers that nothing could be trained with, or with types that are not registered.

    Args:
        cfg (Config): Of a run.

    Raises:
        ValueError: With the place, what stands there, and what is expected.
    """
    known = registered()
    for place, key, value in walk(cfg):
        test, expected = NUMBERS.get(key, (None, ''))
        if test and not hasattr(value, 'keys') and not isinstance(value, (list, tuple)) and not test(value):
            raise ValueError(f'{place} is {value!r}, expected {expected}; look for it in the config and --cfg-options')
        # Names with a dot are of other projects; mmengine looks for them there.
        if key == 'type' and isinstance(value, str) and '.' not in value and value not in known:
            raise ValueError(f'{place} is {value!r}, but nothing of that name is registered{did_you_mean(value, known)}')


def check_new_keys(cfg: Config | Mapping, options: Mapping) -> None:
    """Refuse options that give a part of a config something that it does not take.

    What is built at the start of a run would refuse it itself, but what is built at the end, or never, would not.

    Args:
        cfg (Config): Without the options.
        options (dict): Dotted names to values.

    Raises:
        ValueError: Names each of them, and the nearest names that would do.
    """
    faults = [fault for name in options if (fault := _fault_of(cfg, name, options))]
    if faults:
        raise ValueError('--cfg-options: ' + '; '.join(faults))


def _fault_of(cfg, name, options):
    node, keys = cfg, name.split('.')
    for depth, key in enumerate(keys):
        if hasattr(node, 'keys') and key in node:
            node = node[key]
        elif isinstance(node, (list, tuple)):
            if not key.isdigit() or int(key) >= len(node):
                return f'{name}: {".".join(keys[:depth])} has the items 0 to {len(node) - 1}, but not {key!r}'
            node = node[int(key)]
        else:
            return _fault_of_new(node, keys, depth, options) if hasattr(node, 'keys') and depth else None
    return None


def _fault_of_new(node, keys, depth, options) -> str | None:
    """Say what is wrong with a new key of a mapping, if anything can be told."""
    section, key, rest = '.'.join(keys[:depth]), keys[depth], keys[depth + 1 :]
    kind = options.get(f'{section}.type', node.get('type'))  # options may put something else in its place
    if section in SECTIONS:
        known: list[str] | None = list(SECTIONS[section])
    elif kind is not None:
        found = _arguments_of(kind)
        known = None if found is None else sorted(found | _OF_BUILDERS)
    elif rest and rest != ['type'] and all('type' in value for value in node.values() if hasattr(value, 'keys')):
        # One more hook, or one more set to test on, needs to say what it is.
        has_type = f'{section}.{key}.type' in options
        known = None if has_type or not any(hasattr(value, 'keys') for value in node.values()) else list(node)
    else:
        known = None
    if known is None or key in known:
        return None
    of = f' of the type {_name_of(kind)}' if kind is not None else ''
    return f'{section}{of} takes no {key!r}{did_you_mean(key, known)}'


def _arguments_of(kind) -> set[str] | None:
    """Return all arguments that a registered class takes, also through its parents; None if that cannot be told."""
    kind = registered().get(kind.rpartition('.')[2]) if isinstance(kind, str) else kind
    if not isinstance(kind, type):
        return None
    names: set[str] = set()
    for parent in kind.__mro__:
        init = vars(parent).get('__init__')
        if parent is object or parent is torch.nn.Module:
            return names
        if init is None:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return names
    return None


def _name_of(kind):
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def walk(node, place='') -> Iterator[tuple[str, Any, Any]]:
    """Yield place, key and value of everything in a config, at any depth."""
    for key, value in node.items() if hasattr(node, 'items') else enumerate(node):
        here = f'{place}.{key}' if place else str(key)
        yield here, key, value
        if hasattr(value, 'items') or isinstance(value, (list, tuple)):
            yield from walk(value, here)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest names in brackets, with a space before them; nothing if none is near."""
    nearest = difflib.get_close_matches(name, known, n=3)
    return f' (did you mean {" or ".join(map(repr, nearest))}?)' if nearest else ''
