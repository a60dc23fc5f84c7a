"""Whether what a JSON file holds is of the form that its readers count on."""

import math
from collections.abc import Callable
from typing import Any

Shape = type | Callable[[Any], bool] | dict[str, Any] | list[Any]


def number(value: Any) -> bool:
    """a finite number"""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def figure(value: Any) -> bool:
    """a number"""
    return isinstance(value, (int, float)) and not isinstance(value, bool)  # nan where a figure is not defined


def count(value: Any) -> bool:
    """a whole number from 0 on"""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def or_none(shape: Shape) -> Callable[[Any], bool]:
    """Return the shape of what may also be null."""

    def fits(value: Any) -> bool:
        """or null"""
        return value is None or not fault_of(value, shape)

    fits.__doc__ = f'{_in_words(shape)} {fits.__doc__}'
    return fits


def check_shape(content: Any, shape: Shape, source: Any) -> Any:
    """Return content of the expected form, or refuse it.

    Args:
        content (object): As parsed.
        shape (type | Callable | dict | list): A type; a test, whose docstring says what passes; for a mapping, names with
            shapes, of which those that end in ``?`` may be missing and ``'*'`` stands for all others; for a list, one with
            the shape of its items.
        source (object): Where it is from; opens the message.

    Raises:
        ValueError: With the place, what was found and what was expected.
    """
    fault = fault_of(content, shape)
    if fault:
        raise ValueError(f'{source}: {fault}')
    return content


def fault_of(content: Any, shape: Shape, place: str = '') -> str:
    """Return what is wrong with content, or ''; see :func:`check_shape`."""
    where = place or 'all of it'
    if isinstance(shape, dict):
        if not isinstance(content, dict):
            return f'{where} is {_shorten(content)}, expected a mapping'
        return _fault_of_mapping(content, shape, place)
    if isinstance(shape, list):
        if not isinstance(content, list):
            return f'{where} is {_shorten(content)}, expected a list'
        return next(filter(None, (fault_of(item, shape[0], f'{place}[{index}]') for index, item in enumerate(content))), '')
    fits = isinstance(content, shape) if isinstance(shape, type) else shape(content)
    return '' if fits else f'{where} is {_shorten(content)}, expected {_in_words(shape)}'


def _fault_of_mapping(content, shape, place):
    for key, expected in shape.items():
        name = key.rstrip('?')
        if key != '*' and name not in content:
            if key == name:
                return f'{place or "it"} lacks {name!r}'
            continue
        names = [name] if key != '*' else [other for other in content if other not in shape and f'{other}?' not in shape]
        for name in names:
            fault = fault_of(content[name], expected, f'{place}.{name}' if place else name)
            if fault:
                return fault
    return ''


def _in_words(shape):
    kind = type(shape) if isinstance(shape, (dict, list)) else shape
    return {str: 'text', dict: 'a mapping', list: 'a list', bool: 'true or false'}.get(kind) or kind.__doc__


def _shorten(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
