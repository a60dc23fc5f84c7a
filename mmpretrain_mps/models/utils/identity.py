"""What the zero-shot features of a data set depend on, as hashes: model, pictures, pipeline."""
import enum
import hashlib
import json
import os
from importlib import metadata
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import nn

from ...version import __version__

# To be changed with whatever changes the numbers of the frozen branch or the order of the facts below.
FORMAT = 'zero_shot-1'
# What reads, resizes and computes.
PACKAGES = ('torch', 'Pillow', 'numpy', 'mmengine', 'mmpretrain', 'open_clip_torch')


def zero_shot_key(model, dataset, data_id, precision):
    """Name the frozen features of a data set.

    Args:
        model (MPSCLIPClassifier): Whose frozen branch computes them.
        dataset (Dataset): With the pipeline that it applies now.
        data_id (str): Hash of :func:`data_identity`.
        precision (str): What they are computed in.

    Returns:
        str | None: SHA-256, hex; None if the pipeline or the preprocessor holds what has no plain form, or the
        version of a package is not to be had.
    """
    try:
        facts = [FORMAT, __version__, [metadata.version(name) for name in PACKAGES], model_facts(model), data_id,
                 plain(dataset.pipeline), precision]
    except (AttributeError, TypeError, RecursionError, metadata.PackageNotFoundError):
        return None
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def model_facts(model):
    """Return what tells one frozen branch, with its normalisation, from another.

    Args:
        model (MPSCLIPClassifier): Any.

    Returns:
        list: Plain values: weights and activation, structure, heads, type of numbers, device, preprocessor.
    """
    visual, preprocessor = model.backbone.zero_shot, model.data_preprocessor
    base, parameter = model.describe()['base'], next(visual.parameters())
    heads = [module.num_heads for module in visual.modules() if isinstance(module, nn.MultiheadAttention)]
    settings = {name: value for name, value in vars(preprocessor).items()
                if isinstance(value, (bool, int, float, str)) and name != 'training'}
    return [base['sha256'], base['quick_gelu'], str(visual), heads, str(parameter.dtype), parameter.device.type,
            type(preprocessor).__qualname__, plain(settings), plain(dict(preprocessor.named_buffers()))]


class DataIdentity(NamedTuple):
    """What a data set says of its pictures."""

    numbered: bool
    """Whether ``sample_idx`` of every picture is its place in the data set, so that it names one picture alone."""
    sha256: Optional[str]
    """Hash of what the pipeline is given; None if the data set does not tell, or holds what has no plain form."""


def data_identity(dataset):
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
            entry = dataset.get_data_info(index)
            if entry['sample_idx'] != index:
                return DataIdentity(False, None)
            facts = None if unknown else _entry_facts(entry)
            if facts is None:
                unknown = True
            else:
                digest.update(json.dumps(facts).encode() + b'\n')
    except (AttributeError, LookupError, NotImplementedError, OSError, TypeError):
        return DataIdentity(False, None)
    return DataIdentity(True, None if unknown else digest.hexdigest())


def _entry_facts(entry):
    """Return entry and state of its file in their plain form, or None if there is none."""
    if entry.get('img') is None and entry.get('img_path') is None:
        return None
    try:
        stat = os.stat(entry['img_path']) if entry.get('img_path') else None
        return [plain(entry), None if stat is None else [stat.st_size, stat.st_mtime_ns]]
    except (AttributeError, OSError, TypeError, RecursionError):
        return None


def plain(value):
    """Turn a value into plain lists, strings and numbers that tell it from every other.

    Args:
        value (object): Arrays and tensors become hashes, objects their class with all their attributes.

    Returns:
        object: For JSON.

    Raises:
        TypeError: If there is something whose content cannot be seen.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return [_name(type(value)), value.name]
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
        return [_name(type(value)), [plain(item) for item in value]]
    if isinstance(value, (set, frozenset)):
        return ['set', sorted((plain(item) for item in value), key=json.dumps)]
    if isinstance(value, os.PathLike):
        return ['path', os.fspath(value)]
    if hasattr(value, '__qualname__'):
        return _name(value)
    if not hasattr(value, '__dict__'):
        raise TypeError(f'a {type(value).__name__} has no plain form')
    return [_name(type(value)), plain(vars(value))]


def _name(thing):
    """Name a class or function by where it stands; those made on the spot share their name with others."""
    if '<' in thing.__qualname__:
        raise TypeError(f'{thing.__qualname__} has no name of its own')
    return f'{thing.__module__}.{thing.__qualname__}'


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
