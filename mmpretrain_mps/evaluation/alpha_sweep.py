"""Accuracy for every share or weight of the tuned branch, from one pass."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..models.heads import check_alpha, fuse_logits

TENTHS = tuple(tenth / 10 for tenth in range(11))
# An additive bias has no natural scale; these span what is in use.
WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
SELECTION_WARNING = 'alpha sweep on test pictures: shows sensitivity, must not be used to select alpha'


@METRICS.register_module()
class AlphaSweep(BaseMetric):
    r"""Accuracy in percent of :math:`\alpha\, \ell_{tuned} + (1 - \alpha)\, \ell_{zero-shot}` for several alpha.

    Where the model's head adds the tuned logits as a bias (``fusion='additive'``), it is the accuracy of
    :math:`\ell_{zero-shot} + \alpha\, \ell_{tuned}`. The figures are named ``alpha_sweep/0.0``, ``alpha_sweep/0.1``, ...
    They are for studying how much depends on alpha.
    On test pictures they must not choose it: a choice needs pictures of its own, such as the validation split.

    Only whether each alpha is right is kept of each picture, so memory does not grow with the number of classes.

    Args:
        alphas (Sequence[float], optional): Shares or weights of the tuned branch. Defaults to 0, 0.1, ... 1, and where
            the fusion is additive to :data:`WEIGHTS`.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``alpha_sweep``.

    Raises:
        ValueError: If there is no alpha, or one is negative; while it is used, if the fusion is convex and one lies
            above 1.
    """

    default_prefix = 'alpha_sweep'

    def __init__(self, alphas: Sequence[float] | None = None, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.alphas = None if alphas is None else tuple(float(alpha) for alpha in alphas)
        if self.alphas is not None and not (self.alphas and min(self.alphas) >= 0):
            raise ValueError(f'alphas must hold numbers of at least 0, but is {alphas!r}')

    def process(self, data_batch: Sequence[dict[str, Any]], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep which alphas predict a batch rightly.

        Args:
            data_batch (Sequence[dict]): Unused.
            data_samples (Sequence[dict]): Predictions with ``gt_label``, ``tuned_logits`` and ``zero_shot_logits``
                ``(C,)``, and with ``fusion`` where it is not the convex one.

        Raises:
            ValueError: If the model gives no logits of both branches, or an alpha is none for its fusion.
        """
        missing = [name for name in ('tuned_logits', 'zero_shot_logits') if name not in data_samples[0]]
        if missing:
            raise ValueError(
                f'AlphaSweep fuses the logits of both branches, but the predictions have no '
                f'{" and no ".join(missing)}; the model must be one with both, as MPSCLIPClassifier is'
            )
        labels = torch.cat([sample['gt_label'] for sample in data_samples])
        tuned, zero_shot = (
            torch.stack([sample[name] for sample in data_samples]) for name in ('tuned_logits', 'zero_shot_logits')
        )
        labels = labels.to(tuned.device)
        fusion = data_samples[0].get('fusion', 'convex')
        if self.alphas is None:
            self.alphas = TENTHS if fusion == 'convex' else WEIGHTS
        for alpha in self.alphas:
            check_alpha(alpha, fusion)
        # One alpha at a time: all at once would be as many copies of (B, C).
        correct = [fuse_logits(tuned, zero_shot, alpha, fusion).argmax(1) == labels for alpha in self.alphas]
        self.results.extend(map(tuple, torch.stack(correct, dim=1).tolist()))

    def compute_metrics(self, results: list[tuple[bool, ...]]) -> dict[str, float]:
        """Compute the accuracies.

        Args:
            results (list[tuple[bool]]): What :meth:`process` kept, of all processes.

        Returns:
            dict[str, float]: Alpha to accuracy in percent.
        """
        accuracies = 100 * torch.tensor(results, dtype=torch.float64).mean(0)
        return {
            f'{alpha:.12g}' if alpha % 1 else f'{alpha:.1f}': accuracy
            for alpha, accuracy in zip(cast(Sequence[float], self.alphas), accuracies.tolist())
        }
