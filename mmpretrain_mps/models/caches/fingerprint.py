"""Identity of a set of weights."""

import hashlib
from collections.abc import Mapping

import torch


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash named tensors.

    Args:
        tensors (Mapping[str, Tensor]): Weights by name.

    Returns:
        str: SHA-256 (hex) over names, shapes and float32 values; independent of order, device and stored precision
        as long as that precision holds the values.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to('cpu', torch.float32).contiguous()
        digest.update(f'{name}{tuple(values.shape)}'.encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()
