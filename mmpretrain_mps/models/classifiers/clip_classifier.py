"""What every method of few-shot adaptation of CLIP shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS

from ..backbones import frozen_weights
from ..backbones.block_functions import compile_blocks
from ..backbones.cuda_graph import use_graphs
from ..backbones.dual_branch_vit import BranchFeatures
from ..backbones.value_path import run_block, value_projection
from ..computation.gathering import gather_batch
from ..data_preprocessor import normalisation_of
from ..heads.logits_fusion_head import BranchLogits
from ..loading.clip_loader import load_clip, require_weights
from .class_texts import ModelOfClasses
from .description import DescribedModule
from .test_features import NO_FEATURES, TestFeatures, write_features
from .text_comparison import TextComparison

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

# Where mmpretrain's classifiers can be asked for their features.
STAGES = ('backbone', 'neck', 'pre_logits')


class CLIPClassifier(DescribedModule, ModelOfClasses, TextComparison, BaseClassifier):
    """The house of all methods: a frozen CLIP of open_clip, class names, checkpoints, several processes, predictions.

    A method adds what is its own:

    - trained parameters, in its ``__init__``, which ends with ``set_classes`` where class names are given;
    - :meth:`picture_batch` and :meth:`losses`: what a training step makes of pictures, and the losses of a batch;
    - :meth:`branch_logits` and :meth:`picture_features`: what a prediction is made of;
    - as far as it needs them, :meth:`class_features`, :meth:`frozen_features`, ``encode_class_texts``,
      ``describe_method``, and the attributes below; :meth:`plain_tower` or :meth:`plain_layer` where it predicts by more than the
      frozen tower and its texts.

    Its state holds the trained weights, what is made of the class names, and a description of the base model; the frozen
    weights come from the base model again, which loading a checkpoint verifies.

    Args:
        architecture (str): Model name of open_clip, ``'mps-mini'`` or ``'mps-mini-pictograms'``.
        pretrained (str | None): Tag such as ``'openai'`` or a local file; None for random weights.
        backbone (dict): Config of the backbone; it gets ``visual``, open_clip's vision tower.
        head (dict): Config of the fusion head.
        templates (Sequence[str], optional): Prompt templates; they take precedence over the data set's.
        normalize_templates (bool): Unit norm for each template's text feature before the mean.
        quick_gelu (bool, optional): Overrides the activation that weights are known to need.
        logit_scale (float, optional): Factor on cosines. Defaults to the one CLIP learned, 100 for OpenAI's.
        gather (str): ``'all'``: processes that train together compute the losses of their common batch, and N processes
            with batch B equal one with batch N x B. ``'none'``: each computes those of its own pictures; relations
            between pictures of different processes are then lost.
        compile (bool | dict, optional): Run the vision tower's blocks through ``torch.compile``, with these arguments.
        cuda_graph (bool | str): On a GPU, replay the vision tower's part of a prediction, and with ``'training'`` that of a
            training step, too; see :class:`GraphedForward`.
        cache_prototypes (bool): Keep class prototypes on disk; :mod:`..caches.prototype_cache` says where.
        test_features (Sequence[str]): What predictions carry besides logits and scores, see :class:`TestFeatures`; nothing
            by default. :class:`TestFeaturesHook` adds what metrics need while they are in use.
        data_preprocessor (dict, optional): Defaults to the normalisation of the CLIP model, for RGB pictures of 0-255.
        allow_other_prediction (bool): Load checkpoints that were trained to predict otherwise, say with another
            ``head.alpha``, see :meth:`describe_prediction`; with a warning, instead of refusing them.

    Attributes:
        equal_batches (bool): Whether all processes are known to have equally many pictures in the batch at hand, see
            :class:`EqualBatchesHook`. Otherwise they tell each other first.
        cached_zero_shot (CachedFeatures | None): Frozen features of the pictures at hand, see :class:`ReuseZeroShotHook`.

    Raises:
        ValueError: If ``gather`` or one of ``test_features`` is unknown.
    """

    default_backbone = 'PromptableViT'
    random_training = False
    """Whether a training step draws random numbers in the model; each epoch then starts from a seed of its own."""
    has_two_towers = False
    """Whether the two branches see different features of a picture; else they are two linear maps of the same."""
    has_tuned_layers = False
    """Whether metrics can compare layers and patch tokens of both branches."""
    takes_reference = False
    """Whether the last of the views of a training step is the picture without augmentation, see :class:`DualView`."""

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        backbone: dict[str, Any] | None = None,
        head: dict[str, Any] | None = None,
        templates: Sequence[str] | None = None,
        normalize_templates: bool = True,
        quick_gelu: bool | None = None,
        logit_scale: float | None = None,
        gather: str = 'all',
        compile: bool | dict[str, Any] | None = None,
        cuda_graph: bool | str = False,
        cache_prototypes: bool = True,
        test_features: Sequence[str] = (),
        data_preprocessor: dict[str, Any] | None = None,
        allow_other_prediction: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ):
        if gather not in ('all', 'none'):
            raise ValueError(f"gather must be 'all' or 'none', but is {gather!r}")
        clip = load_clip(architecture, pretrained, quick_gelu)
        # Built here, in mmpretrain's registry: the base class would need a default scope to be set.
        super().__init__(
            init_cfg=init_cfg, data_preprocessor=MODELS.build(data_preprocessor or normalisation_of(clip.preprocess))
        )
        self.architecture, self.pretrained, self.quick_gelu = architecture, pretrained, clip.quick_gelu
        self.image_size = clip.preprocess.image_size
        self.gather, self.equal_batches = gather, False
        self.allow_other_prediction = allow_other_prediction
        self.cached_zero_shot, self._cached_class_features = None, None
        self.test_features = TestFeatures.of(test_features)
        self.logit_scale = clip.model.logit_scale.exp().item() if logit_scale is None else float(logit_scale)
        self.backbone = MODELS.build({'type': self.default_backbone, **(backbone or {}), 'visual': clip.model.visual})
        # The backbone owns the vision tower now.
        clip.model.visual = None
        if compile:
            compile_blocks(self.backbone, (run_block, value_projection), **(compile if isinstance(compile, dict) else {}))
        use_graphs(self.backbone, cuda_graph)
        self.head = MODELS.build({'type': 'LogitsFusionHead', **(head or {})})
        self._set_up_classes(clip, self.backbone.embed_dims, templates, normalize_templates, cache_prototypes)
        self._leave_out_frozen_weights()

    @classmethod
    def require_files(cls, config: dict) -> None:
        """Raise an error at once if weights that a model of this class is built on are not to be had.

        Args:
            config (dict): Of the model.

        Raises:
            FileNotFoundError: Names what is missing, where it was looked for, and how to get it.
            ValueError: If an architecture or a tag is unknown.
        """
        require_weights(config.get('architecture'), config.get('pretrained'))

    def describe_prediction(self) -> dict:
        """Return how logits are fused and scaled, how prototypes are made, and how pictures are normalised."""
        return {
            'model.head.alpha': self.head.alpha,
            'model.head.fusion': self.head.fusion,
            'model.logit_scale': self.logit_scale,
            'model.normalize_templates': self.normalize_templates,
            **{
                f'model.data_preprocessor.{name}': getattr(self.data_preprocessor, name).flatten().tolist()
                for name in ('mean', 'std')
                if hasattr(self.data_preprocessor, name)
            },
        }

    def train(self, mode: bool = True) -> CLIPClassifier:
        """Set the mode, as loops do when they start; class features and casts of weights are made again.

        What changes weights behind PyTorch's count of versions (mmengine's ``EMAHook`` through ``.data``) does so between
        loops.
        """
        self._cached_class_features = None
        if mode != self.training:
            frozen_weights.forget()
        return super().train(mode)

    def set_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set what changes over the epochs; nothing here.

        Args:
            epoch (int): Current epoch, from 0.
            max_epochs (int): Epochs of the whole training.
        """

    def forward(
        self,
        inputs: torch.Tensor | list[torch.Tensor] | NamedTuple,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, torch.Tensor] | list[DataSample] | torch.Tensor:
        """Run the model.

        Args:
            inputs (Tensor | list[Tensor] | NamedTuple): Normalised pictures ``(B, 3, H, W)``; for ``mode='loss'`` a list
                of such tensors, one per view, or what :meth:`frozen_features` made of all views, view by view.
            data_samples (list[DataSample], optional): One per picture; needed with ``mode='loss'``.
            mode (str): ``'loss'`` returns a dict of weighted losses and diagnostics, ``'predict'`` data samples with
                predictions, ``'tensor'`` the fused logits ``(B, C)``.

        Raises:
            ValueError: If there are no class prototypes yet, the picture size is wrong or the mode is unknown.
        """
        self._check_classes()
        views = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        if not is_frozen(inputs):
            self._check_size(views[0])
        if mode == 'loss':
            return self.loss(views, data_samples)
        if len(views) != 1:
            raise ValueError(f"mode '{mode}' takes one view of each picture, but got {len(views)}")
        if mode == 'predict':
            return self.predict(views[0], data_samples)
        if mode == 'tensor':
            return self.branch_logits(views[0])[0].fused
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', but is {mode!r}")

    # Training.

    def loss(self, views: Sequence[torch.Tensor] | NamedTuple, data_samples: list[DataSample]) -> dict:
        """Compute the weighted losses and the accuracies of a batch, the one of all processes with ``gather='all'``.

        Args:
            views (Sequence[Tensor] | NamedTuple): ``V`` tensors ``(B, 3, H, W)``, or what :meth:`frozen_features` made
                of them, ``V * B`` rows.
            data_samples (list[DataSample]): ``B`` samples with ``gt_label``.

        Returns:
            dict[str, Tensor]: Scalars; those whose name holds ``loss`` are to be summed.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples])
        labels = labels.to(self.text_prototypes.device, non_blocking=True)
        batch = self.picture_batch(views, labels)
        if self.gather == 'all':
            batch = self.gathered(batch)
        return self.losses(batch)

    def picture_batch(self, views: Sequence[torch.Tensor] | NamedTuple, labels: torch.Tensor) -> NamedTuple:
        """Compute what the losses see of each picture.

        Args:
            views (Sequence[Tensor] | NamedTuple): As in :meth:`loss`.
            labels (Tensor): ``(B,)``, int64.

        Returns:
            NamedTuple: Tensors whose first axis is the pictures, or None; further views are further pictures, view by view.
        """
        raise NotImplementedError

    def losses(self, batch: NamedTuple) -> dict:
        """Compute the losses of a batch; see :meth:`loss`.

        Args:
            batch (NamedTuple): Of :meth:`picture_batch`, of all processes.
        """
        raise NotImplementedError

    def gathered(self, batch: NamedTuple) -> NamedTuple:
        """Return the batch of all processes, with exact gradients; see :func:`gather_batch`."""
        return type(batch)(*gather_batch(batch, self.equal_batches))

    def frozen_features(self, images: torch.Tensor) -> NamedTuple:
        """Compute what a training step needs of the frozen part of the network, and nothing else.

        Args:
            images (Tensor): Normalised pictures ``(N, 3, H, W)``.

        Returns:
            NamedTuple: Of tensors with ``N`` rows, without gradient; for :meth:`forward` with ``mode='loss'``, as often as
            wanted.

        Raises:
            ValueError: If the picture size is wrong.
        """
        raise NotImplementedError

    def frozen_of(self, views: Sequence[torch.Tensor] | NamedTuple) -> NamedTuple:
        """Return the frozen features of views: those that were cached, or computed now.

        Args:
            views (Sequence[Tensor] | NamedTuple): As in :meth:`loss`.
        """
        return views if is_frozen(views) else self.frozen_features(torch.cat(list(views)))

    # Prediction.

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features by the tuned tower, or by the frozen one where no tower is tuned.

        Args:
            images (Tensor): Normalised pictures ``(B, 3, H, W)``.

        Returns:
            Tensor: Unit-norm [CLS] features ``(B, D)``.
        """
        raise NotImplementedError

    def extract_feat(self, inputs: torch.Tensor, stage: str = STAGES[-1]) -> tuple[torch.Tensor]:
        """Return :meth:`picture_features` in the form in which mmpretrain's tools ask for features.

        Args:
            inputs (Tensor): Normalised pictures ``(B, 3, H, W)``.
            stage (str): One of :data:`STAGES`; between backbone and logits, nothing changes the features here.

        Returns:
            tuple[Tensor]: ``(B, D)``.

        Raises:
            ValueError: If there is no such stage.
        """
        if stage not in STAGES:
            raise ValueError(f'stage must be one of {STAGES}, but is {stage!r}')
        return (self.picture_features(inputs),)

    def predict(self, inputs: torch.Tensor, data_samples: list[DataSample] | None = None) -> list:
        """Classify pictures.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Samples to fill.

        Returns:
            list[DataSample]: See :meth:`LogitsFusionHead.predict`; with ``test_features`` also :func:`write_features`.
        """
        logits, features = self.branch_logits(inputs, data_samples, self.test_features, zero_shot=True)
        samples = self.head.predict(logits, data_samples)
        write_features(samples, features, self.test_features)
        return samples

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = False,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of both branches.

        Args:
            images (Tensor): Normalised pictures ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Of the same pictures, to find cached features by.
            wanted (TestFeatures): What is to be returned besides [CLS].
            zero_shot (bool): Whether the logits of the frozen model are asked for even if the prediction does not depend on
                them.

        Returns:
            tuple[BranchLogits, BranchFeatures]: Logits ``(B, C)``; unit-norm features ``(B, L, D)``.
        """
        raise NotImplementedError

    def zero_shot_features(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        compute: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return unit-norm [CLS] features of the frozen model, cached ones where there are some.

        Args:
            images (Tensor): Normalised pictures ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Of the same pictures.
            compute (Callable, optional): Takes the pictures and returns the features ``(B, D)``. Defaults to the backbone
                without prompts.

        Returns:
            Tensor: ``(B, D)``.
        """
        indices = None if self.cached_zero_shot is None else indices_of(data_samples)
        cached = None if indices is None else self.cached_zero_shot.get(indices, images.device)
        if cached is not None:
            return cached
        features = F.normalize(self.backbone(images).cls.float(), dim=-1) if compute is None else compute(images)
        if indices is not None:
            self.cached_zero_shot.put(indices, features)
        return features

    @classmethod
    def refuse_layers(cls, wanted: TestFeatures) -> None:
        """Raise ValueError where a metric asks for layers or patch tokens of a method that has no tuned copies of them."""
        if wanted.beyond_cls and not cls.has_tuned_layers:
            raise ValueError(
                f'{cls.__name__} tunes no copy of a layer: metrics of layers or of patch tokens do not '
                'apply to it; leave GramDistortion local=..., ClassSeparability layers=... out'
            )

    def _check_size(self, images):
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(
                f'{self.architecture} takes pictures of {self.image_size} pixels (height, width), but got '
                f'a batch of shape {tuple(images.shape)}'
            )


def is_frozen(views: Any) -> bool:
    """Whether something are frozen features, a named tuple of tensors, and no pictures."""
    return isinstance(views, tuple) and hasattr(views, '_fields')


def cls_features(tuned: torch.Tensor, zero_shot: torch.Tensor | None) -> BranchFeatures:
    """Return [CLS] features ``(B, D)`` of both branches as metrics and plots read them."""
    return BranchFeatures(tuned=tuned[:, None], zero_shot=None if zero_shot is None else zero_shot[:, None], intermediate=())


def indices_of(data_samples: Sequence[DataSample] | None) -> list | None:
    """Return ``sample_idx`` of samples, None where one has none; whoever caches features makes sure that they are unique."""
    indices = [getattr(sample, 'sample_idx', None) for sample in data_samples or [None]]
    return None if None in indices else indices


__all__ = ['BranchLogits', 'CLIPClassifier', 'cls_features', 'indices_of', 'is_frozen']
