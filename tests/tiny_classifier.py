"""Classifiers on a small random CLIP whose weights are as far from their start as a training brings them, without one."""

import numpy as np
import torch
from tiny_clip import NAMES, shake

from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.apis.training import make_config


def shaken(architecture, method, **options):
    """Return a classifier of three classes; ``options`` are of the config, with ``__`` for each dot."""
    options = {name.replace('__', '.'): value for name, value in options.items()}
    classifier = FewShotClassifier(architecture, None, method, device='cpu', verbose=0)
    cfg = make_config(method, 'default', dict(options, architecture=architecture, pretrained=None))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier._take(cfg, None)
    classifier.model_.set_classes(NAMES)
    shake(classifier.model_)
    return classifier._keep(np.array(NAMES))


def pictures(number=3, seed=0):
    """Return pictures of other sizes than the model's, uint8 ``(H, W, 3)``."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (20 + 5 * place, 30, 3), dtype=np.uint8) for place in range(number)]


def largest_difference(found, expected):
    """Return the largest absolute difference of two arrays or tensors."""
    return np.abs(np.asarray(torch.as_tensor(found)) - np.asarray(torch.as_tensor(expected))).max()
