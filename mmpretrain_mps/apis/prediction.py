"""Logits and features of any number of pictures, read and prepared as in testing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader, Dataset

from ..models.classifiers.test_features import TestFeatures

if TYPE_CHECKING:
    from mmengine.dataset import Compose

FEATURES = TestFeatures(cls=True)


class Predictions(NamedTuple):
    """What a model says of ``N`` pictures, float32 on the CPU."""

    fused: torch.Tensor
    """Logits ``(N, C)`` that decide."""
    tuned: torch.Tensor
    """Logits of the tuned branch, or of what takes its place; for methods that add a bias, the bias."""
    zero_shot: torch.Tensor
    """Logits of the frozen CLIP."""
    tuned_features: torch.Tensor
    """Unit-norm features ``(N, D)`` of the tuned branch."""
    zero_shot_features: torch.Tensor
    """The same of the frozen CLIP."""


def predict_batches(
    model: torch.nn.Module,
    pipeline: Callable,
    sources: Sequence,
    batch_size: int = 100,
    num_workers: int = 0,
    tolerant: bool = False,
) -> Iterator[tuple[list[int], Predictions | None, list[tuple[int, str]]]]:
    """Classify pictures batch by batch.

    Args:
        model (CLIPClassifier): Of any method.
        pipeline (Callable): Reads and prepares a picture, as that of a data set to test on.
        sources (Sequence): Of :func:`.given.sources_of`.
        batch_size (int): Pictures at once.
        num_workers (int): Processes that load.
        tolerant (bool): Pass over pictures that cannot be read, and name them.

    Yields:
        tuple: Places of the pictures of a batch; what is predicted of them, None if there are none; places of those that cannot
        be read, each with the reason.

    Raises:
        ValueError: If a picture cannot be read, and that is not tolerated; names it.
    """
    model.eval()
    loader = DataLoader(_Prepared(pipeline, sources), batch_size, num_workers=num_workers, collate_fn=_collate)
    for places, batch, faults in loader:
        if faults and not tolerant:
            raise ValueError(f'{faults[0][1].rstrip(".")}. `predict_rows` passes over such pictures, and names them')
        yield places, None if batch is None else _predict(model, batch), faults


def predict_pictures(
    model: torch.nn.Module,
    pipeline: Callable,
    sources: Sequence,
    batch_size: int = 100,
    num_workers: int = 0,
    progress: Callable[[int], Any] = lambda pictures: None,
) -> Predictions:
    """Classify pictures; arguments and errors as in :func:`predict_batches`.

    Args:
        model (CLIPClassifier): Of any method.
        pipeline (Callable): Reads and prepares a picture.
        sources (Sequence): ``N`` pictures, one at least.
        batch_size (int): Pictures at once.
        num_workers (int): Processes that load.
        progress (Callable): Gets the number of pictures of every batch that is done.

    Returns:
        Predictions: In the order of the pictures.
    """
    parts = []
    for places, predictions, _ in predict_batches(model, pipeline, sources, batch_size, num_workers):
        parts.append(predictions)
        progress(len(places))
    return Predictions(*map(torch.cat, zip(*parts)))


@torch.no_grad()
def _predict(model, batch):
    inputs = model.data_preprocessor(batch, False)['inputs']
    model._check_classes()
    logits, features = model.branch_logits(inputs, wanted=FEATURES, zero_shot=True)
    return Predictions(*(part.float().cpu() for part in (*logits, features.tuned[:, 0], features.zero_shot[:, 0])))


class _Prepared(Dataset):
    """Pictures as the pipeline prepares them, or why one cannot be read."""

    def __init__(self, pipeline: Compose, sources: Sequence[Any]):
        self.pipeline, self.sources = pipeline, sources

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, place):
        source = self.sources[place]
        try:
            if isinstance(source, str):
                return place, self.pipeline(dict(img_path=source, sample_idx=place)), ''
            return place, self.pipeline(dict(img=source, img_path=None, sample_idx=place)), ''
        except (ValueError, FileNotFoundError) as error:
            return place, None, str(error)


def _collate(items):
    good = [(place, prepared) for place, prepared, fault in items if not fault]
    faults = [(place, fault) for place, _, fault in items if fault]
    return [place for place, _ in good], default_collate([prepared for _, prepared in good]) if good else None, faults
