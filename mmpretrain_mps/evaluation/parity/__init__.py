"""Comparison with recorded numbers of the methods' released code.

A file holds a small model, a batch, and every number that a method's authors' code computes from them. Each method has a
module here that builds this project's own classes from such a file and compares all that was recorded:

- ``recognises(names)``: whether a set of array names is a file of the method;
- ``INPUTS``: pattern of the arrays that are given and not computed;
- ``UNUSED`` (optional): pattern of what the released code computes and does not use;
- ``rows(golden)``: yields a :class:`Row` for every other array.
"""

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from ...models.computation.precision import STRICT, TF32, float32_products
from .golden import GoldenFile, Row, clip_folder, compared

BF16 = 'bf16'
PRECISIONS = (STRICT, TF32, BF16)
METHODS = ('mps', 'coop', 'tcp', 'promptsrc', 'clip_lora', 'clip_adapter', 'tip_adapter', 'amu_tuning', 'textrefiner', 'tac')


def compare(
    path: str | Path,
    options: dict | None = None,
    method: str | None = None,
    device: torch.device | str = 'cpu',
    precision: str = STRICT,
) -> Iterator[Row]:
    """Compare this project's classes with every number in a file.

    Args:
        path (str | Path): The ``.npz`` file.
        options (dict, optional): Further arguments of the classifier that promise equal numbers, such as
            ``dict(compile=True, backbone=dict(checkpointing=True))``.
        method (str, optional): One of :data:`METHODS`. By default the names of the arrays tell.
        device (torch.device | str): Where to compute.
        precision (str): ``'strict'``, whole float32 products, whatever is set elsewhere; ``'tf32'``, products of 11 bits on
            GPUs; ``'bf16'``, these and autocast to bfloat16. Tolerances are those of whole products in all three.

    Yields:
        Row: One per recorded output, loss, gradient, trajectory, schedule and selected value; those that nothing here
        computes differ infinitely.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one of recorded numbers, or of none of the methods, or for another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision is {precision!r}, expected one of {", ".join(PRECISIONS)}')
    golden = GoldenFile(path, options, device)
    module = _module_of(golden, method)
    left = set(_results(golden, module))
    autocast = torch.autocast(golden.device.type, dtype=torch.bfloat16) if precision == BF16 else contextlib.nullcontext()
    with float32_products(STRICT if precision == STRICT else TF32), autocast:
        rows = list(module.rows(golden))
    for row in rows:
        left.discard(row.name)
        yield row
    for name in sorted(left):
        yield compared(golden, name, None)


def unused_arrays(path: str | Path, method: str | None = None) -> list[str]:
    """Name the recorded arrays that no part of the method uses and that are therefore not compared."""
    golden = GoldenFile(path)
    pattern = getattr(_module_of(golden, method), 'UNUSED', None)
    return [] if pattern is None else [match[0] for match in golden.matches(pattern)]


def method_of_file(path: str | Path) -> str:
    """Return the method that a file is of; see :func:`method_of`."""
    return method_of(GoldenFile(path))


def method_of(golden: GoldenFile) -> str:
    """Return the method that a file is of.

    Raises:
        ValueError: If it is none of :data:`METHODS`.
    """
    names = frozenset(golden.arrays)
    for method in METHODS:
        if _import(method).recognises(names):
            return method
    raise ValueError(
        f'{golden.path} holds recorded numbers of none of the methods {", ".join(METHODS)}; its arrays are {sorted(names)[:5]}'
    )


def _module_of(golden, method):
    if method is not None and method not in METHODS:
        raise ValueError(f'method is {method!r}, expected one of {", ".join(METHODS)}')
    return _import(method or method_of(golden))


def _import(method):
    return importlib.import_module(f'{__name__}.{method}')


def _results(golden, module):
    given = re.compile('|'.join(filter(None, (module.INPUTS, getattr(module, 'UNUSED', None)))))
    return [name for name in golden.arrays if not given.fullmatch(name)]


__all__ = ['METHODS', 'GoldenFile', 'Row', 'clip_folder', 'compare', 'compared', 'method_of', 'method_of_file', 'unused_arrays']
