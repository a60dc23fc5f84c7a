"""PromptSRC: prompts in both towers, kept near the frozen model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import nn

from ..caches.prototype_cache import cached_prototypes
from ..loading.clip_loader import check_words
from ..losses.point_losses import PointConstraint
from ..text import context_template, tokenize_prompts, word_embeddings
from ..text.class_prompts import ClassPrompts
from ..text.prototypes import encode_prototypes
from .tuned_towers import TunedTowersClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from .class_texts import ClassTexts
    from .tuned_towers import PictureBatch

PROMPT_STD = 0.02
# In the released order, which is that of OpenAI's list; the other 20 are not used.
TEACHER_TEMPLATES = tuple(template('{}') for template in OPENAI_IMAGENET_TEMPLATES[:60])
CLASS_TEMPLATES = 'classes'


@MODELS.register_module()
class PromptSRCClassifier(TunedTowersClassifier):
    r"""Prompt vectors in the first blocks of both towers, trained with the frozen model as a teacher.

    .. math:: L = CE(\ell, y) + \lambda_t\, \mathrm{mean}_{cd} |g^p_{cd} - g_{cd}| + \lambda_i\, \mathrm{mean}_{bd}
        |f^p_{bd} - f_{bd}| + \lambda_l \frac{1}{BC} \sum_{bc} q_{bc} \log (q_{bc} / p_{bc})

    `Self-regulating Prompts <https://arxiv.org/abs/2307.06948>`_. :math:`f^p, g^p` are unit-norm features with prompts,
    :math:`\ell` their scaled cosines and :math:`p` its softmax; :math:`f` is the frozen feature of the same augmented
    picture, :math:`g` the frozen mean over ``teacher_templates`` of features that keep their norm, and :math:`q` the
    softmax of the frozen logits. The reductions are those of the released code: means, where sums over :math:`d` would
    be weighted by :math:`\lambda / D`, and a divergence that is divided by :math:`C` as well as by :math:`B`. With all
    three weights at 0 it is IVLP, the independent prompts alone, and no teacher is computed.

    The first block of the text tower gets its vectors in the place of the words of ``context_init``, the others at
    their inputs; in the vision tower they stand behind the patches, see :class:`PromptableViT`. The average over epochs
    that belongs to the method is :class:`EpochAverageHook`.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_text_prompts (int): Vectors in each block of the text tower, 1 or more.
        num_vision_prompts (int): Vectors in each block of the vision tower, 1 or more.
        text_depth (int): Blocks of the text tower that get vectors of their own, 1 or more.
        vision_depth (int): The same of the vision tower; 0 leaves it as it is.
        context_init (str | None): Words before the class name. The first ``num_text_prompts`` of them are where the
            vectors of the text's first block start; words beyond stay words. With more vectors than words, or with
            None, all vectors start at random.
        text_weight (float): :math:`\lambda_t`, unitless.
        image_weight (float): :math:`\lambda_i`, unitless.
        logit_weight (float): :math:`\lambda_l`, unitless.
        teacher_templates (Sequence[str] | str, optional): Prompt templates of :math:`g`; ``'classes'`` for those of the
            classes. Defaults to the 60 that the released code takes for all data sets.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): Prompt templates of the zero-shot branch.
        **kwargs: Others of :class:`TunedTowersClassifier`.

    Attributes:
        text_prompts (nn.ParameterList): ``(T, W)`` of each block.
        vision_prompts (nn.ParameterList): ``(V, W)`` of each block.

    Raises:
        ValueError: If a depth or number does not fit the towers, or a weight is negative.
    """

    method = 'promptsrc'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_text_prompts: int = 4,
        num_vision_prompts: int = 4,
        text_depth: int = 9,
        vision_depth: int = 9,
        context_init: str | None = 'a photo of a',
        text_weight: float = 25.0,
        image_weight: float = 10.0,
        logit_weight: float = 1.0,
        teacher_templates: str | Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, templates=templates, **kwargs)
        _check_counts('text', num_text_prompts, text_depth, self.text_tower.depth, 1)
        _check_counts('vision', num_vision_prompts, vision_depth, len(self.backbone.all_blocks()), 0)
        self.context_init, self.num_text_prompts = context_init, num_text_prompts
        self.teacher_templates = TEACHER_TEMPLATES if teacher_templates is None else teacher_templates
        self.text_constraint = PointConstraint('l1', text_weight, 'mean')
        self.image_constraint = PointConstraint('l1', image_weight, 'mean')
        self.logit_constraint = PointConstraint('kl', logit_weight, 'mean')
        self.text_prompts = _random_prompts(text_depth, num_text_prompts, self.text_tower.width)
        self.vision_prompts = _random_prompts(vision_depth, num_vision_prompts, self.backbone.width)
        if self.starts_from_words:
            words = word_embeddings(self.text_tower, self._text_tower[0].make_tokenizer(), context_init)
            self.text_prompts[0].data.copy_(words[:num_text_prompts])
        self.register_class_buffer('token_ids', torch.zeros(0, self.text_tower.context_length, dtype=torch.int32))
        self._prompts, self._teacher = ClassPrompts(self.text_tower), None
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def starts_from_words(self) -> bool:
        """bool: Whether the vectors of the text's first block start from words."""
        return len((self.context_init or '').replace('_', ' ').split()) >= self.num_text_prompts

    @property
    def uses_zero_shot(self) -> bool:
        """bool: Whether a loss depends on frozen features of the pictures."""
        return self.image_constraint.active or self.logit_constraint.active or self.head.uses_zero_shot

    def describe_method(self) -> dict[str, Any]:
        """Return where prompts stand and how many there are."""
        return dict(
            num_text_prompts=self.num_text_prompts,
            text_depth=len(self.text_prompts),
            num_vision_prompts=len(self.vision_prompts[0]) if self.vision_prompts else 0,
            vision_depth=len(self.vision_prompts),
            context_init=self.context_init,
        )

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Tokenise the prompts, besides the prototypes of the frozen model."""
        template = f'{self.context_init} {{}}.' if self.starts_from_words else context_template(self.num_text_prompts)
        # Placeholders are no words.
        check_words(self.architecture, class_names, [template if self.starts_from_words else '{}.'])
        token_ids = tokenize_prompts(clip.make_tokenizer(), class_names, template)
        return dict(
            super().encode_class_texts(clip, class_names, templates), token_ids=token_ids.to(self.token_ids.device, torch.int32)
        )

    def class_features(self) -> torch.Tensor:
        """Return the unit-norm texts with prompts ``(C, D)``."""
        prompts, (first, *deep) = self._prompts.of(self.token_ids), self.text_prompts
        embeddings = prompts.embeddings
        context = first.to(embeddings.dtype).expand(len(embeddings), -1, -1)
        embeddings = torch.cat([embeddings[:, :1], context, embeddings[:, 1 + len(first) :]], 1)
        deep = {index: (1, vectors) for index, vectors in enumerate(deep, 1)}
        return F.normalize(self.text_tower(embeddings, prompts.ends, prompts.shared, deep).float(), dim=-1)

    def teacher_features(self) -> torch.Tensor:
        """Return the unit-norm texts :math:`g` ``(C, D)`` of the frozen model, encoded when first asked for."""
        if self._teacher is None or self._teacher[0] != self.class_names:
            templates = self.templates if self.teacher_templates == CLASS_TEMPLATES else self.teacher_templates
            names = [name.replace('_', ' ') for name in self.class_names]
            check_words(self.architecture, names, templates)
            encode = cached_prototypes if self.cache_prototypes else encode_prototypes
            with torch.autocast(self.token_ids.device.type, enabled=False):
                self.set_teacher(
                    encode(
                        self.text_tower.model, self._text_tower[0].make_tokenizer(), names, templates, normalize_templates=False
                    )
                )
        return self._teacher[1].to(self.token_ids.device)

    def set_teacher(self, prototypes: torch.Tensor) -> None:
        """Give the frozen texts instead of having them encoded.

        Args:
            prototypes (Tensor): Mean over the templates ``(C, D)``, of any norm.
        """
        self._teacher = self.class_names, F.normalize(prototypes.float(), dim=-1)

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features with prompts, ``(B, D)``."""
        return F.normalize(self.backbone(images, self.vision_prompts).cls, dim=-1)

    def losses(self, batch: PictureBatch) -> dict[str, torch.Tensor]:
        """Compute cross-entropy and the terms of the teacher that count.

        Args:
            batch (PictureBatch): Of all processes.

        Returns:
            dict[str, Tensor]: Scalars; those whose name holds ``loss`` are to be summed.
        """
        texts = self.class_features()
        logits, losses = self.classify(batch, texts)
        if self.text_constraint.active:
            losses['loss_scl_text'] = self.text_constraint(texts, self.teacher_features())
        if self.image_constraint.active:
            losses['loss_scl_image'] = self.image_constraint(batch.tuned, batch.zero_shot)
        if self.logit_constraint.active:
            teacher_logits = self.cosine_logits(batch.zero_shot, self.teacher_features())
            losses['loss_scl_logits'] = self.logit_constraint(logits, teacher_logits)
        return losses


def _random_prompts(depth, number, width):
    return nn.ParameterList(nn.Parameter(PROMPT_STD * torch.randn(number, width)) for _ in range(depth))


def _check_counts(tower, number, depth, blocks, least):
    if not isinstance(number, int) or number < 1:
        raise ValueError(f'num_{tower}_prompts must be a whole number >= 1, but is {number!r}')
    if not isinstance(depth, int) or not least <= depth <= blocks:
        raise ValueError(
            f'{tower}_depth counts blocks that get prompts of their own, and the {tower} tower of this '
            f'CLIP has {blocks}: expected {least} to {blocks}, but got {depth!r}'
        )
