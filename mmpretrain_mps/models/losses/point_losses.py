"""Point-wise constraints: each feature or prediction stays where the frozen model has it.

They are baselines for the alignment of relations, and parts of other methods. One family: what is measured of each
point (:data:`DISTANCES` of features, the Kullback-Leibler divergence of logits), and whether it is summed or averaged
over the dimensions or classes of the point (:data:`REDUCTIONS`). A weight ``w`` for means over ``D`` dimensions is
``w / D`` for sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

if TYPE_CHECKING:
    from ..heads.logits_fusion_head import BranchLogits

DISTANCES = ('cosine', 'l1', 'l2')
DIVERGENCE = 'kl'
REDUCTIONS = ('sum', 'mean')


def point_distances(
    tuned: torch.Tensor, zero_shot: torch.Tensor, distance: str = 'cosine', reduction: str = 'sum', both_sides: bool = False
) -> torch.Tensor:
    r"""Distance of each feature to its own frozen counterpart.

    ``'cosine'``: :math:`1 - \langle u, z \rangle`; ``'l1'``: :math:`\sum_d |u_d - z_d|`; ``'l2'``:
    :math:`\sum_d (u_d - z_d)^2`, for unit norm twice the cosine distance. The size of sums does not depend on how many
    dimensions there are; with ``reduction='mean'`` they are divided by ``D``.

    Args:
        tuned (Tensor): Unit-norm features ``(..., D)``.
        zero_shot (Tensor): Same shape; carries no gradient here, unless ``both_sides``.
        distance (str): One of :data:`DISTANCES`.
        reduction (str): ``'sum'`` or ``'mean'`` over the dimensions; a cosine is a sum.
        both_sides (bool): Whether the gradient flows to both features.

    Returns:
        Tensor: ``(...)``, float32.

    Raises:
        ValueError: If the shapes differ, or the distance or the reduction is unknown.
    """
    _check_shapes(tuned, zero_shot, 'features')
    _check_kind(distance, reduction, DISTANCES)
    # As with Gram matrices: what is measured is small against the features themselves.
    with torch.autocast(tuned.device.type, enabled=False):
        tuned, zero_shot = tuned.float(), (zero_shot if both_sides else zero_shot.detach()).float()
        if distance == 'cosine':
            return 1 - (tuned * zero_shot).sum(-1)
        difference = tuned - zero_shot
        return _reduce(difference.abs() if distance == 'l1' else difference.square(), reduction)


def logit_divergences(
    tuned: torch.Tensor, zero_shot: torch.Tensor, temperature: float = 1.0, reduction: str = 'sum'
) -> torch.Tensor:
    r"""Kullback-Leibler divergence of the tuned from the zero-shot prediction of each picture.

    .. math:: T^2\, KL(q \| p) = T^2 \sum_c q_c (\log q_c - \log p_c), \quad q = \mathrm{softmax}(\ell_{zs} / T),\;
        p = \mathrm{softmax}(\ell_{tuned} / T)

    The factor :math:`T^2` keeps the size of gradients, as in distillation.

    Args:
        tuned (Tensor): Logits ``(..., C)``.
        zero_shot (Tensor): Same shape; carries no gradient here.
        temperature (float): :math:`T`, unitless.
        reduction (str): ``'sum'`` over the classes, the divergence itself, or ``'mean'``, which is ``1 / C`` of it.

    Returns:
        Tensor: ``(...)``, float32.

    Raises:
        ValueError: If the shapes differ or the reduction is unknown.
    """
    _check_shapes(tuned, zero_shot, 'logits')
    _check_kind(DIVERGENCE, reduction, (DIVERGENCE,))
    with torch.autocast(tuned.device.type, enabled=False):
        log_p = F.log_softmax(tuned.float() / temperature, -1)
        log_q = F.log_softmax(zero_shot.detach().float() / temperature, -1)
        terms = F.kl_div(log_p, log_q, reduction='none', log_target=True)
        return temperature**2 * _reduce(terms, reduction)


@MODELS.register_module()
class PointConstraint(BaseModule):
    r"""Keep points, whatever they are points of, at their frozen counterparts.

    .. math:: L = \lambda\, \mathrm{mean}_n\, d(u_n, z_n)

    with :math:`d` of :func:`point_distances` for features, or of :func:`logit_divergences` for logits
    (``distance='kl'``). In this form the terms of other methods are: `PromptSRC <https://arxiv.org/abs/2307.06948>`_
    ``'l1'``, ``'mean'`` of texts (25) and pictures (10) and ``'kl'``, ``'mean'`` of logits (1), as released; `TCP
    <https://arxiv.org/abs/2311.18231>`_ ``'cosine'`` of texts (8); TAC ``'l1'``, ``'mean'`` of texts (20) and pictures
    (25); TextRefiner ``'l1'``, ``'mean'`` of texts (20) with ``both_sides``.

    Args:
        distance (str): One of :data:`DISTANCES`, or ``'kl'``.
        loss_weight (float): :math:`\lambda`, unitless.
        reduction (str): ``'sum'`` or ``'mean'`` over the dimensions of a feature, or over the classes of logits.
        temperature (float): Of ``'kl'``, unitless.
        both_sides (bool): Whether the gradient flows to both features.

    Raises:
        ValueError: If the distance or the reduction is unknown, the weight is negative or the temperature not positive,
            or an argument means nothing to the distance.
    """

    def __init__(
        self,
        distance: str = 'cosine',
        loss_weight: float = 1.0,
        reduction: str = 'sum',
        temperature: float = 1.0,
        both_sides: bool = False,
    ):
        super().__init__()
        _check_kind(distance, reduction, (*DISTANCES, DIVERGENCE))
        if loss_weight < 0 or temperature <= 0:
            raise ValueError(f'PointConstraint needs a weight >= 0 and a temperature > 0, but got {loss_weight=}, {temperature=}')
        if both_sides if distance == DIVERGENCE else temperature != 1:
            argument = 'both_sides' if distance == DIVERGENCE else 'temperature'
            raise ValueError(f'{argument} means nothing to the distance {distance!r}; leave it out')
        self.distance, self.loss_weight, self.reduction = distance, loss_weight, reduction
        self.temperature, self.both_sides = temperature, both_sides

    @property
    def active(self) -> bool:
        """bool: Whether the loss counts."""
        return self.loss_weight > 0

    def forward(self, tuned: torch.Tensor, zero_shot: torch.Tensor) -> torch.Tensor:
        """Compute the weighted mean over all points.

        Args:
            tuned (Tensor): Unit-norm features ``(..., D)``, or logits ``(..., C)``.
            zero_shot (Tensor): Same shape.

        Returns:
            Tensor: Scalar, float32.
        """
        if self.distance == DIVERGENCE:
            distances = logit_divergences(tuned, zero_shot, self.temperature, self.reduction)
        else:
            distances = point_distances(tuned, zero_shot, self.distance, self.reduction, self.both_sides)
        return self.loss_weight * distances.mean()


@MODELS.register_module()
class PointAlignLoss(BaseModule):
    r"""Keep every tuned feature at its own frozen counterpart.

    .. math:: L = \lambda \sum_v (w_c\, \mathrm{mean}_b\, d(u^{cls}_{vb}, z^{cls}_{vb}) +
        w_p\, \mathrm{mean}_{bm}\, d(u_{vbm}, z_{vbm}))

    with :math:`d` of :func:`point_distances`, averaged over the pictures of the batch (and over the patch tokens of
    each), summed over the views as :class:`GramAlignLoss` does. Zero if and only if no feature moves, where
    :class:`GramAlignLoss` lets all of them move together: what `Preserve and Sculpt
    <https://arxiv.org/abs/2508.12877>`_ compares its alignment with. `PromptSRC <https://arxiv.org/abs/2307.06948>`_
    uses ``'l1'`` with ``reduction='mean'``: its weight 10 for images with ``D = 512`` is ``10 / 512`` for sums.

    Args:
        distance (str): ``'cosine'``, ``'l1'`` or ``'l2'`` (squared).
        loss_weight (float): :math:`\lambda`, unitless.
        cls_weight (float): :math:`w_c`; 0 switches the term off.
        patch_weight (float): :math:`w_p`; 0 switches the term off, and patch tokens are then not needed.
        reduction (str): ``'sum'`` or ``'mean'`` over the dimensions of a feature.

    Raises:
        ValueError: If the distance or the reduction is unknown or a weight is negative.
    """

    def __init__(
        self,
        distance: str = 'cosine',
        loss_weight: float = 1.0,
        cls_weight: float = 1.0,
        patch_weight: float = 0.0,
        reduction: str = 'sum',
    ):
        super().__init__()
        _check_kind(distance, reduction, DISTANCES)
        if min(loss_weight, cls_weight, patch_weight) < 0:
            raise ValueError(f'PointAlignLoss needs weights >= 0, but got {loss_weight=}, {cls_weight=}, {patch_weight=}')
        self.distance, self.reduction, self.loss_weight = distance, reduction, loss_weight
        self.cls_weight, self.patch_weight = cls_weight, patch_weight

    @property
    def uses_cls(self) -> bool:
        """bool: Whether the term of [CLS] counts."""
        return self.loss_weight * self.cls_weight > 0

    @property
    def uses_patch_tokens(self) -> bool:
        """bool: Whether the term of the patch tokens counts."""
        return self.loss_weight * self.patch_weight > 0

    @property
    def active(self) -> bool:
        """bool: Whether any term counts."""
        return self.uses_cls or self.uses_patch_tokens

    def patch_distances(self, tuned: torch.Tensor, zero_shot: torch.Tensor) -> torch.Tensor:
        """Compute the mean distance of the patch tokens of each picture, which does not depend on the others.

        Args:
            tuned (Tensor): Unit-norm features of all tokens ``(V, B, 1 + M, D)``, [CLS] first.
            zero_shot (Tensor): Same shape; detached here.

        Returns:
            Tensor: ``(B,)``, float32, summed over the views.
        """
        distances = point_distances(tuned[:, :, 1:], zero_shot[:, :, 1:], self.distance, self.reduction)
        return distances.mean(-1).sum(0)

    def combine(
        self,
        tuned: torch.Tensor,
        zero_shot: torch.Tensor,
        logits: BranchLogits | None = None,
        patch_distances: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted terms of a batch, which may come from several processes.

        Args:
            tuned (Tensor): Unit-norm [CLS] features ``(V, B, D)``.
            zero_shot (Tensor): Same shape; detached here.
            logits (BranchLogits, optional): Not used.
            patch_distances (Tensor, optional): Of :meth:`patch_distances`, ``(B,)``; needed where that term counts.

        Returns:
            dict[str, Tensor]: ``loss_point_cls`` and ``loss_point_patch`` as far as they count, scalars, float32.
        """
        losses = {}
        if self.uses_cls:
            distances = point_distances(tuned, zero_shot, self.distance, self.reduction)
            losses['loss_point_cls'] = self.loss_weight * self.cls_weight * distances.mean(-1).sum()
        if self.uses_patch_tokens:
            losses['loss_point_patch'] = self.loss_weight * self.patch_weight * cast(torch.Tensor, patch_distances).mean()
        return losses


