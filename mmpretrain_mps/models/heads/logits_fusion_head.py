"""Classification by the logits of both branches."""
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


class BranchLogits(NamedTuple):
    """Logits of both branches and their fusion, float32, ``(..., C)``."""

    fused: torch.Tensor
    tuned: torch.Tensor
    zero_shot: Optional[torch.Tensor]


@MODELS.register_module()
class LogitsFusionHead(ClsHead):
    r"""Fuse tuned and zero-shot logits.

    .. math:: \ell = \alpha\, \ell_{tuned} + (1 - \alpha)\, \ell_{zero-shot}, \qquad
        \ell_{branch} = s \cos(x_{branch}, t_c)

    `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3.4; in training the logits of the views are
    averaged before the fusion, and cross-entropy sees the fused logits.

    Args:
        alpha (float): Share of the tuned branch, 0 to 1.
        supervise (str): ``'fused'`` (paper) or ``'tuned'``: the logits that cross-entropy sees.
        loss (dict): Config of the classification loss. Defaults to cross-entropy.

    Raises:
        ValueError: If ``alpha`` lies outside [0, 1] or ``supervise`` is unknown.
    """

    def __init__(self, alpha=0.3, supervise='fused', loss=None):
        super().__init__(loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0))
        if not 0 <= alpha <= 1:
            raise ValueError(f'alpha must lie between 0 and 1, but is {alpha}')
        if supervise not in ('fused', 'tuned'):
            raise ValueError(f"supervise must be 'fused' or 'tuned', but is {supervise!r}")
        self.alpha, self.supervise = alpha, supervise

    @property
    def uses_zero_shot(self):
        """bool: Whether the training loss depends on the zero-shot logits."""
        return self.supervise == 'fused' and self.alpha < 1

    def forward(self, tuned, zero_shot, text, logit_scale):
        """Compute the logits of unit-norm features.

        Args:
            tuned (Tensor): [CLS] features of the tuned branch ``(..., D)``.
            zero_shot (Tensor | None): The same of the frozen branch; None where nothing depends on it.
            text (Tensor): Unit-norm class prototypes ``(C, D)``.
            logit_scale (float): Factor on the cosine, unitless.

        Returns:
            BranchLogits: ``(..., C)`` each. Without zero-shot features the fused logits are the tuned ones.
        """
        with torch.autocast(tuned.device.type, enabled=False):
            tuned_logits = logit_scale * tuned.float() @ text.mT
            if zero_shot is None:
                return BranchLogits(tuned_logits, tuned_logits, None)
            zero_shot_logits = logit_scale * zero_shot.float() @ text.mT
            return BranchLogits(self.fuse(tuned_logits, zero_shot_logits), tuned_logits, zero_shot_logits)

    def fuse(self, tuned_logits, zero_shot_logits):
        """Return ``alpha * tuned_logits + (1 - alpha) * zero_shot_logits``, any shape."""
        return self.alpha * tuned_logits + (1 - self.alpha) * zero_shot_logits

    def loss(self, logits, labels):
        """Average the views and compute the classification loss and the accuracies of the batch.

        Args:
            logits (BranchLogits): Each ``(V, B, C)``.
            labels (Tensor): Classes ``(B,)``.

        Returns:
            dict[str, Tensor]: ``loss_ce``, and ``acc_fused``, ``acc_tuned``, ``acc_zero_shot`` in percent as far as
            the branches were computed.
        """
        means = BranchLogits(*(None if branch is None else branch.mean(0) for branch in logits))
        target = means.fused if self.supervise == 'fused' else means.tuned
        losses = dict(loss_ce=self.loss_module(target, labels))
        for name, branch in means._asdict().items():
            # Without zero-shot logits there is no fusion to report, whatever stands in its place.
            if branch is not None and not (name == 'fused' and means.zero_shot is None):
                losses[f'acc_{name}'] = 100 * (branch.detach().argmax(1) == labels).float().mean()
        return losses

    def predict(self, logits, data_samples=None):
        """Write predictions into data samples.

        Args:
            logits (BranchLogits): Each ``(B, C)``.
            data_samples (list[DataSample | None], optional): Samples to fill; new ones by default.

        Returns:
            list[DataSample]: With ``pred_score`` and ``pred_label`` of the fused logits, ``tuned_score`` and
            ``zero_shot_score`` (softmax of one branch alone), and ``tuned_logits`` and ``zero_shot_logits``; all of
            them on the CPU.
        """
        # One copy to the host per branch; whoever reads a sample would otherwise wait for the device each time.
        logits = BranchLogits(*(branch.cpu() for branch in logits))
        scores = [F.softmax(branch, dim=1) for branch in logits]
        samples = data_samples if data_samples is not None else [None] * len(logits.fused)
        filled = []
        for index, sample in enumerate(samples):
            sample = DataSample() if sample is None else sample
            fused, tuned, zero_shot = (score[index] for score in scores)
            sample.set_pred_score(fused).set_pred_label(fused.argmax(keepdim=True).detach())
            for name, value in (('tuned_score', tuned), ('zero_shot_score', zero_shot),
                                ('tuned_logits', logits.tuned[index]), ('zero_shot_logits', logits.zero_shot[index])):
                sample.set_field(value, name)
            filled.append(sample)
        return filled
