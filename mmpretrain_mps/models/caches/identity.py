"""What the zero-shot features of a data set depend on, as hashes: model, pictures, pipeline, and their code."""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import inspect
import json
import os
import pickle
import sys
import time
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ...version import __version__
from ..computation.precision import computed_on

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from ..classifiers.mps_clip_classifier import MPSCLIPClassifier

# To be changed with whatever changes the numbers of the frozen branch or the order of the facts below.
FORMAT = 'zero_shot-3'
# What reads, resizes and computes; the version stands for the code. Of anything else the source is a part of the key.
PACKAGES = ('torch', 'torchvision', 'PIL', 'numpy', 'cv2', 'mmcv', 'mmengine', 'mmpretrain', 'open_clip', 'timm')
_OWN = __name__.partition('.')[0]
_STARTED = time.time()


def zero_shot_key(model: MPSCLIPClassifier, dataset: Dataset, data_id: str, precision: str) -> str | None:
    """Name the frozen features of a data set.

    Args:
        model (MPSCLIPClassifier): Whose frozen branch computes them.
        dataset (Dataset): With the pipeline that it applies now.
        data_id (str): Hash of :func:`data_identity`.
        precision (str): What they are computed in: ``'full'``, or the type that autocast casts to.

    Returns:
        str | None: SHA-256, hex; None if the pipeline or the preprocessor holds what has no plain form, or the
        version of a package or the source of other code is not to be had.
    """
    try:
        versions = {name: sys.modules[name].__version__ for name in PACKAGES if name in sys.modules}
        facts = [FORMAT, __version__, versions, model_facts(model), data_id, plain(dataset.pipeline), precision]
    except (AttributeError, OSError, TypeError, RecursionError, pickle.PicklingError):
        return None
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def model_facts(model: MPSCLIPClassifier) -> list[Any]:
    """Return what tells one frozen branch, with its normalisation, from another.

    Args:
        model (MPSCLIPClassifier): Any.

    Returns:
        list: Plain values: weights and activation, structure, code, heads, type of numbers, device and precision of its
        products, preprocessor.

    Raises:
        OSError: If the source of code from elsewhere is not to be had.
        TypeError: The same, or there is something whose content cannot be seen.
    """
    visual, preprocessor = model.backbone.zero_shot, model.data_preprocessor
    base, parameter = model.describe()['base'], next(visual.parameters())
    heads = [module.num_heads for module in visual.modules() if isinstance(module, nn.MultiheadAttention)]
    settings = {
        name: value
        for name, value in vars(preprocessor).items()
        if isinstance(value, (bool, int, float, str)) and name != 'training'
    }
    kinds = [_kind(kind) for kind in dict.fromkeys(map(type, (model, model.backbone, *visual.modules())))]
    return [
        base['sha256'],
        base['quick_gelu'],
        str(visual),
        kinds,
        heads,
        str(parameter.dtype),
        computed_on(parameter.device),
        _kind(type(preprocessor)),
        plain(settings),
        plain(dict(preprocessor.named_buffers())),
    ]


class DataIdentity(NamedTuple):
    """What a data set says of its pictures."""

    numbered: bool
    """Whether ``sample_idx`` of every picture is its place in the data set, so that it names one picture alone."""
    sha256: str | None
    """Hash of what the pipeline is given; None if the data set does not tell, or holds what has no plain form."""


def data_identity(dataset: Dataset) -> DataIdentity:
    """Hash what the pipeline is given for every picture, in their order, and look at their numbers.

    Pictures in memory count with their content, files with path, size and time of their last change. Wrappers that
    chain, repeat or pick hand the numbers of the wrapped data sets on, where they start from 0 in each.

    Args:
        dataset (Dataset): Any.

    Returns:
        DataIdentity: Without a hash where pictures are not numbered, or there is no ``get_data_info``.
    """
    digest, unknown = hashlib.sha256(), False
    try:
        for index in range(len(dataset)):
            record = dataset.get_data_info(index)
            if record['sample_idx'] != index:
                return DataIdentity(False, None)
            facts = None if unknown else _record_facts(record)
            if facts is None:
                unknown = True
            else:
                digest.update(json.dumps(facts).encode() + b'\n')
    except (AttributeError, LookupError, NotImplementedError, OSError, TypeError):
        return DataIdentity(False, None)
    return DataIdentity(True, None if unknown else digest.hexdigest())


