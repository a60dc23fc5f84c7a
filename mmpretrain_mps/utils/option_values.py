"""Values of ``--cfg-options`` as they are typed: what a text becomes is decided by the value that it replaces."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

_NUMBER = re.compile(r'[+-]?(?:0|[1-9]\d*|(?:0|[1-9]\d*)?\.\d+(?:[eE][+-]?\d+)?|(?:0|[1-9]\d*)\.?(?:[eE][+-]?\d+)?)')
_SPECIAL_NUMBER = re.compile(r'[+-]?(?:nan|inf)', re.IGNORECASE)
_WORD = re.compile(r'[\w.+-]*')
_CONSTANTS = {'None': None, 'none': None, 'null': None, 'True': True, 'true': True, 'False': False, 'false': False}
_ABSENT = object()


class Typed(str):
    """The text of a value, as typed on the command line."""


class OptionsAction(argparse.Action):
    """Collect ``NAME=VALUE`` as names and :class:`Typed` texts; mmengine's ``DictAction`` drops spaces and splits paths."""

    def __call__(self, parser, namespace, values, option_string=None):
        options = dict(getattr(namespace, self.dest) or {})
        for typed in values:
            name, equals, text = typed.partition('=')
            if not equals or not name:
                parser.error(f'{option_string} {typed!r}: expected NAME=VALUE')
            if name in options:
                parser.error(f'{option_string} names {name} twice, as {options[name]!r} and {text!r}; expected it once')
            options[name] = Typed(text)
        setattr(namespace, self.dest, options)


def with_values(cfg: Config | Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn typed texts into values.

    Where the config has text, the text is taken as typed: spaces, commas, quotes and ``007`` stay. (``None``, ``True`` and
    ``False`` are what they are in Python, and so are whole lists and mappings in Python's form.)
    Where it has a number, a switch, a list or a mapping, the text must be one. Where it has nothing, numbers, ``True``,
    ``None``, lists and mappings in Python's form are these; words with commas between them are a list (``a,b``), for which
    a path does not count; all else is text. A text in quotes is always text.

    Args:
        cfg (Config): That the options are for; not changed.
        options (dict): Dotted names to values; those that are no :class:`Typed` are left as they are.

    Returns:
        dict: Dotted names to values.

    Raises:
        ValueError: If a text does not fit the value in its place; says what is expected, and how to write it.
    """
    return {
        name: _value_of(name, text, _look_up(cfg, name.split('.'))) if isinstance(text, Typed) else text
        for name, text in options.items()
    }


def _look_up(node, keys):
    for key in keys:
        if hasattr(node, 'keys') and key in node:  # a Config is no Mapping
            node = node[key]
        elif isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return _ABSENT
    return node


def _value_of(name, text, old):
    text = str(text)
    if isinstance(old, str):
        return _in_place_of_text(text)
    found = _parse(name, text)
    if found is None:
        return None
    expected = _expected(old, found)
    if expected:
        raise ValueError(f'--cfg-options {name}={text}: the config has {_shorten(old)} there, expected {expected}')
    return found


def _in_place_of_text(text):
    """Return what stands in place of a text: text, but for the constants of Python, lists and mappings, which are no words."""
    if text in ('None', 'True', 'False'):
        return _CONSTANTS[text]
    if text[:1] in ('[', '(', '{'):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return text
    return _unquoted(text)


def _expected(old, found):
    """Say what a value would have to be, or return None if it fits."""
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if isinstance(old, bool):
        return None if isinstance(found, bool) else 'True or False'
    if isinstance(old, (int, float)):
        # A learning rate may become a schedule, a size a pair.
        return None if number or isinstance(found, (list, tuple, dict)) else 'a number'
    if isinstance(old, (list, tuple)):
        return (
            None if isinstance(found, (list, tuple, dict)) else """a list, as in "['a photo of a {}.', 'art of a {}.']" """[:-1]
        )
    if isinstance(old, Mapping):
        return None if isinstance(found, Mapping) else f'a mapping, or one of its values: NAME.{next(iter(old), "key")}=VALUE'
    return None


def _parse(name, text):
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if re.search('[.eE]', text) else int(text)
    if _SPECIAL_NUMBER.fullmatch(text):
        return float(text)
    if text[:1] in ('[', '(', '{', '"', "'"):
        return _literal(name, text)
    parts = [part.strip() for part in text.split(',')]
    if len(parts) > 1 and all(map(_WORD.fullmatch, parts)):
        return [_parse(name, part) for part in parts if part]
    return text


def _literal(name, text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    if text[-1:] == {'[': ']', '(': ')'}.get(text[0]):
        # Words without quotes in a list, as DictAction reads them.
        parts = [part.strip() for part in text[1:-1].split(',')]
        if all(map(_WORD.fullmatch, parts)):
            found = [_parse(name, part) for part in parts if part]
            return tuple(found) if text[0] == '(' else found
    if text[0] in '[({':
        raise ValueError(
            f"--cfg-options {name}={text} cannot be read: expected a list or a mapping in Python's form, with "
            'text in quotes, all of it in quotes of the shell'
        )
    return text


def _unquoted(text):
    """Return a text without the quotes around it, if it is one quoted text."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'':
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            pass
    return text


def _shorten(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
