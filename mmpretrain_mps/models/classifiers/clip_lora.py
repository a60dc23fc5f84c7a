"""CLIP-LoRA: low-rank updates of the attentions of both towers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..adapters.low_rank import LowRankUpdates
from ..loading.clip_loader import check_words
from ..text import tokenize_prompts
from ..text.class_prompts import ClassPrompts
from .tuned_towers import TunedTowersClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from .class_texts import ClassTexts
    from .tuned_towers import PictureBatch

TOWERS = ('text', 'vision')


@MODELS.register_module()
class CLIPLoRAClassifier(TunedTowersClassifier):
    r"""Low-rank updates of queries, keys and values in the blocks of both towers, trained by cross-entropy alone.

    .. math:: L = CE(s \cos(f, g_c), y)

    with :math:`f, g` from towers whose weights are :math:`W + s_r B A`, see :class:`LowRankAttention`. `Low-Rank
    Few-Shot Adaptation of Vision-Language Models <https://arxiv.org/abs/2405.18541>`_. The texts of all classes go
    through the text tower in every step. The released code scales cosines by 100 whatever the CLIP has learned; so does
    this class unless ``logit_scale`` says otherwise.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        rank (int): :math:`r`.
        alpha (float): Of the scale :math:`s_r = \alpha / \sqrt{r}`, or :math:`\alpha / r`.
        dropout (float): Probability of dropping an input of an update in training.
        scaling (str): ``'sqrt'``, as released, or ``'rank'``.
        projections (Sequence[str]): Of ``'q'``, ``'k'``, ``'v'``, ``'o'``.
        towers (Sequence[str]): ``'text'``, ``'vision'`` or both. Without ``'text'`` the texts are the prototypes of
            the frozen model.
        position (str): Which blocks of a tower are updated, see :func:`updated_blocks`.
        prompt (str): Prompt template of the trained texts, for every data set.
        logit_scale (float | None): Factor on cosines; None for the one that CLIP learned.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): Prompt templates of the zero-shot branch.
        **kwargs: Others of :class:`TunedTowersClassifier`.

    Attributes:
        text_updates (LowRankUpdates): None without the tower.
        vision_updates (LowRankUpdates): None without the tower.

    Raises:
        ValueError: If the towers are unknown, or as :class:`LowRankUpdates`.
    """

    method = 'clip_lora'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        rank: int = 2,
        alpha: float = 1.0,
        dropout: float = 0.25,
        scaling: str = 'sqrt',
        projections: Sequence[str] = ('q', 'k', 'v'),
        towers: Sequence[str] = TOWERS,
        position: str = 'all',
        prompt: str = 'a photo of a {}.',
        logit_scale: float | None = 100.0,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        towers = (towers,) if isinstance(towers, str) else tuple(towers)
        if not towers or not set(towers) <= set(TOWERS):
            raise ValueError(f'towers must be one or both of {TOWERS}, but is {towers}')
        super().__init__(architecture, pretrained, logit_scale=logit_scale, templates=templates, **kwargs)
        settings = dict(position=position, parts=tuple(projections), rank=rank, alpha=alpha, dropout=dropout, scaling=scaling)
        self.settings, self.prompt, self.random_training = settings, prompt, dropout > 0
        blocks = self.backbone.all_blocks()
        self.vision_updates = LowRankUpdates(blocks, **settings) if 'vision' in towers else None
        self.text_updates = LowRankUpdates(self.text_tower.blocks, **settings) if 'text' in towers else None
        if self.text_updates is None:
            del self.text_tower
            self.keeps_text_tower = False
        else:
            self.register_class_buffer('token_ids', torch.zeros(0, self.text_tower.context_length, dtype=torch.int32))
            self._prompts = ClassPrompts(self.text_tower)
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def updates(self) -> list:
        """list[LowRankUpdates]: Of the towers that have some."""
        return [updates for updates in (self.text_updates, self.vision_updates) if updates is not None]

    def describe_method(self) -> dict[str, Any]:
        """Return what is updated, and how updates are scaled."""
        kept = {key: value for key, value in self.settings.items() if key != 'dropout'}
        towers = [tower for tower in TOWERS if getattr(self, f'{tower}_updates') is not None]
        return dict(kept, towers=towers, prompt=self.prompt)

    def merge(self) -> None:
        """Add the updates to the weights of both towers, for predictions at the cost of plain CLIP.

        Training and loading take them apart again. Checkpoints hold the updates, merged or not.
        """
        self.describe()  # hashes the frozen weights as long as they are there
        for updates in self.updates:
            updates.merge()

    def unmerge(self) -> None:
        """Put the frozen weights back, to the last bit."""
        for updates in self.updates:
            updates.unmerge()

    def plain_clip(self) -> dict[str, torch.Tensor]:
        """Return both towers with the updates merged into them; see :meth:`CLIPClassifier.plain_clip`."""
        merged = [updates.merged for updates in self.updates]
        self.merge()
        try:
            return super().plain_clip()
        finally:
            for updates in (updates for updates, stay in zip(self.updates, merged) if not stay):
                updates.unmerge()

    @contextlib.contextmanager
    def frozen_towers(self) -> Iterator[None]:
        """Compute with the frozen weights alone for a while."""
        with contextlib.ExitStack() as stack:
            for updates in self.updates:
                stack.enter_context(updates.disabled())
            yield

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Tokenise the prompts, besides the prototypes of the frozen model."""
        with self.frozen_towers():
            texts = super().encode_class_texts(clip, class_names, templates)
        if self.text_updates is not None:
            check_words(self.architecture, class_names, [self.prompt])
            token_ids = tokenize_prompts(clip.make_tokenizer(), class_names, self.prompt)
            texts['token_ids'] = token_ids.to(self.token_ids.device, torch.int32)
        return texts

    def class_features(self) -> torch.Tensor:
        """Return the unit-norm texts with the updates ``(C, D)``."""
        if self.text_updates is None:
            return self.unit_prototypes()
        embeddings, ends, shared = self._prompts.of(self.token_ids)
        # Each class draws its own masks: under dropout its start is no longer equal to that of the others.
        shared = 0 if self.training and self.random_training else shared
        return F.normalize(self.text_tower(embeddings, ends, shared).float(), dim=-1)

    def cached_class_features(self) -> torch.Tensor:
        """Return :meth:`class_features` for predictions; those under dropout, in training mode, are not cached."""
        return self.class_features() if self.training and self.random_training else super().cached_class_features()

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features with the updates, ``(B, D)``."""
        return F.normalize(self.backbone(images).cls, dim=-1)

    def frozen_cls(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features without the updates, ``(B, D)``."""
        with self.frozen_towers():
            return super().frozen_cls(images)

    def losses(self, batch: PictureBatch) -> dict[str, torch.Tensor]:
        """Compute cross-entropy over all classes.

        Args:
            batch (PictureBatch): Of all processes.

        Returns:
            dict[str, Tensor]: ``loss_ce`` and accuracies.
        """
        _, losses = self.classify(batch, self.class_features())
        return losses
