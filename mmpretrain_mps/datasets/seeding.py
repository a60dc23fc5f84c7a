"""Random numbers that depend on what is asked for, and on nothing that happened before."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*keys: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global CPU generators from ``keys``, and put them back afterwards.

    Transforms of mmcv, mmpretrain and torchvision draw from these generators. Within the block their draws are a
    function of the keys alone; outside, nothing has happened.

    Args:
        *keys (int): For a training sample: seed, epoch, index.

    Yields:
        None
    """
    digest = hashlib.sha256(','.join(str(int(key)) for key in keys).encode()).digest()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(int.from_bytes(digest[:8], 'little'))
    np.random.seed(int.from_bytes(digest[8:12], 'little'))
    # not torch.manual_seed, which would queue work for every accelerator, sample by sample
    torch.default_generator.manual_seed(int.from_bytes(digest[12:20], 'little', signed=True))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
