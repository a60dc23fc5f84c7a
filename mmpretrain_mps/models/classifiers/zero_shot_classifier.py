"""CLIP as it is: what every method starts from and is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from .clip_classifier import CLIPClassifier, cls_features
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..heads.logits_fusion_head import BranchLogits
    from ..utils.test_features import TestFeatures


@MODELS.register_module()
class ZeroShotClassifier(CLIPClassifier):
    r"""Zero-shot CLIP: the class whose text is nearest to the picture.

    .. math:: \ell_c = s \cos(z, t_c)

    `Learning Transferable Visual Models From Natural Language Supervision <https://arxiv.org/abs/2103.00020>`_, Section
    3.1. Nothing is trained, so that it is tested without a checkpoint. Its three kinds of logits are the same.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        class_names (Sequence[str], optional): Readable names, index = label.
        templates (Sequence[str], optional): Prompt templates; they take precedence over the data set's.
        **kwargs: Others of :class:`CLIPClassifier`.
    """

    method = 'zero_shot'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, templates=templates, **kwargs)
        if class_names is not None:
            self.set_classes(class_names, templates)

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features ``(B, D)``."""
        return F.normalize(self.backbone(images).cls, dim=-1)

    def loss(self, views: Any, data_samples: Any) -> dict[str, torch.Tensor]:
        """Refuse to be trained."""
        raise ValueError('ZeroShotClassifier has nothing to train: test it, without a checkpoint')

    @torch.no_grad()
    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = True,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of the frozen model; see :meth:`CLIPClassifier.branch_logits`."""
        self.refuse_layers(wanted)
        features = self.zero_shot_features(images, data_samples)
        logits = self.cosine_logits(features, self.unit_prototypes())
        return self.head.branches(logits, logits), cls_features(features, features)
