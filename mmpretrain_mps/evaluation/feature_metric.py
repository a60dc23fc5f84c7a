"""What metrics share that look at features of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.evaluator import BaseMetric

if TYPE_CHECKING:
    import torch

BRANCHES = ('tuned', 'zero_shot')


class FeatureMetric(BaseMetric):
    """Base of metrics on features of a bounded choice of pictures.

    Subclasses name the features that they need in ``test_features`` (:class:`TestFeaturesHook` makes the model compute
    them), pick arrays of a picture in :meth:`features_of`, and compute figures in :meth:`compute_figures`.

    Where there are more than ``max_pictures``, the choice depends on seed and index in the data set alone, so that it
    is the same in every run, in every epoch and on any number of processes: either those of the smallest SHA-256, an
    even sample, or with ``balanced`` equally many of each class as far as it has them. What is not chosen is let go on
    the way: no more than twice ``max_pictures`` are held.

    Args:
        max_pictures (int, optional): Bound; None for all pictures.
        seed (int): Of the choice.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of the default one.

    Raises:
        ValueError: If ``max_pictures`` is below 2.
    """

    test_features: tuple[str, ...] = ('cls',)
    balanced = False

    def __init__(self, max_pictures: int | None = None, seed: int = 0, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        if max_pictures is not None and max_pictures < 2:
            raise ValueError(f'max_pictures must be 2 or more, or None for all, but is {max_pictures}')
        self.max_pictures, self.seed = max_pictures, seed

    def features_of(self, sample: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the features of one picture that are kept.

        Args:
            sample (dict): Prediction with the fields of :func:`write_features`.

        Returns:
            dict[str, ndarray]: Name to features.
        """
        return {branch: own_array(sample[f'{branch}_features']) for branch in BRANCHES}

    def figures_of(self, sample: dict[str, Any]) -> dict[str, float]:
        """Return numbers that are kept of every picture, chosen or not; nothing by default."""
        return {}

    def compute_figures(
        self, features: dict[str, np.ndarray], labels: np.ndarray, figures: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Compute the metrics.

        Args:
            features (dict[str, ndarray]): Name to features ``(N, ...)`` of the chosen pictures, ordered by index.
            labels (ndarray): Their classes ``(N,)``, int64.
            figures (dict[str, ndarray]): Name to numbers ``(M,)`` of all pictures.

        Returns:
            dict[str, float]: Name to value.
        """
        raise NotImplementedError

    def process(self, data_batch: Sequence[dict[str, Any]], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the features of a batch.

        Args:
            data_batch (Sequence[dict]): Unused.
            data_samples (Sequence[dict]): Predictions with ``gt_label``, ``sample_idx`` and what :meth:`features_of`
                reads.

        Raises:
            ValueError: If the model gives no such features, or the data set no index.
        """
        for sample in data_samples:
            if sample.get('sample_idx') is None:
                raise ValueError(
                    f'{type(self).__name__} orders pictures by sample_idx, but the predictions have none; '
                    "PackInputs must keep it (meta_keys=('sample_idx', ...))"
                )
            try:
                features, figures = self.features_of(sample), self.figures_of(sample)
            except KeyError as error:
                raise ValueError(
                    f'{type(self).__name__} needs {error} in the predictions: the model must be an MPSCLIPClassifier, '
                    "and the config have dict(type='TestFeaturesHook') among its custom_hooks, or "
                    f'model.test_features={list(self.test_features)}'
                ) from error
            self.results.append(
                dict(index=int(sample['sample_idx']), label=int(sample['gt_label']), features=features, figures=figures)
            )
        if self.max_pictures and sum(row['features'] is not None for row in self.results) > 2 * self.max_pictures:
            self._choose(self.results)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Compute the metrics of what all processes kept.

        Args:
            results (list[dict]): What :meth:`process` kept.

        Returns:
            dict[str, float]: Of :meth:`compute_figures`.
        """
        rows = sorted(results, key=lambda row: row['index'])
        chosen = self._choose(rows)
        features = {name: np.stack([row['features'][name] for row in chosen]) for name in chosen[0]['features']}
        figures = {name: np.array([row['figures'][name] for row in rows]) for name in rows[0]['figures']}
        labels = np.array([row['label'] for row in chosen], np.int64)
        return {name: float(value) for name, value in self.compute_figures(features, labels, figures).items()}

    def _choose(self, rows):
        """Let the features of all but the chosen ones go; return these, in their order."""
        held = [row for row in rows if row['features'] is not None]
        if self.max_pictures is None or len(held) <= self.max_pictures:
            return held
        groups = np.array([row['label'] if self.balanced else 0 for row in held])
        chosen = set(choose_pictures([row['index'] for row in held], groups, self.max_pictures, self.seed).tolist())
        for position, row in enumerate(held):
            if position not in chosen:
                row['features'] = None
        return [held[position] for position in sorted(chosen)]


def choose_pictures(indices: Sequence[int], groups: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """Choose pictures by a hash, equally many of each group as far as it has them.

    Pictures of a group are ordered by the SHA-256 of seed and index; the first of each group are taken, then the second
    of each, until there are enough. Groups are ordered by a hash as well, for the last round. A picture that is not
    chosen among some is not chosen among more either, therefore a choice can be made piece by piece.

    Args:
        indices (Sequence[int]): Of the pictures in their data set.
        groups (ndarray): Group of each, int ``(N,)``.
        limit (int): How many to choose.
        seed (int): Of the choice.

    Returns:
        ndarray: Positions ``(min(N, limit),)``.
    """
    keys = np.array([_hash(f'{seed}/{index}') for index in indices], np.uint64)
    names, groups = np.unique(groups, return_inverse=True)
    order = np.lexsort((keys, groups))
    sizes = np.bincount(groups)
    rounds = np.empty(len(keys), np.int64)
    rounds[order] = np.arange(len(keys)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    group_keys = np.array([_hash(f'{seed}/group/{name}') for name in names], np.uint64)
    return np.lexsort((group_keys[groups], rounds))[:limit]


def own_array(row: torch.Tensor) -> np.ndarray:
    """Copy a row of a batch, which would otherwise keep, and send to other processes, the whole batch.

    Args:
        row (Tensor): On the CPU.

    Returns:
        ndarray: Same shape, float32.
    """
    return row.float().clone().numpy()


def _hash(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big')
