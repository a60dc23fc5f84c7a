"""Text prototypes on disk, so that the second start with the same classes need not encode them again.

A file is named by the SHA-256 of everything that the prototypes depend on: the text tower (weights and structure), the
tokenizer, all texts, how they are averaged, and the kind of device. :mod:`.tensor_cache` says where it lies.
"""
import hashlib
import json

import torch
from torch import nn

from . import tensor_cache
from .fingerprint import fingerprint
from .text_prototypes import encode_prototypes, fill_templates

# Part of every key; to be changed with whatever changes the numbers of `encode_prototypes`.
FORMAT = 'prototypes-1'
PROBES = 64
VARIABLE = tensor_cache.VARIABLE


def cache_folder():
    """Return the folder of the cache, or None where it is switched off."""
    return tensor_cache.cache_folder('prototypes')


def cached_prototypes(model, tokenizer, class_names, templates, normalize_templates=True):
    """Compute prototypes, or read them if they were computed before; arguments as in :func:`encode_prototypes`."""
    if cache_folder() is None:
        return encode_prototypes(model, tokenizer, class_names, templates, normalize_templates)
    key = prototype_key(model, tokenizer, class_names, templates, normalize_templates)
    prototypes = load_prototypes(key)
    if prototypes is None:
        prototypes = encode_prototypes(model, tokenizer, class_names, templates, normalize_templates)
        save_prototypes(key, prototypes)
    return prototypes.to(next(model.parameters()).device)


def prototype_key(model, tokenizer, class_names, templates, normalize_templates):
    """Hash what prototypes depend on; arguments as in :func:`encode_prototypes`.

    Returns:
        str: SHA-256, hex.
    """
    texts = fill_templates(class_names, templates)
    heads = [module.num_heads for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    facts = [FORMAT, len(templates), bool(normalize_templates), next(model.parameters()).device.type, heads, str(model)]
    digest = hashlib.sha256(json.dumps([facts, texts]).encode())
    digest.update(fingerprint(dict(model.named_parameters())).encode())
    # What the tokenizer makes of some texts tells it from others; all of them would take longer than the rest.
    digest.update(tokenizer(texts[:PROBES]).to(torch.int64).contiguous().numpy().data)
    return digest.hexdigest()


def load_prototypes(key):
    """Return cached prototypes ``(C, D)`` on the CPU, or None if there are none that can be read."""
    folder = cache_folder()
    tensors = None if folder is None else tensor_cache.load_tensors(folder, key, 'prototypes')
    return None if tensors is None else tensors['prototypes']


def save_prototypes(key, prototypes):
    """Write prototypes; see :func:`.tensor_cache.save_tensors`."""
    folder = cache_folder()
    if folder is not None:
        tensor_cache.save_tensors(folder, key, {'prototypes': prototypes}, 'prototypes')
