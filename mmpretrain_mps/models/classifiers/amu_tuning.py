"""AMU-Tuning: a bias of CLIP's logits from the features of another frozen network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..fusion.uncertainty import MOMENT_SCALE, UNCERTAINTIES, standardize, uncertainty
from ..loading.auxiliary import IMAGENET_MEAN, IMAGENET_STD, MOCO_V3, AuxiliaryNetwork, ChannelStatistics, require_auxiliary
from ..loading.clip_loader import clip_preprocess
from .logit_bias_classifier import LogitBiasClassifier

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..utils.fusion_search import Bias
    from .frozen_image_classifier import ImageFeatures, LabelledFeatures


@MODELS.register_module()
class AMUTuningClassifier(LogitBiasClassifier):
    r"""Zero-shot CLIP and a linear layer on auxiliary features, weighed by how unsure CLIP is.

    .. math:: \ell = z + \alpha\, q(z)\, a, \qquad a = \mathrm{standardize}(W \mathrm{unit}(g)), \qquad
        L = \lambda\, CE(\ell) + (1 - \lambda)\, CE(a)

    `AMU-Tuning <https://arxiv.org/abs/2404.08958>`_, Section 3: :math:`z` are 100 times the cosines with CLIP's texts,
    :math:`g` features of the same crop in another network, :math:`q` is :func:`uncertainty`, and ``W`` starts as the
    mean unit-norm auxiliary features of each class. The paper has ``'moment'``; the command of the released code
    ``'none'``.

    It knows the classes that it was trained on, or some of them; never others. A network that was trained on ImageNet
    has seen more of its pictures than the few; MoCo v3 did.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        auxiliary (dict, optional): Config of a backbone of mmpretrain. Defaults to ResNet-50.
        auxiliary_weights (dict | None): ``checkpoint`` (file or URL) and ``prefix``, see :class:`AuxiliaryNetwork`;
            None for random weights. Defaults to OpenMMLab's MoCo v3 of 800 epochs.
        auxiliary_mean (Sequence[float]): Of its pictures, RGB on a scale of 0 to 1.
        auxiliary_std (Sequence[float]): The same.
        uncertainty (str): One of :data:`UNCERTAINTIES`.
        uncertainty_power (float): Of all kinds but ``'none'`` and ``'var'``.
        moment_scale (float): Of ``'moment'``.
        fused_weight (float): :math:`\lambda`, 0 to 1.
        head (dict): Config of the fusion head; its ``alpha`` is 0.5 by default.
        logit_scale (float): Factor on cosines with texts; the released code has 100, whatever CLIP learned.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        **kwargs: Others of :class:`CLIPClassifier`.

    Raises:
        FileNotFoundError: If auxiliary weights are neither on disk nor to be had.
        ValueError: If they do not fit the network, or a setting lies outside its range.
    """

    method = 'amu_tuning'
    inner_name, layer_name = 'uncertainty_power', 'auxiliary_weight'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        auxiliary: dict[str, Any] | None = None,
        auxiliary_weights: dict[str, Any] | None = MOCO_V3,
        auxiliary_mean: Sequence[float] = IMAGENET_MEAN,
        auxiliary_std: Sequence[float] = IMAGENET_STD,
        uncertainty: str = 'moment',
        uncertainty_power: float = 0.4,
        moment_scale: float = MOMENT_SCALE,
        fused_weight: float = 0.35,
        head: dict[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        if uncertainty not in UNCERTAINTIES:
            raise ValueError(f'uncertainty must be one of {UNCERTAINTIES}, but is {uncertainty!r}')
        if not 0 <= fused_weight <= 1 or moment_scale <= 0:
            raise ValueError(
                'AMUTuningClassifier needs a fused_weight between 0 and 1 and a moment_scale above 0, but '
                f'got {fused_weight=}, {moment_scale=}'
            )
        super().__init__(
            architecture, pretrained, uncertainty_power, head={'alpha': 0.5, **(head or {})}, templates=templates, **kwargs
        )
        preprocess = clip_preprocess(architecture, pretrained)
        self.auxiliary = AuxiliaryNetwork(
            auxiliary or dict(type='ResNet', depth=50),
            auxiliary_weights,
            ChannelStatistics(preprocess.mean, preprocess.std),
            ChannelStatistics(auxiliary_mean, auxiliary_std),
            self.image_size,
        )
        self.uncertainty, self.moment_scale, self.fused_weight = uncertainty, moment_scale, fused_weight
        self.register_class_parameter('auxiliary_weight', torch.zeros(0, self.auxiliary.dims))
        self._filled = False
        if class_names is not None:
            self.set_classes(class_names, templates)

    @classmethod
    def require_files(cls, config: dict[str, Any]) -> None:
        """Raise FileNotFoundError if weights of CLIP or of the auxiliary network are not to be had."""
        super().require_files(config)
        require_auxiliary(config.get('auxiliary_weights', MOCO_V3))

    def describe_method(self) -> dict[str, Any]:
        """Return what a checkpoint must share."""
        return dict(
            super().describe_method(),
            auxiliary_sha256=self.auxiliary.sha256(),
            uncertainty=self.uncertainty,
            moment_scale=self.moment_scale,
        )

    @property
    def inner_matters(self) -> bool:
        """bool: Whether the uncertainty has a power."""
        return self.uncertainty not in ('none', 'var')

    @property
    def has_started(self) -> bool:
        """bool: Whether the layer has been filled with class means, here or in a checkpoint."""
        return self._filled

    def frozen_features(self, images: torch.Tensor) -> ImageFeatures:
        """Compute the features of both networks; see :meth:`CLIPClassifier.frozen_features`."""
        return super().frozen_features(images)._replace(auxiliary=self.auxiliary(images))

    def test_time_features(self, images: torch.Tensor, data_samples: Sequence[DataSample] | None = None) -> ImageFeatures:
        """Compute the features of both networks for a prediction."""
        return super().test_time_features(images, data_samples)._replace(auxiliary=self.auxiliary(images))

    def start_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the un-normalised auxiliary features."""
        self._check_size(images)
        return self.auxiliary(images)

    def start_from(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Start from class sums of unit-norm features over the mean number of pictures of a class."""
        self.check_labels(labels)
        weight, labels = self.auxiliary_weight, labels.to(self.auxiliary_weight.device)
        unit = F.normalize(features, dim=-1).to(weight)
        sums = torch.zeros_like(weight).index_add_(0, labels, unit)
        weight.data = sums / (len(labels) / len(self.class_names))
        self._filled = True

    def auxiliary_logits(self, auxiliary: torch.Tensor) -> torch.Tensor:
        """Return the standardised logits ``(B, C)`` of the layer."""
        with torch.autocast(auxiliary.device.type, enabled=False):
            return standardize(F.linear(F.normalize(auxiliary.float(), dim=-1), self.auxiliary_weight))

    def plain_tower(self) -> dict[str, torch.Tensor]:
        """Refuse; see :meth:`CLIPClassifier.plain_tower`."""
        raise ValueError('it looks at every picture with a second network as well')

    def zero_shot_and_bias(self, features: ImageFeatures | LabelledFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute zero-shot logits, and the auxiliary logits weighed by the uncertainty."""
        zero_shot = self.zero_shot_logits(features.cls)
        return zero_shot, self.factor(zero_shot, self.inner) * self.auxiliary_logits(features.auxiliary)

    def search_terms(self, features: ImageFeatures) -> tuple[torch.Tensor, Bias]:
        """Compute zero-shot logits, and the bias as a function of the power of the uncertainty."""
        zero_shot, auxiliary = self.zero_shot_logits(features.cls), self.auxiliary_logits(features.auxiliary)
        return zero_shot, lambda power: self.factor(zero_shot, power) * auxiliary

    def losses(self, batch: LabelledFeatures) -> dict[str, torch.Tensor]:
        """Compute both cross-entropies and accuracies; see :meth:`CLIPClassifier.losses`."""
        zero_shot, auxiliary = self.zero_shot_logits(batch.cls), self.auxiliary_logits(batch.auxiliary)
        bias = self.factor(zero_shot, self.inner) * auxiliary
        losses = self.head.loss(self.head.branches(bias, zero_shot), batch.labels)
        losses['loss_ce'] = self.fused_weight * losses['loss_ce']
        if self.fused_weight < 1:
            losses['loss_auxiliary'] = (1 - self.fused_weight) * self.head.loss_module(auxiliary, batch.labels)
        return losses

    def factor(self, zero_shot: torch.Tensor, power: float) -> torch.Tensor:
        """Return the factor ``(B, 1)`` on the auxiliary logits of zero-shot logits ``(B, C)``."""
        return uncertainty(zero_shot, self.uncertainty, power, self.moment_scale)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._filled = bool(self.auxiliary_weight.any())
