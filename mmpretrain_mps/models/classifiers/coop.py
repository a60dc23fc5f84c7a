"""CoOp: context vectors in the place of a prompt's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..text import POSITIONS, count_tokens, insert_context, num_shared_positions, word_embeddings
from .prompt_classifier import PromptClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from .class_texts import ClassTexts

INIT_STD = 0.02


@MODELS.register_module()
class CoOpClassifier(PromptClassifier):
    r"""Context optimisation: prompts whose words are learned.

    .. math:: \ell_c = s \cos(z, t_c), \qquad t_c = g([SOS]\, v_1 \ldots v_M\, \mathrm{name}_c\, .\, [END])

    with the frozen towers :math:`z` and :math:`g`. `Learning to Prompt for Vision-Language Models
    <https://arxiv.org/abs/2109.01134>`_. The loss is cross-entropy alone.

    Differs from the released code: everything is trained in float32; words and ``class_specific`` go together; words
    whose number is not ``num_context`` are an error, where the released code takes their number without a word.

    Args:
        architecture (str): As in :class:`CLIPClassifier`; with a causal text tower.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_context (int): :math:`M`.
        context_init (str, optional): ``M`` words of one token each, such as ``'a photo of a'``, whose embeddings the
            context starts from. Defaults to normal random numbers with a standard deviation of 0.02.
        class_position (str): Where the name stands: ``'end'``, ``'middle'`` or ``'front'``; see :func:`insert_context`.
        class_specific (bool): Each class learns a context of its own, and other classes cannot be predicted.
        class_names (Sequence[str], optional): Readable names, index = label.
        templates (Sequence[str], optional): Prompt templates of the zero-shot branch.
        **kwargs: Others of :class:`PromptClassifier`.

    Attributes:
        context (Parameter): ``(M, W)``, or ``(C, M, W)`` if it is class-specific.

    Raises:
        ValueError: If the position is unknown, or the words do not fit.
    """

    method = 'coop'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_context: int = 16,
        context_init: str | None = None,
        class_position: str = 'end',
        class_specific: bool = False,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, num_context=num_context, templates=templates, **kwargs)
        if class_position not in POSITIONS:
            raise ValueError(f'class_position must be one of {POSITIONS}, but is {class_position!r}')
        self.class_position, self.class_specific = class_position, class_specific
        self._words = None if context_init is None else self._embed_words(context_init)
        self.register_class_buffer('name_lengths', torch.zeros(0, dtype=torch.int32))
        width = self.text_tower.width
        if class_specific:
            self.register_class_parameter('context', torch.zeros(0, num_context, width))
        else:
            self.context = nn.Parameter(torch.empty(num_context, width))
            self._start_context()
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self) -> dict[str, Any]:
        """Return what prompts are made of."""
        return dict(super().describe_method(), class_position=self.class_position, class_specific=self.class_specific)

    def reset_class_parameters(self) -> None:
        """Start the contexts of all classes."""
        self._start_context()

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Encode the prototypes, tokenise the prompts, and count the tokens of the names."""
        names = [name.replace('_', ' ') for name in class_names]
        return {
            **super().encode_class_texts(clip, class_names, templates),
            'name_lengths': count_tokens(clip.make_tokenizer(), names).int(),
        }

    def text_features(self) -> torch.Tensor:
        """Run the text tower on the learned prompts."""
        embeddings = insert_context(self.prompt_embeddings(), self.name_lengths, self.context, self.class_position)
        shared = num_shared_positions(self.context, self.class_position)
        return self.text_tower(embeddings, self.prompt_ends(), shared)

    def _embed_words(self, words):
        embeddings = word_embeddings(self.text_tower, self._clip_of_texts().make_tokenizer(), words)
        if len(embeddings) != self.num_context:
            raise ValueError(
                f'context_init {words!r} has {len(embeddings)} words, but num_context is '
                f'{self.num_context}; set num_context={len(embeddings)}'
            )
        return embeddings.float()

    @torch.no_grad()
    def _start_context(self):
        if self._words is None:
            nn.init.normal_(self.context, std=INIT_STD)
        else:
            self.context.copy_(self._words.to(self.context.device).expand_as(self.context))
