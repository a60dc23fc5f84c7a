"""Weights that no update changes, cast to autocast's type once instead of at every use.

Autocast remembers the casts of trainable weights until its context ends, and those of frozen ones not at all: of a
prediction of ViT-B/16 nearly half of the kernels cast weights that never change.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary


class _Derived(NamedTuple):
    """What was made of a weight, and which value of it that was."""

    storage: StorageWeakRef
    version: int
    value: Tensor


_derived = WeakTensorKeyDictionary()
_in_use = True


def for_autocast(weight: Tensor | None) -> Tensor | None:
    """Return a weight as autocast would cast it; a frozen one is cast once.

    Args:
        weight (Tensor | None): Of any shape.

    Returns:
        Tensor | None: The cast of a frozen weight under autocast, not to be changed in place; else the weight itself,
        which autocast casts.
    """
    if weight is None or weight.dtype != torch.float32 or not _remembers(weight):
        return weight
    dtype = torch.get_autocast_dtype(weight.device.type)
    return _look_up(weight, dtype, lambda: weight.to(dtype))


def derived(weight: Tensor, key: object, compute: Callable[[], Tensor]) -> Tensor:
    """Compute something of a weight; of a frozen one under autocast only once for each of its values.

    A change of the weight by an operator, or of its memory by ``weight.data = ...``, is noticed. One in place of
    ``weight.data`` is not, until :func:`forget`, which a classifier calls whenever its mode changes.

    Args:
        weight (Tensor): Of any shape.
        key (object): Tells what is computed.
        compute (Callable): Without arguments, returns a new tensor.

    Returns:
        Tensor: Not to be changed in place.
    """
    return _look_up(weight, key, compute) if _remembers(weight) else compute()


def _look_up(weight, key, compute):
    found = _derived.setdefault(weight, {})
    storage, now = weight.untyped_storage()._cdata, found.get(key)
    if now is None or now.storage.cdata != storage or now.version != weight._version:
        # A tensor of inference mode could not be saved for a backward pass.
        with torch.inference_mode(False), torch.no_grad():
            now = found[key] = _Derived(StorageWeakRef(weight.untyped_storage()), weight._version, compute())
    return now.value


def forget() -> None:
    """Let go of all that was computed."""
    _derived.clear()


def remembered() -> tuple:
    """Return all tensors that were computed, for one who must keep them as long as itself."""
    return tuple(found.value for one in _derived.values() for found in one.values())


@contextlib.contextmanager
def nothing_remembered() -> Iterator[None]:
    """Compute everything anew within a ``with`` statement: for weights that come and go, such as sharded ones."""
    global _in_use
    before, _in_use = _in_use, False
    try:
        yield
    finally:
        _in_use = before


@contextlib.contextmanager
def remembered_apart() -> Iterator[None]:
    """Begin with nothing and leave nothing behind: for tensors without numbers, which nobody else may be given."""
    global _derived
    before, _derived = _derived, WeakTensorKeyDictionary()
    try:
        yield
    finally:
        _derived = before


def _remembers(weight):
    # What takes least first: every product asks. A compiled graph would hold today's numbers as constants, and so would a trace.
    if weight.requires_grad or torch.compiler.is_compiling() or not torch.is_autocast_enabled(weight.device.type):
        return False
    # What is no parameter, such as a slice of one, is gone when its use is.
    return _in_use and isinstance(weight, nn.Parameter) and not (weight.is_inference() or torch.jit.is_tracing())
