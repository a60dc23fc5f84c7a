"""CLIP-Adapter: a bottleneck on the frozen features of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmpretrain.registry import MODELS

from ..adapters.bottleneck_adapter import BottleneckAdapter
from .clip_classifier import cls_features
from .frozen_image_classifier import FrozenImageClassifier
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..heads.logits_fusion_head import BranchLogits
    from ..utils.test_features import TestFeatures
    from .frozen_image_classifier import LabelledFeatures


@MODELS.register_module()
class CLIPAdapterClassifier(FrozenImageClassifier):
    r"""CLIP-Adapter.

    .. math:: u = \mathrm{unit}(\rho\, a(v) + (1 - \rho)\, v), \qquad \ell_c = s \cos(u, t_c)

    `CLIP-Adapter <https://arxiv.org/abs/2110.04544>`_, Section 3.2, with the adapter :math:`a` of
    :class:`BottleneckAdapter` on the un-normalised features :math:`v` of pictures. As in the released code there is no
    adapter on the side of the texts. It does not know the classes, so that it predicts any.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        ratio (float): :math:`\rho`, share of the adapter, 0 to 1; the paper chooses it for each data set.
        reduction (int): The bottleneck has ``D // reduction`` dimensions.
        final_relu (bool): A ReLU behind the second layer, as in the released code; the paper has none.
        head (dict): Config of the fusion head; its ``alpha`` is 1, the adapted features alone, by default.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        **kwargs: Others of :class:`CLIPClassifier`.

    Raises:
        ValueError: If ``ratio`` or ``reduction`` lies outside its range.
    """

    method = 'clip_adapter'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        ratio: float = 0.2,
        reduction: int = 4,
        final_relu: bool = True,
        head: dict[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        if not 0 <= ratio <= 1:
            raise ValueError(f'ratio must lie between 0 and 1, but is {ratio}')
        super().__init__(architecture, pretrained, head={'alpha': 1.0, **(head or {})}, templates=templates, **kwargs)
        self.ratio = ratio
        self.adapter = BottleneckAdapter(self.backbone.embed_dims, reduction, final_relu)
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self) -> dict[str, Any]:
        """Return what a checkpoint must share."""
        return dict(ratio=self.ratio, bottleneck=len(self.adapter.down.weight), final_relu=self.adapter.final_relu)

    def plain_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse; see :meth:`CLIPClassifier.plain_layer`."""
        raise ValueError('its adapter, a network of two layers, changes the features behind the vision tower')

    def losses(self, batch: LabelledFeatures) -> dict[str, torch.Tensor]:
        """Compute cross-entropy and accuracies; see :meth:`CLIPClassifier.losses`."""
        logits, *_ = self._logits(batch.cls, self.unit_prototypes(), self.head.uses_zero_shot)
        return self.head.loss(logits, batch.labels)

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = False,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of adapted and of frozen features; see :meth:`CLIPClassifier.branch_logits`."""
        self.refuse_layers(wanted)
        # Cached features are of unit norm, but the adapter reads the norm as well.
        logits, *features = self._logits(
            self.backbone(images).cls, self.cached_class_features(), zero_shot or self.head.uses_zero_shot
        )
        return logits, cls_features(*features)

    def _logits(self, cls, texts, zero_shot):
        adapted, frozen = self.adapter.blend(cls, self.ratio), torch.nn.functional.normalize(cls, dim=-1)
        logits = self.head.branches(self.cosine_logits(adapted, texts), self.cosine_logits(frozen, texts) if zero_shot else None)
        return logits, adapted, frozen
