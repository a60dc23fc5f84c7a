"""CLIP tuned by prompts in both towers and by clusters of its class texts: TAC."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from ..loading.clip_loader import check_words
from ..losses.point_losses import PointConstraint
from ..text.class_prompts import ClassPrompts
from ..text.clustering import cosine_kmeans, draw_starts
from ..text.prompt_tokens import tokenize_prompts
from ..text.sentences import ClassSentences
from .class_texts import DEFAULT_TEMPLATES
from .promptsrc import TEACHER_TEMPLATES
from .tuned_towers import PictureBatch, TunedTowersClassifier

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel
    from .class_texts import ClassTexts

# In the place of a file of sentences.
TEMPLATES_OF_CLIP = 'clip'
PROMPT_STD = 0.02


class PictureFeatures(NamedTuple):
    """What the losses see of ``B`` pictures, before dropout and not of unit norm."""

    labels: torch.Tensor
    """``(B,)``, int64."""
    views: torch.Tensor
    """Features of the augmented views with prompts, ``(B, V, D)``."""
    reference: torch.Tensor | None
    """Features of the plain pictures in the frozen model, ``(B, D)``; None where nothing depends on them."""


@MODELS.register_module()
class TACClassifier(TunedTowersClassifier):
    r"""Task-aware clustering: prompts in every block of both towers, and clusters of the class texts before them.

    .. math:: L = CE(\ell, y) + \lambda_t\, \mathrm{mean}_{cd} |t_{cd} - F_{cd}| + \lambda_i\, \mathrm{mean}_{bd}
        |u_{bd} - z_{bd}|

    TAC, "Task-Aware Clustering for Prompting Vision-Language Models" (CVPR 2025), as its code computes it. The ``K``
    centres of a k-means of the class texts :math:`F`, the mean of several sentences about each class in the frozen
    model, are mapped into both towers by one linear layer each. These task-aware tokens stand before the prompts, the
    same in every block; patches do not see them. :math:`t, u` are unit-norm features with prompts, :math:`\ell` their
    scaled cosines; :math:`z` is the frozen feature of the picture without augmentation. In training, features of
    pictures pass a dropout before they get unit norm, those of :math:`u` and of :math:`z` each its own. Every view is a
    picture of the cross-entropy; predictions are those of the prompted model.

    The centres are made of the classes that are trained, and belong to the trained weights: other classes are predicted
    with them, and need no sentences.

    Differs from the released code: everything is float32, where it rounds the centres to float16; k-means has a seed of
    its own, and ends with equal classes, too; classes without sentences are named before the training.

    A step takes the views and, last, the pictures without augmentation, the ``reference`` of :class:`DualView`. The
    average over epochs that belongs to the method is :class:`EpochAverageHook`.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        num_prompts (int): Vectors in each block of each tower, 1 or more.
        num_clusters (int): ``K``, at most the number of classes that are trained.
        dropout (float): Share of the dimensions of a picture's feature, 0 to below 1.
        text_weight (float): :math:`\lambda_t`, unitless.
        image_weight (float): :math:`\lambda_i`, unitless.
        prompt (str): Template of the class names, whose words stand behind the vectors.
        context_init (str, optional): Words from whose tokens the vectors of the text's first block start, end token and
            padding included where the words are fewer. None: at random, as all others.
        sentences (str, optional): JSON file ``{class name: [sentences]}``, or ``'clip'`` for 60 of CLIP's templates,
            those of :class:`PromptSRCClassifier`. Defaults to the prompt templates of the classes.
        cluster_seed (int): Of the points that k-means starts from.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): Prompt templates of the zero-shot branch.
        **kwargs: Others of :class:`TunedTowersClassifier`.

    Attributes:
        sentence_features (Tensor): :math:`F` ``(C, D)``, unit norm; empty until a training needs it.
        cluster_centers (Tensor): ``(K, D)``, unit norm; empty until they are needed.

    Raises:
        ValueError: If a number lies outside its range, a prompt is too long, or ``head`` supervises a fusion.
    """

    method = 'tac'
    random_training = True
    takes_reference = True

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        num_prompts: int = 5,
        num_clusters: int = 5,
        dropout: float = 0.3,
        text_weight: float = 20.0,
        image_weight: float = 25.0,
        prompt: str = 'a photo of a {}.',
        context_init: str | None = 'a photo of a',
        sentences: str | None = None,
        cluster_seed: int = 0,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, templates=templates, **kwargs)
        _check_numbers(num_prompts, num_clusters, dropout)
        if self.head.uses_zero_shot:
            raise ValueError(
                'TACClassifier trains the prompted model alone, but its head supervises the fusion with the '
                "frozen one; set head=dict(supervise='tuned'), or leave alpha at 1"
            )
        self.num_prompts, self.num_clusters, self.prompt = num_prompts, num_clusters, prompt
        self.sentences, self.cluster_seed = sentences, cluster_seed
        self.dropout = nn.Dropout(dropout)
        self.text_constraint = PointConstraint('l1', text_weight, 'mean')
        self.image_constraint = PointConstraint('l1', image_weight, 'mean')
        dims, widths = self.backbone.embed_dims, (self.text_tower.width, self.backbone.width)
        self.text_map, self.vision_map = (nn.Linear(dims, width) for width in widths)
        self.text_prompts = _random_prompts(self.text_tower.depth, num_prompts, widths[0])
        self.vision_prompts = _random_prompts(len(self.backbone.all_blocks()), num_prompts, widths[1])
        if context_init is not None:
            tokenizer = self._clip_of_texts().make_tokenizer()
            self.text_prompts[0].data.copy_(self.first_words(tokenizer([context_init])))
        self.register_class_buffer('token_ids', torch.zeros(0, self.text_tower.context_length, dtype=torch.int32))
        # No class buffers: other classes are predicted without them.
        self.register_buffer('sentence_features', torch.zeros(0, dims))
        self.register_buffer('cluster_centers', torch.zeros(0, dims))
        self._prompts, self._class_sentences, self._centers_stay = ClassPrompts(self.text_tower), None, False
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self) -> dict[str, Any]:
        """Return what the trained vectors depend on."""
        return dict(num_prompts=self.num_prompts, num_clusters=self.num_clusters, prompt=self.prompt)

    def set_epoch(self, epoch: int, max_epochs: int) -> None:
        """Look at the sentences before the first step; see :meth:`CLIPClassifier.set_epoch`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a class has no sentences, one is not usable, or there are too few classes to cluster.
        """
        if self.class_names is not None:
            if not len(self.cluster_centers):
                self._check_number_of_classes()
            if not self._has_sentence_features:
                self._look_at_sentences()

    # Classes.

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Tokenise the prompts, besides the prototypes of the frozen model."""
        check_words(self.architecture, class_names, [self.prompt])
        token_ids = tokenize_prompts(clip.make_tokenizer(), class_names, self.prompt)
        vectors, length = self.num_clusters + self.num_prompts, self.text_tower.context_length
        for name, end in zip(class_names, self.text_tower.find_ends(token_ids).tolist()):
            if end + vectors >= length:
                raise ValueError(
                    f'the prompt of class {name!r} is {end + 1} tokens and {vectors} vectors long, but the '
                    f'context of this CLIP holds {length}; shorten the name, or use fewer vectors'
                )
        return dict(
            super().encode_class_texts(clip, class_names, templates), token_ids=token_ids.to(self.token_ids.device, torch.int32)
        )

    def take_classes(self, texts: ClassTexts, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Predict classes that are already encoded from now on; centres that were trained with stay."""
        super().take_classes(texts, class_names, templates)
        self._class_sentences = None
        self._resize('sentence_features', 0)
        if not self._centers_stay:
            self._resize('cluster_centers', 0)

    def fixed_texts(self) -> torch.Tensor:
        """Return the texts :math:`F` ``(C, D)``, which are encoded when first asked for."""
        if not self._has_sentence_features:
            with torch.autocast(self.token_ids.device.type, enabled=False):
                self.sentence_features = self._look_at_sentences().encode(self.text_tower, self.cache_prototypes)
        return self.sentence_features

    def centers(self) -> torch.Tensor:
        """Return the centres of the class texts ``(K, D)``, unit norm, which are made when first asked for."""
        if not len(self.cluster_centers):
            self._check_number_of_classes()
            texts = self.fixed_texts()
            with torch.autocast(texts.device.type, enabled=False):
                clusters = cosine_kmeans(texts, draw_starts(texts, self.num_clusters, self.cluster_seed))
            self.cluster_centers = F.normalize(clusters.centers, dim=-1)
        return self.cluster_centers

    @property
    def _has_sentence_features(self):
        return len(self.sentence_features) == len(self.class_names)

    def _look_at_sentences(self):
        if self._class_sentences is None:
            templates = (self.templates or DEFAULT_TEMPLATES) if self.sentences is None else None
            self._class_sentences = ClassSentences(
                self.class_names,
                self._clip_of_texts().make_tokenizer(),
                TEACHER_TEMPLATES if self.sentences == TEMPLATES_OF_CLIP else templates,
                self.sentences,
            )
            check_words(self.architecture, self._class_sentences.texts())
        return self._class_sentences

    def _check_number_of_classes(self):
        if len(self.class_names) < self.num_clusters:
            raise ValueError(
                f'TAC clusters the texts of the classes into {self.num_clusters}, but there are '
                f'{len(self.class_names)}; set model.num_clusters to {len(self.class_names)} or less'
            )

    @contextlib.contextmanager
    def _restored(self):
        kept = self.sentence_features, self.cluster_centers, self._class_sentences
        try:
            with super()._restored():
                yield
        finally:
            self.sentence_features, self.cluster_centers, self._class_sentences = kept

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in ('sentence_features', 'cluster_centers'):
            if prefix + name in state_dict:
                self._resize(name, len(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._centers_stay = len(self.cluster_centers) > 0

    # Towers with prompts.

    def first_words(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Look up the embeddings behind the start token, as many as there are vectors in a block.

        Args:
            token_ids (Tensor): Of one text, ``(1, context_length)``.

        Returns:
            Tensor: ``(n, W)``.
        """
        return self.text_tower.embed(token_ids[:, 1 : 1 + self.num_prompts])[0]

    def vision_vectors(self) -> list:
        """Return what stands behind the patches in each block: task-aware tokens, then prompts, ``(K + n, W)``."""
        mapped = self.vision_map(self.centers())
        return [torch.cat([mapped, prompts]) for prompts in self.vision_prompts]

    def text_inputs(self) -> tuple:
        """Return the arguments of :meth:`TextTower.forward`: task-aware tokens, prompts and words of all classes."""
        mapped, plain = self.text_map(self.centers()), self._prompts.of(self.token_ids)
        first, *deep = (torch.cat([mapped, prompts]) for prompts in self.text_prompts)
        vectors = first.to(plain.embeddings.dtype).expand(len(plain.embeddings), -1, -1)
        embeddings = torch.cat([plain.embeddings[:, :1], vectors, plain.embeddings[:, 1:]], 1)
        return (
            embeddings,
            [end + len(first) for end in plain.ends],
            plain.shared + len(first),
            {block: (1, vectors) for block, vectors in enumerate(deep, 1)},
        )

    def class_features(self) -> torch.Tensor:
        """Return the unit-norm texts with prompts, ``(C, D)``."""
        return F.normalize(self.text_tower(*self.text_inputs()).float(), dim=-1)

    def prompted_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the [CLS] features with prompts, ``(N, D)``, not of unit norm."""
        return self.backbone(images, self.vision_vectors(), self.num_clusters).cls

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features with prompts, ``(B, D)``."""
        return F.normalize(self.prompted_features(images), dim=-1)

    # Training.

    def picture_batch(self, views: Sequence[torch.Tensor], labels: torch.Tensor) -> PictureFeatures:
        """Run the views with prompts, and the pictures without augmentation in the frozen tower.

        Args:
            views (Sequence[Tensor]): ``V`` views and the pictures without augmentation, ``(B, 3, H, W)`` each.
            labels (Tensor): ``(B,)``.

        Returns:
            PictureFeatures: Of this process.

        Raises:
            ValueError: If there is nothing besides the pictures without augmentation.
        """
        if len(views) < 2:
            raise ValueError(
                f'TACClassifier takes views and, last, pictures without augmentation, but got {len(views)} of '
                "both; set train_dataloader.dataset.views=dict(num_views=4, reference='squash')"
            )
        tuned = self.prompted_features(torch.cat(list(views[:-1]))).unflatten(0, (-1, len(labels)))
        self._centers_stay = True
        reference = self.backbone(views[-1]).cls if self.image_constraint.active else None
        return PictureFeatures(labels, tuned.transpose(0, 1), reference)

    def dropped(self, batch: PictureFeatures) -> PictureBatch:
        """Apply the dropouts, that of the views first, and scale to unit norm.

        Returns:
            PictureBatch: ``V * B`` pictures, view by view; ``zero_shot`` repeats the features of the ``B`` pictures.
        """
        num_views = batch.views.shape[1]
        views = self.dropout(batch.views.transpose(0, 1).flatten(0, 1))
        reference = None if batch.reference is None else F.normalize(self.dropout(batch.reference), dim=-1)
        return PictureBatch(
            batch.labels.repeat(num_views),
            F.normalize(views, dim=-1),
            None if reference is None else reference.repeat(num_views, 1),
        )

    def losses(self, batch: PictureFeatures) -> dict[str, torch.Tensor]:
        """Compute cross-entropy and the two constraints as far as they count.

        Args:
            batch (PictureFeatures): Of all processes, whose dropouts are the same.

        Returns:
            dict[str, Tensor]: Scalars; those whose name holds ``loss`` are to be summed.
        """
        pictures, texts = self.dropped(batch), self.class_features()
        _, losses = self.classify(pictures, texts)
        if self.text_constraint.active:
            losses['loss_text'] = self.text_constraint(texts, self.fixed_texts())
        if self.image_constraint.active:
            losses['loss_image'] = self.image_constraint(pictures.tuned, pictures.zero_shot)
        return losses


def _random_prompts(depth, number, width):
    return nn.ParameterList(nn.Parameter(PROMPT_STD * torch.randn(number, width)) for _ in range(depth))


def _check_numbers(num_prompts, num_clusters, dropout):
    for name, number in (('num_prompts', num_prompts), ('num_clusters', num_clusters)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f'{name} must be a whole number >= 1, but is {number!r}')
    if not 0 <= dropout < 1:
        raise ValueError(f'dropout must be at least 0 and below 1, but is {dropout!r}')
