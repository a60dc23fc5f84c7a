"""Accuracy of the fused prediction and of each branch alone."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

# Metric name of each prediction and the field of a data sample that holds its scores.
SCORES = {'fused': 'pred_score', 'tuned': 'tuned_score', 'zero_shot': 'zero_shot_score'}


def ranks_of_labels(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Count the classes that come before the true one, of each picture.

    Args:
        scores (Tensor): Scores of the classes ``(N, C)``.
        labels (Tensor): The true classes ``(N,)``, int64.

    Returns:
        Tensor: ``(N,)``, int64. 0 if the true class is predicted; among equal scores the lower label comes first, as
        with ``argmax``. ``C`` if the score of the true class is not a number.
    """
    labels = labels.unsqueeze(1)
    own = scores.gather(1, labels)
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels
    before = (scores > own) | scores.isnan() | ((scores == own) & earlier)
    return before.sum(1).masked_fill(own.isnan().squeeze(1), scores.shape[1])


@METRICS.register_module()
class BranchAccuracy(BaseMetric):
    """Top-k accuracy in percent of the fused, tuned and zero-shot predictions of the same pass.

    The figures are named ``accuracy/fused``, ``accuracy/tuned`` and ``accuracy/zero_shot``; for ``k > 1`` with
    ``_top<k>`` behind. Only the rank of the true class is kept of each picture, so memory does not grow with the
    number of classes. Every picture is counted once, on any number of processes.

    Args:
        topk (Sequence[int]): Which k.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``accuracy``.

    Raises:
        ValueError: If a k is below 1.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1,), collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f'topk must hold numbers from 1 on, but is {topk!r}')

    def process(self, data_batch: Sequence[dict[str, Any]], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the ranks of the true classes of a batch.

        Args:
            data_batch (Sequence[dict]): Unused.
            data_samples (Sequence[dict]): Predictions with the fields of :data:`SCORES`.
        """
        labels = torch.cat([sample['gt_label'] for sample in data_samples])
        scores = {name: torch.stack([sample[field] for sample in data_samples]) for name, field in SCORES.items()}
        ranks = [ranks_of_labels(values, labels.to(values.device)).tolist() for values in scores.values()]
        self.results.extend(dict(zip(SCORES, row)) for row in zip(*ranks))

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Compute the accuracies.

        Args:
            results (list[dict]): What :meth:`process` kept, of all processes.

        Returns:
            dict[str, float]: Accuracies in percent.
        """
        metrics = {}
        for name in SCORES:
            ranks = torch.tensor([result[name] for result in results])
            for k in self.topk:
                metrics[name if k == 1 else f'{name}_top{k}'] = 100 * (ranks < k).double().mean().item()
        return metrics
