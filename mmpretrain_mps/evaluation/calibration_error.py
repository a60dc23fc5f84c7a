"""How far confidence is from accuracy."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from .branch_accuracy import SCORES


def expected_calibration_error(confidences: torch.Tensor, correct: torch.Tensor, num_bins: int = 15) -> float:
    r"""Compute the expected calibration error.

    .. math:: \mathrm{ECE} = \sum_m \frac{|B_m|}{N}\,|\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|

    Bin :math:`B_m` holds the pictures whose confidence lies in :math:`((m - 1) / M, m / M]`, all bins of equal width;
    acc is the share of right predictions in it, conf the mean confidence (`Guo et al. 2017
    <https://arxiv.org/abs/1706.04599>`_, Eq. 3).

    Args:
        confidences (Tensor): Largest softmax probability of each picture ``(N,)``.
        correct (Tensor): Whether that class is the true one ``(N,)``, bool.
        num_bins (int): :math:`M`.

    Returns:
        float: Between 0 and 1; nan without pictures or with a confidence that is no number.
    """
    confidences, correct = confidences.double().contiguous(), correct.double()
    edges = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
    bins = torch.bucketize(confidences, edges)
    # |B_m| cancels out: what is left in each bin is a difference of sums.
    gaps = torch.zeros(num_bins, dtype=torch.float64).index_add(0, bins, correct - confidences)
    return (gaps.abs().sum() / len(confidences)).item() if len(confidences) else float('nan')


@METRICS.register_module()
class CalibrationError(BaseMetric):
    """Expected calibration error in percent of the fused, tuned and zero-shot predictions of the same pass.

    The figures are named ``ece/fused``, ``ece/tuned`` and ``ece/zero_shot``; see :func:`expected_calibration_error` for
    the definition. Of each picture two numbers are kept per prediction, so memory does not grow with the number of
    classes, and the pictures with which a distributed run fills its last batches up can still be taken out.

    Args:
        num_bins (int): Bins of equal width. Defaults to 15.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``ece``.

    Raises:
        ValueError: If there is no bin.
    """

    default_prefix = 'ece'

    def __init__(self, num_bins: int = 15, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        if num_bins < 1:
            raise ValueError(f'num_bins must be 1 or more, but is {num_bins}')
        self.num_bins = num_bins

    def process(self, data_batch: Sequence[dict[str, Any]], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep confidence and correctness of a batch.

        Args:
            data_batch (Sequence[dict]): Unused.
            data_samples (Sequence[dict]): Predictions with ``gt_label`` and the fields of ``SCORES``, softmax ``(C,)``.
        """
        labels = torch.cat([sample['gt_label'] for sample in data_samples])
        kept = {}
        for name, field in SCORES.items():
            confidences, predicted = torch.stack([sample[field] for sample in data_samples]).max(dim=1)
            correct = predicted == labels.to(predicted.device)
            kept[name] = list(zip(confidences.tolist(), correct.tolist()))
        self.results.extend(dict(zip(kept, row)) for row in zip(*kept.values()))

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Compute the errors.

        Args:
            results (list[dict]): What :meth:`process` kept, of all processes.

        Returns:
            dict[str, float]: Errors in percent.
        """
        errors = {}
        for name in SCORES:
            confidences, correct = torch.tensor([result[name] for result in results], dtype=torch.float64).T
            errors[name] = 100 * expected_calibration_error(confidences, correct, self.num_bins)
        return errors
