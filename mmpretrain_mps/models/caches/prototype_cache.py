"""Text prototypes on disk, so that the second start with the same classes need not encode them again.

A file is named by the SHA-256 of everything that the prototypes depend on: the text tower (weights and structure), the
tokenizer, all names and templates, how they are averaged, the device and the precision. :mod:`.tensor_cache` says where
it lies. All files together stay below a limit; those that were used longest ago are deleted first.
"""

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ..computation.precision import computed_on
from ..text.prototypes import check_texts, encode_prototypes
from . import tensor_cache
from .fingerprint import fingerprint

# Part of every key; to be changed with whatever changes the numbers of `encode_prototypes`.
FORMAT = 'prototypes-3'
PROBES = 64
TOLERANCE = 0.02
# Of the folder; 1000 classes of ViT-B/16 take 2 MB.
LIMIT_BYTES = 512 * 2**20
VARIABLE = tensor_cache.VARIABLE
_CHANCE = random.SystemRandom()  # which leaves the numbers of the training alone


def cache_folder() -> Path | None:
    """Return the folder of the cache, or None where it is switched off."""
    return tensor_cache.cache_folder('prototypes')


def cached_prototypes(
    model: nn.Module,
    tokenizer: Callable[..., torch.Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
    normalize_templates: bool = True,
) -> torch.Tensor:
    """Compute prototypes, or read them if they were computed before; arguments as in :func:`encode_prototypes`."""
    if cache_folder() is None:
        return encode_prototypes(model, tokenizer, class_names, templates, normalize_templates)
    key = prototype_key(model, tokenizer, class_names, templates, normalize_templates)
    prototypes = load_prototypes(
        key, lambda tensors: _are_of(tensors, model, tokenizer, class_names, templates, normalize_templates)
    )
    if prototypes is None:
        prototypes = encode_prototypes(model, tokenizer, class_names, templates, normalize_templates)
        save_prototypes(key, prototypes)
    return prototypes.to(next(model.parameters()).device)


def prototype_key(
    model: nn.Module,
    tokenizer: Callable[..., torch.Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
    normalize_templates: bool,
) -> str:
    """Hash what prototypes depend on; arguments as in :func:`encode_prototypes`.

    Returns:
        str: SHA-256, hex.
    """
    check_texts(class_names, templates)
    class_names, templates = list(class_names), list(templates)
    heads = [module.num_heads for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    facts = [
        FORMAT,
        len(class_names),
        len(templates),
        bool(normalize_templates),
        computed_on(next(model.parameters()).device),
        heads,
        str(model),
    ]
    digest = hashlib.sha256()
    # One by one, never the texts that they make together: 22,000 names in 80 templates are half a gigabyte.
    for fact in itertools.chain([facts], templates, class_names):
        digest.update(json.dumps(fact).encode() + b'\n')
    digest.update(fingerprint({**dict(model.named_parameters()), **dict(model.named_buffers())}).encode())
    # What the tokenizer makes of some texts tells it from others; all of them would take longer than the rest.
    probes = list(_probes(class_names, templates))
    digest.update(tokenizer(probes).to(torch.int64).contiguous().numpy().data)
    return digest.hexdigest()


def _probes(class_names, templates):
    """Yield up to :data:`PROBES` of the texts, evenly from the first to the last."""
    total = len(class_names) * len(templates)
    count = min(total, PROBES)
    for position in range(count):
        label, template = divmod(position * (total - 1) // max(1, count - 1), len(templates))
        yield templates[template].replace('{}', class_names[label])


def _are_of(tensors, model, tokenizer, class_names, templates, normalize_templates):
    """Whether tensors can be the prototypes of these classes: one of them, drawn by chance, is computed again."""
    found = tensors.get('prototypes')
    if found is None or found.dtype != torch.float32 or found.ndim != 2 or len(found) != len(class_names):
        return False
    label = _CHANCE.randrange(len(class_names))
    (expected,) = encode_prototypes(model, tokenizer, [class_names[label]], templates, normalize_templates).cpu()
    # Other batches and threads change the last bits, half precision those before them.
    return (
        found[label].shape == expected.shape
        and bool(torch.isfinite(found).all())
        and bool((found[label] - expected).norm() <= TOLERANCE * expected.norm())
    )


def load_prototypes(key: str, fits: Callable[[dict[str, torch.Tensor]], bool]) -> torch.Tensor | None:
    """Return cached prototypes ``(C, D)`` on the CPU, or None if there are none that can be read and fit."""
    folder = cache_folder()
    tensors = None if folder is None else tensor_cache.load_tensors(folder, key, 'prototypes', fits)
    if tensors is None:
        return None
    tensor_cache.mark_used(folder, key)
    return tensors['prototypes']


def save_prototypes(key: str, prototypes: torch.Tensor) -> None:
    """Write prototypes; see :func:`.tensor_cache.save_tensors`."""
    folder = cache_folder()
    if folder is not None:
        tensor_cache.save_tensors(folder, key, {'prototypes': prototypes}, 'prototypes', LIMIT_BYTES)
