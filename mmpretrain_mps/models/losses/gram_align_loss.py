"""Manifold alignment: keep the pairwise geometry of features while they are tuned."""

from typing import cast

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS


def gram_distances(tuned: torch.Tensor, zero_shot: torch.Tensor, p: float = 1.0) -> torch.Tensor:
    r"""Mean p-th power of the difference of two Gram matrices, for each of a stack of feature sets.

    .. math:: d = \mathrm{mean}_{ij} |\langle u_i, u_j \rangle - \langle z_i, z_j \rangle|^p

    Args:
        tuned (Tensor): Unit-norm features ``(..., N, D)``.
        zero_shot (Tensor): Same shape; carries no gradient here.
        p (float): Order of the norm.

    Returns:
        Tensor: ``(...)``, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    if tuned.shape != zero_shot.shape:
        raise ValueError(
            f'tuned and zero-shot features must have one shape, but got {tuple(tuned.shape)} and {tuple(zero_shot.shape)}'
        )
    # Differences of cosines are small against the cosines themselves: bf16 products would drown them.
    with torch.autocast(tuned.device.type, enabled=False):
        tuned, zero_shot = tuned.float(), zero_shot.detach().float()
        difference = tuned @ tuned.mT - zero_shot @ zero_shot.mT
        powers = difference.abs() if p == 1 else difference.abs().pow(p)
        return powers.mean((-2, -1))


def gram_distance(tuned: torch.Tensor, zero_shot: torch.Tensor, p: float = 1.0) -> torch.Tensor:
    """Sum :func:`gram_distances` over the views, averaged over everything else.

    Args:
        tuned (Tensor): Unit-norm features ``(V, ..., N, D)``; the first axis holds the views.
        zero_shot (Tensor): Same shape; carries no gradient here.
        p (float): Order of the norm.

    Returns:
        Tensor: Scalar, float32: the mean over all Gram entries of a view, summed over the views.

    Raises:
        ValueError: If the shapes differ.
    """
    distances = gram_distances(tuned, zero_shot, p)
    return distances.sum() / (distances.numel() // len(distances))


@MODELS.register_module()
class GramAlignLoss(BaseModule):
    r"""Manifold alignment (MAR): Gram matrices of the tuned features stay as the frozen model has them.

    .. math:: L = \lambda_1 (w_g\, d(U^{cls}, Z^{cls}) + w_l\, \mathrm{mean}_b\, d(U_b, Z_b))

    with :math:`d` of :func:`gram_distance`: globally over the [CLS] features of the batch (N x N per view), locally
    over the tokens of each picture (L x L), each summed over the views. It bounds the Gromov-Wasserstein distance with
    the coupling fixed to the identity. `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3.2.
    Differs from the released code: nowhere (``p=1``).

    Args:
        loss_weight (float): :math:`\lambda_1`, unitless.
        p (float): Order of the norm, at least 1.
        global_weight (float): :math:`w_g`; 0 switches the term off.
        local_weight (float): :math:`w_l`; 0 switches the term off, and patch tokens are then not needed.

    Raises:
        ValueError: If a weight is negative or ``p`` is below 1.
    """

    def __init__(self, loss_weight: float = 0.5, p: float = 1.0, global_weight: float = 1.0, local_weight: float = 1.0):
        super().__init__()
        if min(loss_weight, global_weight, local_weight) < 0 or p < 1:
            raise ValueError(
                f'GramAlignLoss needs weights >= 0 and p >= 1, but got {loss_weight=}, {global_weight=}, {local_weight=}, {p=}'
            )
        self.loss_weight, self.p = loss_weight, p
        self.global_weight, self.local_weight = global_weight, local_weight

    @property
    def uses_cls(self) -> bool:
        """bool: Whether the global term counts."""
        return self.loss_weight * self.global_weight > 0

    @property
    def uses_patch_tokens(self) -> bool:
        """bool: Whether the local term counts."""
        return self.loss_weight * self.local_weight > 0

    @property
    def active(self) -> bool:
        """bool: Whether any term counts."""
        return self.uses_cls or self.uses_patch_tokens

    def forward(self, tuned: torch.Tensor, zero_shot: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the terms that are switched on.

        Args:
            tuned (Tensor): Unit-norm features ``(V, B, L, D)``, [CLS] first; ``L`` may be 1 without the local term.
            zero_shot (Tensor): Same shape; detached here.

        Returns:
            dict[str, Tensor]: ``loss_gram_global`` and ``loss_gram_local``, weighted scalars, float32.

        Raises:
            ValueError: If the shapes differ or are not four-dimensional.
        """
        if tuned.ndim != 4:
            raise ValueError(f'GramAlignLoss takes features of shape (V, B, L, D), but got {tuple(tuned.shape)}')
        local = self.local_distances(tuned, zero_shot) if self.uses_patch_tokens else None
        return self.combine(tuned[:, :, 0], zero_shot[:, :, 0], local)

    def local_distances(self, tuned: torch.Tensor, zero_shot: torch.Tensor) -> torch.Tensor:
        """Compute the local distance of each picture, which does not depend on the others.

        Args:
            tuned (Tensor): Unit-norm features of all tokens ``(V, B, L, D)``.
            zero_shot (Tensor): Same shape; detached here.

        Returns:
            Tensor: ``(B,)``, float32, summed over the views.

        Raises:
            ValueError: If the shapes differ.
        """
        return gram_distances(tuned, zero_shot, self.p).sum(0)

    def combine(
        self, tuned_cls: torch.Tensor, zero_shot_cls: torch.Tensor, local_distances: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted terms of a batch, which may come from several processes.

        Args:
            tuned_cls (Tensor): Unit-norm [CLS] features ``(V, B, D)``.
            zero_shot_cls (Tensor): Same shape; detached here.
            local_distances (Tensor, optional): Of :meth:`local_distances`, ``(B,)``; needed where that term counts.

        Returns:
            dict[str, Tensor]: As :meth:`forward`.
        """
        losses = {}
        if self.uses_cls:
            distance = gram_distance(tuned_cls, zero_shot_cls, self.p)
            losses['loss_gram_global'] = self.loss_weight * self.global_weight * distance
        if self.uses_patch_tokens:
            losses['loss_gram_local'] = self.loss_weight * self.local_weight * cast(torch.Tensor, local_distances).mean()
        return losses
