"""What methods share that learn prompts of the text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..loading.clip_loader import check_words
from ..text import context_template, tokenize_prompts
from .clip_classifier import cls_features
from .frozen_image_classifier import FrozenImageClassifier
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..heads.logits_fusion_head import BranchLogits
    from ..utils.clip_loader import ClipModel
    from ..utils.test_features import TestFeatures
    from .class_texts import ClassTexts
    from .frozen_image_classifier import LabelledFeatures


class PromptClassifier(FrozenImageClassifier):
    """A method that learns vectors in the prompts of classes; pictures pass through the frozen vision tower.

    A prompt is ``[SOS]``, ``M`` context vectors, what the template makes of the class name, and ``[END]``. A method
    implements :meth:`text_features`, and maybe :meth:`text_losses`. Zero-shot logits come from the prototypes of the
    frozen model.

    Args:
        architecture (str): As in :class:`CLIPClassifier`; with a causal text tower.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_context (int): ``M``.
        prompt_template (str): What follows the context, with ``{}`` for the class name.
        chunk_size (int, optional): Classes whose texts are computed at a time; see :class:`TextTower`.
        head (dict): Config of the fusion head; its ``alpha`` is 1 by default: the learned prompts alone.
        templates (Sequence[str], optional): As in :class:`CLIPClassifier`, of the zero-shot branch.
        **kwargs: Others of :class:`CLIPClassifier`.

    Raises:
        ValueError: If there is no context vector, or the text tower is of another kind.
    """

    keeps_text_tower = True

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_context: int = 16,
        prompt_template: str = '{}.',
        chunk_size: int | None = None,
        head: dict | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, head={'alpha': 1.0, **(head or {})}, templates=templates, **kwargs)
        self.num_context, self.prompt_template = num_context, prompt_template
        self._learner_template = context_template(num_context, prompt_template)
        self.text_tower.chunk_size = chunk_size
        self.register_class_buffer('token_ids', torch.zeros(0, self.text_tower.context_length, dtype=torch.int32))
        self._cached_ends = None

    def describe_method(self) -> dict:
        """Return what prompts are made of."""
        return dict(num_context=self.num_context, prompt_template=self.prompt_template)

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Encode the prototypes, and tokenise the prompts in which the context has placeholders.

        Raises:
            ValueError: If a prompt does not fit the context of the text tower.
        """
        check_words(self.architecture, class_names, [self.prompt_template])
        token_ids = tokenize_prompts(clip.make_tokenizer(), class_names, self._learner_template)
        return {**super().encode_class_texts(clip, class_names, templates), 'token_ids': token_ids.int()}

    def prompt_ends(self) -> tuple[int, ...]:
        """Return the position of each prompt's end token, known to the host; found anew only for other classes."""
        cached = self._cached_ends
        if cached is None or cached[0] is not self.token_ids or cached[1] != self.token_ids._version:
            ends = tuple(self.text_tower.find_ends(self.token_ids).tolist())
            self._cached_ends = self.token_ids, self.token_ids._version, ends
        return self._cached_ends[2]

    def prompt_embeddings(self) -> torch.Tensor:
        """Return the token embeddings of the prompts with placeholders, up to the last end token, ``(C, L, W)``."""
        return self.text_tower.embed(self.token_ids[:, : max(self.prompt_ends()) + 1])

    def text_features(self) -> torch.Tensor:
        """Compute the features of the learned prompts, with gradients.

        Returns:
            Tensor: ``(C, D)``, not of unit norm.
        """
        raise NotImplementedError

    def class_features(self) -> torch.Tensor:
        """Return the features of the learned prompts ``(C, D)``, unit-norm, float32."""
        return F.normalize(self.text_features().float(), dim=-1)

    def losses(self, batch: LabelledFeatures) -> dict[str, torch.Tensor]:
        """Compute the cross-entropy of the learned prompts; see :meth:`text_losses` for what is added."""
        texts, features = self.class_features(), F.normalize(batch.cls, dim=-1)
        logits = self._logits(features, texts, self.head.uses_zero_shot)
        return {**self.head.loss(logits, batch.labels), **self.text_losses(texts)}

    def text_losses(self, texts: torch.Tensor) -> dict:
        """Compute losses of the learned texts themselves; none here.

        Args:
            texts (Tensor): :meth:`class_features`, ``(C, D)``.

        Returns:
            dict[str, Tensor]: Scalars.
        """
        return {}

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = False,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of the learned and of the zero-shot texts; see :meth:`CLIPClassifier.branch_logits`."""
        self.refuse_layers(wanted)
        features = self.zero_shot_features(images, data_samples)
        logits = self._logits(features, self.cached_class_features(), zero_shot or self.head.uses_zero_shot)
        return logits, cls_features(features, features)

    def _logits(self, features, texts, zero_shot):
        return self.head.branches(
            self.cosine_logits(features, texts), self.cosine_logits(features, self.unit_prototypes()) if zero_shot else None
        )