def _record_facts(record):
    """Return record and state of its file in their plain form, or None if there is none."""
    if record.get('img') is None and record.get('img_path') is None:
        return None
    try:
        stat = os.stat(record['img_path']) if record.get('img_path') else None
        return [plain(record), None if stat is None else [stat.st_size, stat.st_mtime_ns]]
    except (AttributeError, OSError, TypeError, RecursionError, pickle.PicklingError):
        return None


def plain(value: Any) -> Any:
    """Turn a value into plain lists, strings and numbers that tell it from every other.

    Args:
        value (object): Arrays and tensors become hashes, objects their class with all their attributes. Classes and
            functions become their names, with their source and attributes where no version stands for them.

    Returns:
        object: For JSON.

    Raises:
        OSError: If source cannot be had.
        TypeError: The same, or there is something whose content cannot be seen.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return [_kind(type(value)), value.name]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise TypeError('an array of objects has no plain form')
        return ['array', value.dtype.str, list(value.shape), _sha256(np.ascontiguousarray(value).tobytes())]
    if isinstance(value, bytes):
        return ['bytes', _sha256(value)]
    if isinstance(value, dict):
        return ['dict', sorted(([plain(key), plain(item)] for key, item in value.items()), key=json.dumps)]
    if isinstance(value, (list, tuple)):
        return [_kind(type(value)), [plain(item) for item in value]]
    if isinstance(value, (set, frozenset)):
        return ['set', sorted((plain(item) for item in value), key=json.dumps)]
    if isinstance(value, os.PathLike):
        return ['path', os.fspath(value)]
    if isinstance(value, types.MethodType):
        return ['method', plain(value.__self__), value.__name__]
    if isinstance(value, functools.partial):
        return ['partial', plain([value.func, value.args, value.keywords, vars(value)])]
    if hasattr(value, '__qualname__'):
        return _kind(value)
    return [_kind(type(value)), plain(_attributes(value))]


def _attributes(value):
    """Return all attributes of an object, or refuse one that holds more than attributes."""
    make, arguments, _, *items = value.__reduce_ex__(2)
    slots = copyreg._slotnames(type(value))
    if (
        make is not copyreg.__newobj__
        or arguments != (type(value),)
        or any(item is not None for item in items)
        or not (slots or hasattr(value, '__dict__'))
    ):
        raise TypeError(f'a {type(value).__name__} has no plain form')
    return {**getattr(value, '__dict__', {}), **{name: getattr(value, name) for name in slots if hasattr(value, name)}}


def _kind(thing):
    """Name a class or function; of one from elsewhere also return what it does, as far as its modules tell."""
    parts = [part for part in (inspect.getmro(thing) if isinstance(thing, type) else (thing,)) if not _is_known(part)]
    return [_name(thing), *([_name(part), _source(part), plain(_settings(part))] for part in parts)] if parts else (_name(thing))


def _is_known(thing):
    """Whether a class or function is none from elsewhere: it has a version that is in the key, or comes with Python."""
    package = str(thing.__module__).partition('.')[0]
    return package == _OWN or package in PACKAGES or package in sys.stdlib_module_names


@functools.cache
def _source(thing):
    """Hash the source of a class or function with the rest of its module, where its helpers and constants are."""
    module = sys.modules[thing.__module__]
    if os.stat(inspect.getsourcefile(module)).st_mtime > _STARTED:
        raise OSError(f'the source of {module.__name__} may have changed since it was imported')
    return [_sha256(inspect.getsource(part).encode()) for part in (thing, module)]


def _settings(thing):
    """Return the values that a class keeps for all its objects, or the defaults of a function."""
    if not isinstance(thing, type):
        return [thing.__defaults__, thing.__kwdefaults__]
    return {
        name: value
        for name, value in vars(thing).items()
        if not name.startswith(('__', '_abc_')) and not hasattr(type(value), '__get__')
    }


def _name(thing):
    """Name a class or function by where it stands; those made on the spot share their name with others."""
    if '<' in thing.__qualname__:
        raise TypeError(f'{thing.__qualname__} has no name of its own')
    return f'{thing.__module__}.{thing.__qualname__}'


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
