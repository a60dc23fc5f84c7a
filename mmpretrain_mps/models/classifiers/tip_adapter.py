"""Tip-Adapter and Tip-Adapter-F: the few pictures as a memory beside zero-shot CLIP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..fusion.feature_cache import affinities, cache_bias, cache_logits, sort_by_class
from .logit_bias_classifier import LogitBiasClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from ..utils.fusion_search import Bias
    from .class_texts import ClassTexts
    from .frozen_image_classifier import ImageFeatures, LabelledFeatures

# Similarities that are held at once in a search: 16 MB in float32.
_SIMILARITIES = 2**22


@MODELS.register_module()
class TipAdapterClassifier(LogitBiasClassifier):
    r"""Zero-shot CLIP and what a memory of the training pictures says.

    .. math:: \ell_c = 100 \cos(f, w_c) + \alpha \sum_{k} \exp(-\beta (1 - \langle f, k_{ck} \rangle))

    `Tip-Adapter <https://arxiv.org/abs/2207.09519>`_, Section 3. A key :math:`k` is the unit-norm mean of a picture's
    un-normalised features over several random crops. Tip-Adapter trains nothing: ``FeatureStartLoop`` without
    ``max_epochs``. Tip-Adapter-F trains the keys, which then keep no unit norm.

    Classes without pictures in the memory are predicted zero-shot: those of another data set, or new ones.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        beta (float): :math:`\beta`, sharpness of the memory. Defaults to the paper's.
        head (dict): Config of the fusion head; its ``alpha`` is 1 by default, the paper's.
        logit_scale (float): Factor on cosines with texts; the released code has 100, whatever CLIP learned.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        **kwargs: Others of :class:`CLIPClassifier`.

    Raises:
        ValueError: If ``beta`` is not positive, or the fusion not additive.
    """

    method = 'tip_adapter'
    inner_name, layer_name = 'beta', 'cache_keys'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        beta: float = 5.5,
        head: dict[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, beta, head={'alpha': 1.0, **(head or {})}, templates=templates, **kwargs)
        self.register_class_buffer('cache_counts', torch.zeros(0, dtype=torch.int64))
        self.register_class_parameter('cache_keys', torch.zeros(0, 0, self.backbone.embed_dims))
        self._without_memory = False
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def predicts_any_classes(self) -> bool:
        """bool: True: others zero-shot."""
        return True

    @property
    def has_started(self) -> bool:
        """bool: Whether there are keys."""
        return self.cache_keys.shape[1] > 0 or self._without_memory

    @property
    def search_chunk(self) -> int:
        """int: Pictures whose similarities a search holds together."""
        return max(1, _SIMILARITIES // self.cache_keys[..., 0].numel())

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Turn class names into prototypes; see :meth:`CLIPClassifier.encode_class_texts`. They have no keys yet."""
        texts = super().encode_class_texts(clip, class_names, templates)
        return dict(texts, cache_counts=torch.zeros(len(class_names), dtype=torch.int64))

    def take_classes(self, texts: ClassTexts, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Predict classes that are already encoded; the same ones, with other templates say, keep their keys."""
        if self.has_started and tuple(class_names) == self.class_names:
            texts = dict(texts, cache_counts=self.cache_counts)
        super().take_classes(texts, class_names, templates)

    @contextlib.contextmanager
    def with_classes(
        self, texts: ClassTexts, class_names: Sequence[str], templates: Sequence[str] | None = None
    ) -> Iterator[TipAdapterClassifier]:
        """Predict other classes zero-shot for a while; see :meth:`CLIPClassifier.with_classes`."""
        self._without_memory = True
        try:
            with super().with_classes(texts, class_names, templates):
                self.cache_keys.data = self.cache_keys.new_zeros(len(class_names), 0, self.cache_keys.shape[2])
                yield self
        finally:
            self._without_memory = False

    def start_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the un-normalised features of CLIP."""
        self._check_size(images)
        return self.backbone(images).cls

    def start_from(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Make keys of features; see :meth:`LogitBiasClassifier.start_from`."""
        self.check_labels(labels)
        device = self.cache_keys.device
        keys, self.cache_counts, _ = sort_by_class(
            F.normalize(features, dim=-1).to(device), labels.to(device), len(self.class_names)
        )
        self.cache_keys.data = keys

    def plain_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse; see :meth:`CLIPClassifier.plain_layer`."""
        raise ValueError('its memory weighs the training pictures by an exponential of their distance')

    def zero_shot_and_bias(self, features: ImageFeatures | LabelledFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute zero-shot logits and what the memory says."""
        return self.zero_shot_logits(features.cls), cache_logits(self._affinities(features), self.inner)

    def search_terms(self, features: ImageFeatures) -> tuple[torch.Tensor, Bias]:
        """Compute zero-shot logits, and what the memory says as a function of ``beta``."""
        return self.zero_shot_logits(features.cls), cache_bias(self._affinities(features))

    def _affinities(self, features):
        with torch.autocast(features.cls.device.type, enabled=False):
            return affinities(F.normalize(features.cls, dim=-1), self.cache_keys, self.cache_counts)
