"""Classification by the logits of both branches."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

FUSIONS = ('convex', 'additive')


def fuse_logits(tuned_logits: torch.Tensor, zero_shot_logits: torch.Tensor, alpha: float, fusion: str = 'convex') -> torch.Tensor:
    r"""Fuse the logits of two branches.

    Args:
        tuned_logits (Tensor): ``(..., C)``.
        zero_shot_logits (Tensor): Same shape.
        alpha (float): Share of the tuned branch, or weight of the bias.
        fusion (str): ``'convex'``: :math:`\alpha\, \ell_{tuned} + (1 - \alpha)\, \ell_{zero-shot}`; ``'additive'``:
            :math:`\ell_{zero-shot} + \alpha\, \ell_{tuned}`, where the tuned branch is a bias.

    Returns:
        Tensor: ``(..., C)``.
    """
    if fusion == 'additive':
        return zero_shot_logits + alpha * tuned_logits
    return alpha * tuned_logits + (1 - alpha) * zero_shot_logits


def check_alpha(alpha: float, fusion: str = 'convex') -> None:
    """Raise ValueError unless ``alpha`` is a share, 0 to 1, or for the additive fusion a weight, at least 0."""
    if fusion not in FUSIONS:
        raise ValueError(f'fusion must be one of {FUSIONS}, but is {fusion!r}')
    if fusion == 'convex' and not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie between 0 and 1, but is {alpha}')
    if not 0 <= alpha < float('inf'):
        raise ValueError(f'alpha of an additive fusion must be a number of at least 0, but is {alpha}')


class BranchLogits(NamedTuple):
    """Logits of both branches and their fusion, float32, ``(..., C)``."""

    fused: torch.Tensor
    tuned: torch.Tensor
    zero_shot: torch.Tensor | None


@MODELS.register_module()
class LogitsFusionHead(ClsHead):
    r"""Fuse tuned and zero-shot logits.

    .. math:: \ell = \alpha\, \ell_{tuned} + (1 - \alpha)\, \ell_{zero-shot}, \qquad
        \ell_{branch} = s \cos(x_{branch}, t_c)

    `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3.4; in training the logits of the views are
    averaged before the fusion, and cross-entropy sees the fused logits. With ``fusion='additive'`` the tuned logits are
    a bias, :math:`\ell = \ell_{zero-shot} + \alpha\, \ell_{tuned}`, as in `Tip-Adapter
    <https://arxiv.org/abs/2207.09519>`_ and `AMU-Tuning <https://arxiv.org/abs/2404.08958>`_.

    Args:
        alpha (float): Share of the tuned branch, 0 to 1; with ``fusion='additive'`` its weight, at least 0.
        supervise (str): ``'fused'`` (paper) or ``'tuned'``: the logits that cross-entropy sees.
        loss (dict): Config of the classification loss. Defaults to cross-entropy.
        fusion (str): ``'convex'`` or ``'additive'``, see :func:`fuse_logits`.

    Raises:
        ValueError: If ``alpha`` lies outside its range, or ``supervise`` or ``fusion`` is unknown.
    """

    def __init__(self, alpha: float = 0.3, supervise: str = 'fused', loss: dict[str, Any] | None = None, fusion: str = 'convex'):
        super().__init__(loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0))
        check_alpha(alpha, fusion)
        if supervise not in ('fused', 'tuned'):
            raise ValueError(f"supervise must be 'fused' or 'tuned', but is {supervise!r}")
        self.alpha, self.supervise, self.fusion = alpha, supervise, fusion

    @property
    def uses_zero_shot(self) -> bool:
        """bool: Whether the training loss depends on the zero-shot logits."""
        return self.supervise == 'fused' and (self.fusion == 'additive' or self.alpha < 1)

    def forward(
        self, tuned: torch.Tensor, zero_shot: torch.Tensor | None, text: torch.Tensor, logit_scale: float
    ) -> BranchLogits:
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
            return self.branches(tuned_logits, None if zero_shot is None else logit_scale * zero_shot.float() @ text.mT)

    def branches(self, tuned_logits: torch.Tensor, zero_shot_logits: torch.Tensor | None) -> BranchLogits:
        """Fuse the logits of both branches and keep all three.

        Args:
            tuned_logits (Tensor): ``(..., C)``; a bias with ``fusion='additive'``.
            zero_shot_logits (Tensor | None): Same shape; None where nothing depends on them.

        Returns:
            BranchLogits: Without zero-shot logits the fused ones are the tuned ones.
        """
        fused = tuned_logits if zero_shot_logits is None else self.fuse(tuned_logits, zero_shot_logits)
        return BranchLogits(fused, tuned_logits, zero_shot_logits)

    def fuse(self, tuned_logits: torch.Tensor, zero_shot_logits: torch.Tensor) -> torch.Tensor:
        """Return the fused logits of any shape, see :func:`fuse_logits`."""
        return fuse_logits(tuned_logits, zero_shot_logits, self.alpha, self.fusion)

    def loss(self, logits: BranchLogits, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Average the views and compute the classification loss and the accuracies of the batch.

        Args:
            logits (BranchLogits): Each ``(V, B, C)``, or ``(B, C)`` of one view.
            labels (Tensor): Classes ``(B,)``.

        Returns:
            dict[str, Tensor]: ``loss_ce``, and ``acc_fused``, ``acc_tuned``, ``acc_zero_shot`` in percent as far as
            the branches were computed.
        """
        branches: list[Any] = [branch if branch is None or branch.ndim == 2 else branch.mean(0) for branch in logits]
        means = BranchLogits(*branches)
        target = means.fused if self.supervise == 'fused' else means.tuned
        losses = dict(loss_ce=self.loss_module(target, labels))
        for name, branch in means._asdict().items():
            # Without zero-shot logits there is no fusion to report, whatever stands in its place.
            if branch is not None and not (name == 'fused' and means.zero_shot is None):
                losses[f'acc_{name}'] = 100 * (branch.detach().argmax(1) == labels).float().mean()
        return losses

    def predict(self, logits: BranchLogits, data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Write predictions into data samples.

        Args:
            logits (BranchLogits): Each ``(B, C)``; ``zero_shot`` may be None.
            data_samples (list[DataSample | None], optional): Samples to fill; new ones by default.

        Returns:
            list[DataSample]: With ``pred_score`` and ``pred_label`` of the fused logits, ``tuned_score`` and
            ``zero_shot_score`` (softmax of one branch alone), ``tuned_logits`` and ``zero_shot_logits``, as far as
            there are such, and the name of the ``fusion``; all of them on the CPU.
        """
        names = [name for name, branch in logits._asdict().items() if branch is not None]
        # One copy to the host per batch; whoever reads a sample would otherwise wait for the device each time.
        branches = torch.stack([getattr(logits, name) for name in names]).cpu()
        scores = F.softmax(branches, dim=-1)
        labels = scores[0].argmax(1, keepdim=True)
        # Rows are cut from the batch once, not from every tensor for every picture.
        fields = {
            f'{name}_{kind}': values[index].unbind()
            for index, name in enumerate(names)
            if name != 'fused'
            for kind, values in (('score', scores), ('logits', branches))
        }
        samples = data_samples if data_samples is not None else [None] * len(labels)
        filled = []
        for sample, score, label, *row in zip(samples, scores[0].unbind(), labels.unbind(), *fields.values()):
            sample = DataSample() if sample is None else sample
            sample.set_pred_score(score).set_pred_label(label)
            for name, value in zip(fields, row):
                sample.set_field(value, name)
            sample.set_field(self.fusion, 'fusion')
            filled.append(sample)
        return filled
