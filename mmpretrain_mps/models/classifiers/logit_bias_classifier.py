"""Methods that add a bias, learned of each class, to the logits of zero-shot CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..fusion.fusion_search import Bias, count_right
from ..heads.logits_fusion_head import BranchLogits, check_alpha
from .clip_classifier import cls_features
from .frozen_image_classifier import FrozenImageClassifier, ImageFeatures
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..utils.test_features import TestFeatures
    from .frozen_image_classifier import LabelledFeatures

# Zero-shot logits are 100 times the cosine in the released codes, whatever scale CLIP learned.
LOGIT_SCALE = 100.0


class LogitBiasClassifier(FrozenImageClassifier):
    r"""Zero-shot CLIP and a bias that a layer of the classes reads from frozen features.

    .. math:: \ell = z + \alpha\, b(x; \kappa)

    The layer starts from features of the training pictures (:meth:`start_from`), which :class:`FeatureStartLoop`
    extracts. :math:`\kappa` is a number of the bias (:attr:`inner_name`), :math:`\alpha` its weight, ``head.alpha``;
    both may be searched on validation pictures once the layer is there (:meth:`count_right`, :meth:`set_fusion`). The
    pair that was found is the buffer ``fusion_point`` of checkpoints, and takes the place of the config's; without a
    search it is zero.

    A subclass registers the parameter :attr:`layer_name` with a leading class axis, and gives
    :meth:`zero_shot_and_bias` and :meth:`start_features`.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        inner (float): :math:`\kappa`.
        head (dict): Config of the fusion head, whose fusion is additive.
        logit_scale (float): Factor on cosines.
        **kwargs: Others of :class:`CLIPClassifier`.

    Raises:
        ValueError: If the fusion is not additive.
    """

    inner_name = ''
    layer_name = ''
    inner_matters = True
    """Whether the bias depends on the number at all."""
    search_chunk = 4096
    """Pictures that a search looks at together."""

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        inner: float,
        head: dict[str, Any] | None = None,
        logit_scale: float = LOGIT_SCALE,
        **kwargs: Any,
    ):
        head = {'fusion': 'additive', **(head or {})}
        if head['fusion'] != 'additive':
            raise ValueError(
                f"{type(self).__name__} adds a bias to zero-shot logits: head.fusion must be 'additive', "
                f'but is {head["fusion"]!r}'
            )
        super().__init__(architecture, pretrained, head=head, logit_scale=logit_scale, **kwargs)
        self._set_inner(inner)
        self.register_buffer('fusion_point', torch.zeros(2, dtype=torch.float64))

    def _set_inner(self, inner):
        if not 0 < inner < float('inf'):
            raise ValueError(f'{self.inner_name} must be a number above 0, but is {inner}')
        self.inner = float(inner)

    def describe_method(self) -> dict[str, Any]:
        """Return what a checkpoint must share."""
        return dict(logit_scale=self.logit_scale)

    def describe_prediction(self) -> dict[str, Any]:
        """Return what decides predictions; numbers that were searched are in the buffer ``fusion_point``."""
        settings = {**super().describe_prediction(), f'model.{self.inner_name}': self.inner}
        if self.fusion_point.any():
            settings = {
                name: value for name, value in settings.items() if name not in ('model.head.alpha', f'model.{self.inner_name}')
            }
        return settings

    # The layer.

    @property
    def has_started(self) -> bool:
        """bool: Whether the layer has been filled with features of training pictures, here or in a checkpoint."""
        raise NotImplementedError

    def start_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the un-normalised features ``(N, A)`` that the layer starts from, of pictures ``(N, 3, H, W)``."""
        raise NotImplementedError

    def start_from(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Fill the layer.

        Args:
            features (Tensor): Un-normalised, averaged over the views of each picture, ``(N, A)``.
            labels (Tensor): Their classes ``(N,)``, int64.

        Raises:
            ValueError: If a class has no picture.
        """
        raise NotImplementedError

    def check_labels(self, labels: torch.Tensor) -> None:
        """Raise ValueError if one of the classes is that of no picture."""
        absent = sorted(set(range(len(self.class_names))) - set(labels.tolist()))
        if absent:
            raise ValueError(
                f'{len(absent)} of {len(self.class_names)} classes have no training picture that '
                f'{type(self).__name__} could start from, label {absent[0]} '
                f'({self.class_names[absent[0]]!r}) first; expected one at least'
            )

    @property
    def bound_to_classes(self) -> bool:
        """bool: Whether the layer has been filled."""
        return self.has_started

    # Logits.

    def zero_shot_and_bias(self, features: ImageFeatures | LabelledFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute zero-shot logits and the bias, both ``(B, C)``, in float32."""
        raise NotImplementedError

    def search_terms(self, features: ImageFeatures) -> tuple[torch.Tensor, Bias]:
        """Compute zero-shot logits ``(B, C)``, and the bias as a function of its number."""
        raise NotImplementedError

    def zero_shot_logits(self, cls: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines ``(B, C)`` of features ``(B, D)`` of any norm with the prototypes."""
        return self.cosine_logits(F.normalize(cls.float(), dim=-1), self.unit_prototypes())

    def losses(self, batch: LabelledFeatures) -> dict[str, torch.Tensor]:
        """Compute cross-entropy of the fused logits and accuracies; see :meth:`CLIPClassifier.losses`."""
        return self.head.loss(self.fused(batch), batch.labels)

    def fused(self, features: ImageFeatures | LabelledFeatures) -> BranchLogits:
        """Return the logits of features; the tuned ones are the bias."""
        zero_shot, bias = self.zero_shot_and_bias(features)
        return self.head.branches(bias, zero_shot)

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = True,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute zero-shot logits, the bias and their sum; see :meth:`CLIPClassifier.branch_logits`."""
        self.refuse_layers(wanted)
        self.check_started()
        features = self.test_time_features(images, data_samples)
        unit = F.normalize(features.cls, dim=-1)
        return self.fused(features), cls_features(unit, unit)

    def test_time_features(self, images: torch.Tensor, data_samples: Sequence | None = None) -> ImageFeatures:
        """Return the features of pictures; those of CLIP may be cached ones, of unit norm."""
        return ImageFeatures(self.zero_shot_features(images, data_samples))

    def check_started(self) -> None:
        """Raise ValueError if the layer is empty."""
        if not self.has_started:
            raise ValueError(
                f'{type(self).__name__} has seen no training pictures: train it with FeatureStartLoop, or load a checkpoint'
            )

    # Search.

    def count_right(
        self, features: ImageFeatures, labels: torch.Tensor, inners: Sequence[float], alphas: Sequence[float]
    ) -> torch.Tensor:
        """Count right predictions for every pair of the two numbers; see :func:`.fusion_search.count_right`.

        Args:
            features (ImageFeatures): Of all pictures, on any device.
            labels (Tensor): Classes ``(N,)``.
            inners (Sequence[float]): Values of :attr:`inner_name`.
            alphas (Sequence[float]): Weights of the bias.

        Returns:
            Tensor: ``(number of inners, number of alphas)``, int64, on the host.
        """
        device = self.text_prototypes.device

        def terms(pictures: slice) -> tuple[torch.Tensor, Bias]:
            """Return zero-shot logits and bias of some of the pictures."""
            parts = (None if part is None else part[pictures].to(device) for part in features)
            return self.search_terms(ImageFeatures(*parts))

        return count_right(terms, labels.to(device), inners, alphas, self.search_chunk)

    def set_fusion(self, inner: float, alpha: float) -> None:
        """Predict with these two numbers from now on, and in all that load this model's state."""
        check_alpha(alpha, self.head.fusion)
        self._set_inner(inner)
        self.head.alpha = alpha
        self.fusion_point.copy_(torch.tensor([inner, alpha], dtype=torch.float64))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        layer, name = getattr(self, self.layer_name), prefix + self.layer_name
        if name in state_dict and state_dict[name].shape != layer.shape:
            # As many pictures of a class as the checkpoint has; the optimizer may hold the parameter already.
            layer.data = layer.new_zeros(state_dict[name].shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
        point = state_dict.get(f'{prefix}fusion_point')
        if point is not None and point.any():
            self.set_fusion(*point.tolist())
