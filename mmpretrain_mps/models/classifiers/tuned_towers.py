"""What methods share that train something within the towers of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from .clip_classifier import CLIPClassifier, cls_features
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..heads.logits_fusion_head import BranchLogits
    from ..utils.test_features import TestFeatures


class PictureBatch(NamedTuple):
    """What the losses see of ``N`` pictures, further views being further pictures."""

    labels: torch.Tensor
    """``(N,)``, int64."""
    tuned: torch.Tensor
    """Unit-norm features of the tuned tower ``(N, D)``."""
    zero_shot: torch.Tensor | None
    """Unit-norm features of the frozen tower ``(N, D)``; None where nothing depends on them."""


class TunedTowersClassifier(CLIPClassifier):
    """Base of methods whose pictures and texts go through tuned towers in every step.

    A method says what these are, in ``picture_features`` and ``class_features``, and what its losses are; predictions are
    scaled cosines of both. The frozen tower runs only where something depends on it.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        chunk_size (int, optional): Classes whose texts are computed at a time; see :class:`TextTower`.
        head (dict, optional): Config of the fusion head. Defaults to the tuned branch alone, ``alpha`` 1.
        **kwargs: Others of :class:`CLIPClassifier`.
    """

    keeps_text_tower = True
    has_two_towers = True

    def __init__(
        self, architecture: str, pretrained: str | None, chunk_size: int | None = None, head: dict | None = None, **kwargs: Any
    ):
        super().__init__(architecture, pretrained, head={'alpha': 1.0, **(head or {})}, **kwargs)
        self.text_tower.chunk_size = chunk_size

    @property
    def uses_zero_shot(self) -> bool:
        """bool: Whether a loss depends on frozen features of the pictures."""
        return self.head.uses_zero_shot

    def frozen_cls(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features of the frozen tower, ``(B, D)``."""
        with torch.no_grad():
            return F.normalize(self.backbone(images).cls, dim=-1)

    def plain_tower(self) -> dict[str, torch.Tensor]:
        """Refuse prompts in the vision tower; see :meth:`CLIPClassifier.plain_tower`."""
        if len(getattr(self, 'vision_prompts', ())):
            raise ValueError('its prompt vectors stand among the patches of the picture in the blocks of the vision tower')
        return super().plain_tower()

    def picture_batch(self, views: Sequence[torch.Tensor] | NamedTuple, labels: torch.Tensor) -> PictureBatch:
        """Run the tuned tower on all views, and the frozen one as far as a loss needs it.

        Returns:
            PictureBatch: Of this process.
        """
        images = torch.cat(list(views))
        tuned = self.picture_features(images)
        return PictureBatch(labels.repeat(len(views)), tuned, self.frozen_cls(images) if self.uses_zero_shot else None)

    def classify(self, batch: PictureBatch, texts: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute the tuned logits of a batch, and cross-entropy.

        Args:
            batch (PictureBatch): Of all processes.
            texts (Tensor): Of ``class_features``, ``(C, D)``.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Tuned logits ``(N, C)``; ``loss_ce`` and accuracies.
        """
        logits = self.cosine_logits(batch.tuned, texts)
        zero_shot = self.cosine_logits(batch.zero_shot, self.unit_prototypes()) if self.head.uses_zero_shot else None
        return logits, self.head.loss(self.head.branches(logits, zero_shot), batch.labels)

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = False,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the tuned logits and, as far as asked for, the frozen ones; see :class:`CLIPClassifier`."""
        self.refuse_layers(wanted)
        tuned = self.picture_features(images)
        tuned_logits = self.cosine_logits(tuned, self.cached_class_features())
        if not zero_shot and self.head.alpha == 1:
            return self.head.branches(tuned_logits, None), cls_features(tuned, None)
        frozen = self.zero_shot_features(images, data_samples, self.frozen_cls)
        logits = self.head.branches(tuned_logits, self.cosine_logits(frozen, self.unit_prototypes()))
        return logits, cls_features(tuned, frozen)
