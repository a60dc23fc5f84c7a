"""TCP: prompt vectors that a small network makes of each class's own text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmpretrain.registry import MODELS
from open_clip.transformer import QuickGELU
from torch import nn

from ..text import insert_context
from .coop import INIT_STD
from .prompt_classifier import PromptClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from .class_texts import ClassTexts


@MODELS.register_module()
class TCPClassifier(PromptClassifier):
    r"""Textual-based class-aware prompt tuning.

    .. math:: P_c = W_2\, q(W_1 t^0_c + b_1) + b_2, \qquad q(x) = x\, \sigma(1.702\, x)

    :math:`t^0_c` is the unit-norm text feature of the class in the frozen model. Prompts have a context of ``M``
    vectors for all classes, as in :class:`CoOpClassifier`; at the input of one block in the middle of the text tower
    the class's own vectors :math:`P_c` take its place, without a position. With the unit-norm result :math:`t_c`:

    .. math:: L = CE(s \cos(z, t_c)) + \lambda\, (1 - \mathrm{mean}_c \cos(t_c, t^0_c))

    over all classes, those without a picture in the batch too. `TCP: Textual-based Class-aware Prompt tuning for
    Visual-Language Model <https://arxiv.org/abs/2311.18231>`_. Classes that it was not trained on get vectors of their
    own names.

    Differs from the released code: everything is trained in float32, not float16.

    Args:
        architecture (str): As in :class:`CLIPClassifier`; with a causal text tower.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_context (int): ``M``; the released code has 4.
        class_aware_block (int): Block at whose input the context is replaced, counted from 0.
        knowledge_weight (float): :math:`\lambda`, unitless; 0 switches the term off.
        knowledge_template (str, optional): Prompt template of :math:`t^0`, with ``{}``, for all data sets that are
            predicted. Defaults to the prompt templates of the classes, over which the features are averaged.
        class_names (Sequence[str], optional): Readable names, index = label.
        templates (Sequence[str], optional): Prompt templates.
        **kwargs: Others of :class:`PromptClassifier`.

    Attributes:
        context (Parameter): ``(M, W)``.
        meta_net (nn.Module): From ``D`` over ``D / 4`` to ``M * W`` numbers.

    Raises:
        ValueError: If the text tower has no such block, or the weight is negative.
    """

    method = 'tcp'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_context: int = 4,
        class_aware_block: int = 8,
        knowledge_weight: float = 8.0,
        knowledge_template: str | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, num_context=num_context, templates=templates, **kwargs)
        depth, width, dims = self.text_tower.depth, self.text_tower.width, self.text_tower.embed_dims
        if not 0 <= class_aware_block < depth:
            raise ValueError(
                f'class_aware_block is {class_aware_block}, but the text tower of {architecture} has '
                f'blocks 0 to {depth - 1}; two thirds of the depth are usual, here {2 * depth // 3}'
            )
        if knowledge_weight < 0:
            raise ValueError(f'knowledge_weight must be 0 or more, but is {knowledge_weight}')
        self.class_aware_block, self.knowledge_weight = class_aware_block, knowledge_weight
        self.knowledge_template = knowledge_template
        self.context = nn.Parameter(torch.empty(num_context, width))
        nn.init.normal_(self.context, std=INIT_STD)
        self.meta_net = nn.Sequential(
            OrderedDict(
                linear1=nn.Linear(dims, max(1, dims // 4)),
                gelu=QuickGELU(),
                linear2=nn.Linear(max(1, dims // 4), num_context * width),
            )
        )
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self) -> dict[str, Any]:
        """Return what prompts are made of."""
        return dict(
            super().describe_method(), class_aware_block=self.class_aware_block, knowledge_template=self.knowledge_template
        )

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Encode the texts that the classes' own vectors are made of, and tokenise the prompts."""
        return super().encode_class_texts(clip, class_names, (self.knowledge_template,) if self.knowledge_template else templates)

    def class_prompts(self) -> torch.Tensor:
        """Compute each class's own vectors ``(C, M, W)``."""
        return self.meta_net(self.unit_prototypes()).unflatten(-1, self.context.shape)

    def text_features(self) -> torch.Tensor:
        """Run the text tower on prompts whose context becomes the classes' own on the way."""
        embeddings = insert_context(self.prompt_embeddings(), None, self.context)
        return self.text_tower(
            embeddings, self.prompt_ends(), 1 + self.num_context, {self.class_aware_block: (1, self.class_prompts())}
        )

    def text_losses(self, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the distance of the learned texts from those of the frozen model, as far as it counts.

        Returns:
            dict[str, Tensor]: ``loss_knowledge``.
        """
        if not self.knowledge_weight:
            return {}
        distance = 1 - (texts * self.unit_prototypes()).sum(-1).mean()
        return dict(loss_knowledge=self.knowledge_weight * distance)
