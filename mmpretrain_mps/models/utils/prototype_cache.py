"""Text prototypes on disk, so that the second start with the same classes need not encode them again.

A file is named by the SHA-256 of everything that the prototypes depend on: the text tower (weights and structure), the
tokenizer, all texts, how they are averaged, and the kind of device. It lies in ``$MMPRETRAIN_MPS_CACHE``, else in
``$XDG_CACHE_HOME/mmpretrain_mps``, else in ``~/.cache/mmpretrain_mps``. ``MMPRETRAIN_MPS_CACHE=off`` switches it off.
"""
import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .fingerprint import fingerprint
from .text_prototypes import encode_prototypes, fill_templates

# Part of every key; to be changed with whatever changes the numbers of `encode_prototypes`.
FORMAT = 'prototypes-1'
PROBES = 64
VARIABLE = 'MMPRETRAIN_MPS_CACHE'


def cache_folder():
    """Return the folder of the cache, or None where it is switched off."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None and chosen.lower() in ('', 'off', '0', 'none'):
        return None
    if chosen:
        return Path(chosen).expanduser() / 'prototypes'
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(base).expanduser() / 'mmpretrain_mps' / 'prototypes'


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
    if folder is None or not (folder / f'{key}.safetensors').is_file():
        return None
    path = folder / f'{key}.safetensors'
    try:
        with safe_open(str(path), 'pt') as file:
            prototypes = file.get_tensor('prototypes')
            if (file.metadata() or {}).get('sha256') == _digest(prototypes):
                return prototypes
        problem = 'its content is not what was written'
    except (OSError, SafetensorError, ValueError) as error:
        problem = str(error)
    MMLogger.get_current_instance().warning(f'{path} is damaged ({problem}); its prototypes are computed again')
    return None


def save_prototypes(key, prototypes):
    """Write prototypes in one step: whoever reads meanwhile finds the whole file or none.

    A folder that cannot be written to only costs the time that the cache would save.
    """
    folder = cache_folder()
    if folder is None:
        return
    prototypes = prototypes.to('cpu').contiguous()
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix='.part')
        os.close(handle)
        save_file({'prototypes': prototypes}, temporary, metadata={'sha256': _digest(prototypes)})
        os.replace(temporary, folder / f'{key}.safetensors')
    except OSError as error:
        MMLogger.get_current_instance().warning(
            f'prototypes are not cached in {folder}: {error}; set {VARIABLE} to a folder that can be written to, or to off')
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _digest(prototypes):
    return fingerprint({'prototypes': prototypes})
