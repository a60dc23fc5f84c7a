"""TextRefiner: texts of a prompt learner, refined by a memory of local picture features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..adapters.text_refiner import TextRefiner, find_top_patches, select_local
from ..computation.gathering import gather_batch
from ..losses import PointConstraint
from .coop import CoOpClassifier
from .tcp import TCPClassifier


class LocalFeatures(NamedTuple):
    """What the frozen vision tower makes of ``N`` pictures, not of unit norm."""

    cls: torch.Tensor
    """``(N, D)``, float32."""
    tokens: torch.Tensor
    """The same of all ``L`` tokens, [CLS] first, ``(N, L, D)``; float32, or float16 with ``half_tokens``."""
    top_patches: torch.Tensor
    """Positions of the patches that [CLS] attends to most, ``(N, K)``, int64."""


class LabelledLocalFeatures(NamedTuple):
    """The same of ``N`` views of training pictures, with their classes."""

    labels: torch.Tensor
    """``(N,)``, int64."""
    cls: torch.Tensor
    tokens: torch.Tensor
    top_patches: torch.Tensor


class TextRefinement:
    r"""What TextRefiner adds to a prompt learner; to be put before it among the base classes.

    .. math:: L = CE(s\, z\, t'^\top) + \lambda_l\, CE(s\, l\, t^\top) + \lambda_d\, \mathrm{mean}_{cd}
        |\mathrm{unit}(t')_{cd} - t_{cd}|

    :math:`t` are the learner's unit-norm texts and :math:`t'` the refined ones (:class:`TextRefiner`), :math:`z` the
    picture, and :math:`l` its aligned local features: [CLS], the patches that [CLS] attends to most in the last block,
    and the mean of all tokens, each a sample of the picture's class. After the texts have read the cache, all aligned
    tokens of the batch are written to it, in every forward pass in training. Cache and extractor are what predictions
    need; the refined texts are then constant. `TextRefiner <https://arxiv.org/abs/2412.08176>`_, as released: neither
    :math:`t'` nor :math:`l` is of unit norm. The learner's own losses of texts stay.

    With ``gather='all'`` every process aligns the tokens of the common batch, so that batch norm and cache are those of
    one process with this batch. With ``gather='none'`` the statistics of the batch norm are of each process's own
    pictures; what is written to the cache is gathered nevertheless, so that there is one cache.

    Args:
        *args: Of the learner.
        cache_size (int): Entries of the cache.
        momentum (float): Share of an old entry when it is written, 0 to 1.
        alpha (float): Weight of the correction of texts, at least 0.
        num_patches (int): ``K``, most attended patches of a picture that count as local features.
        local_weight (float): :math:`\lambda_l`, unitless. With 0 the term is switched off, and the aligner, to which no
            other loss leads, stays as it starts.
        distill_weight (float): :math:`\lambda_d`, unitless; 0 switches the term off.
        half_tokens (bool): Hand the tokens of pictures on in float16, which halves what a view bank takes.
        class_names (Sequence[str], optional): Readable names, index = label.
        templates (Sequence[str], optional): Prompt templates of the zero-shot branch.
        **kwargs: Of the learner.

    Raises:
        ValueError: If an argument lies outside its range, or the vision tower has fewer patches.
    """

    def __init__(
        self,
        *args: Any,
        cache_size: int = 25,
        momentum: float = 0.8,
        alpha: float = 0.2,
        num_patches: int = 5,
        local_weight: float = 1 / 50,
        distill_weight: float = 20.0,
        half_tokens: bool = False,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, templates=templates, **kwargs)
        available = len(self.backbone.zero_shot.positional_embedding) - 1
        if not 0 <= num_patches <= available:
            raise ValueError(
                f'num_patches must lie between 0 and the {available} patches of {self.architecture}, but is {num_patches}'
            )
        if not (local_weight >= 0 and distill_weight >= 0):
            raise ValueError(f'{type(self).__name__} needs weights >= 0, but got {local_weight=}, {distill_weight=}')
        self.num_patches, self.local_weight, self.half_tokens = num_patches, local_weight, half_tokens
        self.distill_loss = PointConstraint('l1', distill_weight, reduction='mean', both_sides=True)
        self.refiner = TextRefiner(self.backbone.embed_dims, cache_size, momentum, alpha)
        # A parameter without a gradient would stop data-parallel training, and decay for nothing.
        self.refiner.aligner.requires_grad_(local_weight > 0)
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self) -> dict:
        """Return what prompts are made of and how they are refined."""
        return dict(super().describe_method(), alpha=self.refiner.alpha, cache_size=len(self.refiner.cache.entries))

    def learned_texts(self) -> torch.Tensor:
        """Return the texts of the learner, before they are refined: ``(C, D)``, unit norm."""
        return super().class_features()

    def class_features(self) -> torch.Tensor:
        """Return the refined texts ``(C, D)``, float32, not of unit norm."""
        return self.refiner(self.learned_texts())

    def frozen_features(self, images: torch.Tensor) -> LocalFeatures:
        """Compute the features of pictures and their tokens; see :meth:`CLIPClassifier.frozen_features`."""
        self._check_size(images)
        found = self.backbone(images, tokens=True, attention=True)
        tokens = found.tokens.half() if self.half_tokens else found.tokens
        return LocalFeatures(found.cls, tokens, find_top_patches(found.attention, self.num_patches))

    def picture_batch(self, views: Sequence[torch.Tensor] | NamedTuple, labels: torch.Tensor) -> LabelledLocalFeatures:
        """Put features and classes together; see :meth:`CLIPClassifier.picture_batch`."""
        frozen = self.frozen_of(views)
        return LabelledLocalFeatures(labels.repeat(len(frozen.cls) // len(labels)), *frozen)

    def losses(self, batch: LabelledLocalFeatures) -> dict:
        """Compute the losses, then write the cache.

        Args:
            batch (LabelledLocalFeatures): Of all processes.

        Returns:
            dict[str, Tensor]: ``loss_ce``, ``loss_local`` and ``loss_distill`` as far as they count, and those of the
            learner; accuracies.
        """
        texts = self.learned_texts()
        refined = self.refiner(texts)
        logits = self._logits(F.normalize(batch.cls.float(), dim=-1), refined, self.head.uses_zero_shot)
        losses = {**self.head.loss(logits, batch.labels), **self.text_losses(texts)}
        aligned = self.refiner.aligner(batch.tokens.float())
        if self.local_weight:
            losses['loss_local'] = self.local_weight * F.cross_entropy(*self.local_logits(batch, aligned, texts))
        if self.distill_loss.active:
            losses['loss_distill'] = self.distill_loss(F.normalize(refined, dim=-1), texts)
        if self.training:
            self._write(aligned.detach().flatten(0, 1))
        return losses

    def local_logits(
        self, batch: LabelledLocalFeatures, aligned: torch.Tensor, texts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare local features with the texts of the learner.

        Args:
            batch (LabelledLocalFeatures): Pictures.
            aligned (Tensor): Their aligned tokens ``(N, L, D)``.
            texts (Tensor): Unit norm ``(C, D)``.

        Returns:
            tuple[Tensor, Tensor]: Logits ``(N * (K + 2), C)`` and labels ``(N * (K + 2),)``, picture by picture.
        """
        local = select_local(aligned, batch.top_patches)
        return self.cosine_logits(local, texts).flatten(0, 1), batch.labels.repeat_interleave(local.shape[1])

    def _write(self, rows):
        if self.gather == 'none':
            (rows,) = gather_batch([rows], self.equal_batches)
        self.refiner.cache.write(rows)


@MODELS.register_module()
class TextRefinerClassifier(TextRefinement, CoOpClassifier):
    """TextRefiner on CoOp: the context of all prompts is learned, and their texts are refined.

    Args:
        architecture (str): As in :class:`CLIPClassifier`; with a causal text tower.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_context (int): Vectors of the context.
        context_init (str, optional): As in :class:`CoOpClassifier`, but the released words by default.
        **kwargs: Of :class:`TextRefinement` and :class:`CoOpClassifier`.
    """

    method = 'textrefiner'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_context: int = 4,
        context_init: str | None = 'a photo of a',
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, num_context=num_context, context_init=context_init, **kwargs)


@MODELS.register_module()
class TCPTextRefinerClassifier(TextRefinement, TCPClassifier):
    """TextRefiner on TCP, which shows that another learner takes no more; there are no recorded numbers of it.

    Args:
        *args: Of :class:`TCPClassifier`.
        **kwargs: Of :class:`TextRefinement` and :class:`TCPClassifier`.
    """

    method = 'tcp_textrefiner'