@MODELS.register_module()
class LogitConsistencyLoss(BaseModule):
    r"""Keep the prediction of the tuned branch at the zero-shot one.

    .. math:: L = \lambda \sum_v \mathrm{mean}_b\, T^2\, KL(q_{vb} \| p_{vb})

    with :math:`q` of the zero-shot and :math:`p` of the tuned logits, see :func:`logit_divergences`: averaged over the
    pictures of the batch, summed over the views. The kind of constraint, with the direction, of `PromptSRC
    <https://arxiv.org/abs/2307.06948>`_, whose ``reduction`` is ``'mean'``.

    Args:
        loss_weight (float): :math:`\lambda`, unitless.
        temperature (float): :math:`T`, unitless; logits already carry CLIP's scale.
        reduction (str): ``'sum'`` or ``'mean'`` over the classes.

    Raises:
        ValueError: If the weight is negative, the temperature is not positive or the reduction unknown.
    """

    uses_patch_tokens = False

    def __init__(self, loss_weight: float = 1.0, temperature: float = 1.0, reduction: str = 'sum'):
        super().__init__()
        _check_kind(DIVERGENCE, reduction, (DIVERGENCE,))
        if loss_weight < 0 or temperature <= 0:
            raise ValueError(
                f'LogitConsistencyLoss needs a weight >= 0 and a temperature > 0, but got {loss_weight=}, {temperature=}'
            )
        self.loss_weight, self.temperature, self.reduction = loss_weight, temperature, reduction

    @property
    def active(self) -> bool:
        """bool: Whether the loss counts."""
        return self.loss_weight > 0

    def combine(
        self,
        tuned: torch.Tensor | None,
        zero_shot: torch.Tensor | None,
        logits: BranchLogits,
        patch_distances: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted loss of a batch, which may come from several processes.

        Args:
            tuned (Tensor): Not used.
            zero_shot (Tensor): Not used.
            logits (BranchLogits): ``tuned`` and ``zero_shot`` count, ``(V, B, C)``.
            patch_distances (Tensor, optional): Not used.

        Returns:
            dict[str, Tensor]: ``loss_logit_kl``, scalar, float32.
        """
        divergences = logit_divergences(logits.tuned, cast(torch.Tensor, logits.zero_shot), self.temperature, self.reduction)
        return dict(loss_logit_kl=self.loss_weight * divergences.mean(-1).sum())


def _reduce(terms, reduction):
    return terms.sum(-1) if reduction == 'sum' else terms.mean(-1)


def _check_kind(distance, reduction, distances):
    if distance not in distances:
        raise ValueError(f'distance must be one of {distances}, but is {distance!r}')
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be one of {REDUCTIONS}, but is {reduction!r}')
    if distance == 'cosine' and reduction != 'sum':
        raise ValueError("a cosine has no mean over dimensions; reduction must be 'sum' with the distance 'cosine'")


def _check_shapes(tuned, zero_shot, what):
    if tuned.shape != zero_shot.shape:
        raise ValueError(
            f'tuned and zero-shot {what} must have one shape, but got {tuple(tuned.shape)} and {tuple(zero_shot.shape)}'
        )
