"""Zero-shot accuracy of the pictogram CLIP on the data sets of pictograms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.pictograms import PICTOGRAM_TEMPLATES, PictogramKinds, Pictograms, PictogramThings
from ..mini_clip import zero_shot
from .augmentation import IMAGE_SIZE

if TYPE_CHECKING:
    import torch

TASKS = dict(kinds=PictogramKinds, things=PictogramThings)
# Same numbers as open_clip's transform of this model.
preprocess = functools.partial(zero_shot.preprocess, size=IMAGE_SIZE)


def accuracy(model: Any, tokenize: Callable[[list[str]], torch.Tensor], dataset: Pictograms) -> dict:
    """Return ``accuracy`` in percent, ``pictures`` and ``classes`` of one data set."""
    prototypes = zero_shot.text_prototypes(model, tokenize, dataset.metainfo['classes'], PICTOGRAM_TEMPLATES)
    images = np.stack([dataset.get_data_info(place)['img'] for place in range(len(dataset))])
    features = zero_shot.image_features(model, preprocess(images))
    found = zero_shot.accuracy(features, prototypes, dataset.get_gt_labels())
    return dict(accuracy=round(found, 2), pictures=len(dataset), classes=len(dataset.metainfo['classes']))


def score(model: Any, tokenize: Callable[[list[str]], torch.Tensor], subset: str | None = None) -> dict[str, dict[str, dict]]:
    """Score all tasks and domains.

    Args:
        model: open_clip model in evaluation mode.
        tokenize (callable): Texts to token ids.
        subset (str, optional): Of the source alone, such as 'val'. Defaults to the test subset of every domain.

    Returns:
        dict: Task -> domain -> what :func:`accuracy` returns.
    """
    if subset is not None:
        return {task: dict(source=accuracy(model, tokenize, kind(subset=subset))) for task, kind in TASKS.items()}
    return {
        task: {domain: accuracy(model, tokenize, kind(domain=domain, subset='test')) for domain in kind.domains}
        for task, kind in TASKS.items()
    }
