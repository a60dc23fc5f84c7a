"""Methods whose trained part sees nothing of pictures but frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .clip_classifier import CLIPClassifier


class ImageFeatures(NamedTuple):
    """What frozen networks make of ``N`` pictures, not of unit norm, float32."""

    cls: torch.Tensor
    """[CLS] features of CLIP ``(N, D)``."""
    auxiliary: torch.Tensor | None = None
    """Pooled features of another network ``(N, A)``; None where there is none."""


class LabelledFeatures(NamedTuple):
    """The same of ``N`` views of training pictures, with their classes."""

    labels: torch.Tensor
    """``(N,)``, int64."""
    cls: torch.Tensor
    auxiliary: torch.Tensor | None = None


class FrozenImageClassifier(CLIPClassifier):
    """A classifier that is trained on frozen features of pictures.

    They do not change while it is trained: with a view bank an epoch costs no network. Of several views of a picture
    each counts as a picture.
    """

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features of the frozen model, ``(B, D)``."""
        return torch.nn.functional.normalize(self.backbone(images).cls, dim=-1)

    def frozen_features(self, images: torch.Tensor) -> ImageFeatures:
        """Compute the features of pictures; see :meth:`CLIPClassifier.frozen_features`."""
        self._check_size(images)
        return ImageFeatures(self.backbone(images).cls)

    def picture_batch(self, views: Sequence[torch.Tensor] | NamedTuple, labels: torch.Tensor) -> LabelledFeatures:
        """Put features and classes together; see :meth:`CLIPClassifier.picture_batch`."""
        frozen = self.frozen_of(views)
        return LabelledFeatures(labels.repeat(len(frozen.cls) // len(labels)), *frozen)
