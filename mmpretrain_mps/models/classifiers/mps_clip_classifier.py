"""CLIP tuned on a few pictures per class by MPS-Tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..computation.gathering import gather_batch
from .clip_classifier import CLIPClassifier, indices_of, is_frozen
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..heads.logits_fusion_head import BranchLogits
    from ..utils.test_features import TestFeatures
    from .frozen_image_classifier import ImageFeatures


class LossInputs(NamedTuple):
    """What the losses see of a batch: ``V`` views of ``B`` pictures, those of all processes once gathered."""

    labels: torch.Tensor
    """``(B,)``, int64."""
    tuned: torch.Tensor
    """[CLS] features of the tuned branch ``(V, B, D)``."""
    zero_shot: torch.Tensor | None
    """The same of the frozen branch; None where nothing depends on it."""
    intermediate: tuple
    """The same of intermediate layers through the pseudo-forward, each ``(V, B, D)``."""
    local_distances: torch.Tensor | None
    """Local Gram distance of each picture ``(B,)``; None where it does not count."""
    patch_distances: tuple = ()
    """For each point-wise loss: distance of the patch tokens of each picture ``(B,)``; None where it does not count."""

    def gathered(self, equal_sizes: bool) -> LossInputs:
        """Return the batch of all processes; see :func:`gather_batch`."""
        views_last = [None if x is None else x.movedim(0, 1) for x in (self.tuned, self.zero_shot, *self.intermediate)]
        of_pictures = [self.labels, self.local_distances, *self.patch_distances]
        gathered = gather_batch([*of_pictures, *views_last], equal_sizes)
        labels, local_distances, *patch_distances = gathered[: len(of_pictures)]
        tuned, zero_shot, *intermediate = (None if x is None else x.movedim(1, 0) for x in gathered[len(of_pictures) :])
        return LossInputs(labels, tuned, zero_shot, tuple(intermediate), local_distances, tuple(patch_distances))


@MODELS.register_module()
class MPSCLIPClassifier(CLIPClassifier):
    """MPS-Tuning: `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_.

    The backbone computes the features of both branches, the head fuses their logits, the losses constrain (Gram
    alignment) and separate (hierarchical sculpting) the tuned features. A loss with weight 0 costs nothing.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        gram_loss (dict, optional): Config of :class:`GramAlignLoss`.
        sculpt_loss (dict, optional): Config of :class:`HierarchicalSculptLoss`.
        point_loss (dict | Sequence[dict], optional): Config of :class:`PointAlignLoss` or, by its type, of
            :class:`LogitConsistencyLoss`, or of both: what relations of pictures are compared with.
        class_names (Sequence[str], optional): Readable names, index = label. Without them :class:`ClassNamesHook`
            takes those of the data set, or :meth:`set_classes` is called.
        templates (Sequence[str], optional): Prompt templates; they take precedence over the data set's.
        **kwargs: Others of :class:`CLIPClassifier`; the backbone is :class:`DualBranchViT`. The released code has
            ``normalize_templates=False``. With ``gather='none'`` the global Gram and the sculpting loss, which relate
            pictures, depend on the number of processes.

    Raises:
        ValueError: If ``point_loss`` holds a type twice.
    """

    method = 'mps'
    default_backbone = 'DualBranchViT'
    has_two_towers = has_tuned_layers = True
    # Checkpoints from before these keys existed do not state them.
    described_by_default = {'method': 'mps', 'tune_stem': False}

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        gram_loss: dict[str, Any] | None = None,
        sculpt_loss: dict[str, Any] | None = None,
        point_loss: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(architecture, pretrained, templates=templates, **kwargs)
        self.gram_loss = _build_if_active(gram_loss, 'GramAlignLoss')
        self.sculpt_loss = _build_if_active(sculpt_loss, 'HierarchicalSculptLoss')
        self.point_losses = _build_point_losses(point_loss)
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def temperature(self) -> float | None:
        """float: Current temperature of the sculpting loss, None without it."""
        return None if self.sculpt_loss is None else self.sculpt_loss.temperature

    def set_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set the temperature of the sculpting loss; see :meth:`CLIPClassifier.set_epoch`."""
        if self.sculpt_loss is not None:
            self.sculpt_loss.set_epoch(epoch, max_epochs)

    def describe_method(self) -> dict[str, Any]:
        """Return what is tuned."""
        return dict(
            group_depths=list(self.backbone.group_depths),
            adapters=len(self.backbone.tuned.adapters),
            tune_stem=self.backbone.tune_stem,
        )

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features of the tuned branch, ``(B, D)``."""
        return self.backbone(images, zero_shot=False).tuned[:, 0]

    def plain_tower(self) -> dict[str, torch.Tensor]:
        """Return the weights of the tuned branch; see :meth:`CLIPClassifier.plain_tower`."""
        return self.backbone.tuned_tower()

    def picture_batch(self, views: Sequence[torch.Tensor] | NamedTuple, labels: torch.Tensor) -> LossInputs:
        """Run both branches on all views and reduce them to what the losses see of each picture.

        Returns:
            LossInputs: Of this process.
        """
        return self._loss_inputs(self._training_features(views, len(labels)), labels)

    def gathered(self, batch: LossInputs) -> LossInputs:
        """Return the batch of all processes."""
        return batch.gathered(self.equal_batches)

    def losses(self, batch: LossInputs) -> dict[str, torch.Tensor]:
        """Compute cross-entropy of the fused logits, alignment, point-wise constraints and sculpting.

        Args:
            batch (LossInputs): Of all processes.

        Returns:
            dict[str, Tensor]: Scalars; those whose name holds ``loss`` are to be summed.
        """
        logits = self.head(batch.tuned, batch.zero_shot, self.unit_prototypes(), self.logit_scale)
        losses = self.head.loss(logits, batch.labels)
        if self.gram_loss is not None:
            losses.update(self.gram_loss.combine(batch.tuned, batch.zero_shot, batch.local_distances))
        for loss, distances in zip(self.point_losses, batch.patch_distances, strict=True):
            losses.update(loss.combine(batch.tuned, batch.zero_shot, logits, distances))
        if self.sculpt_loss is not None:
            losses.update(self.sculpt_loss(batch.tuned, batch.intermediate, batch.labels, self.text_prototypes))
            # Filled on the device: a tensor made of a number would be copied there, and waited for.
            losses['temperature'] = batch.tuned.new_full((), self.temperature)
        return losses

    def frozen_features(self, images: torch.Tensor) -> ImageFeatures:
        """Run trunk, first adapted block and, as far as a loss needs it, the frozen branch.

        Returns:
            FrozenFeatures: See :meth:`CLIPClassifier.frozen_features`.
        """
        self._check_size(images)
        return self.backbone.frozen_features(images, **self._needed_of_branches())

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = True,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of both branches, of which the prediction always needs both."""
        features = self._predict_features(images, data_samples, wanted)
        return self.head(features.tuned[:, 0], features.zero_shot[:, 0], self.unit_prototypes(), self.logit_scale), features

    def _predict_features(self, images, data_samples=None, wanted=NO_FEATURES):
        """Run both branches, the frozen one only where its features are not cached or more than [CLS] is wanted of it."""
        indices = None if self.cached_zero_shot is None or wanted.beyond_cls else indices_of(data_samples)
        cached = None if indices is None else self.cached_zero_shot.get(indices, images.device)
        starts = tuple(range(1, self.backbone.num_tuned_blocks + 1)) if wanted.layers else ()
        features = self.backbone(
            images, patch_tokens=bool(wanted.local), zero_shot=cached is None, intermediate_starts=starts, zero_shot_starts=starts
        )
        if cached is not None:
            return features._replace(zero_shot=cached[:, None])
        if indices is not None:
            self.cached_zero_shot.put(indices, features.zero_shot[:, 0])
        return features

    def _needed_of_branches(self):
        """Return what the losses that count need of both branches."""
        constraints = [*([] if self.gram_loss is None else [self.gram_loss]), *self.point_losses]
        return dict(
            patch_tokens=any(loss.uses_patch_tokens for loss in constraints),
            zero_shot=bool(constraints) or self.head.uses_zero_shot,
        )

    def _training_features(self, views, pictures=None):
        """Run all views in one batch; return features with a leading axis of views.

        Frozen features do not tell how many pictures they are of.
        """
        features = self.backbone(
            views if is_frozen(views) else torch.cat(list(views)),
            **self._needed_of_branches(),
            intermediate_starts=() if self.sculpt_loss is None else self.sculpt_loss.intermediate_starts,
        )
        shape = (-1, len(views[0]) if pictures is None else pictures)
        return features._replace(
            tuned=features.tuned.unflatten(0, shape),
            zero_shot=None if features.zero_shot is None else features.zero_shot.unflatten(0, shape),
            intermediate=tuple(layer.unflatten(0, shape) for layer in features.intermediate),
        )

    def _loss_inputs(self, features, labels):
        """Reduce the features of this process to what the losses see of each picture."""
        gram = self.gram_loss
        local = gram is not None and gram.uses_patch_tokens
        return LossInputs(
            labels,
            features.tuned[:, :, 0],
            None if features.zero_shot is None else features.zero_shot[:, :, 0],
            features.intermediate,
            gram.local_distances(features.tuned, features.zero_shot) if local else None,
            tuple(
                loss.patch_distances(features.tuned, features.zero_shot) if loss.uses_patch_tokens else None
                for loss in self.point_losses
            ),
        )


def _build_if_active(config, default_type):
    """Build a loss, or return None where it is absent or weighs nothing, so that nothing is computed for it."""
    if config is None:
        return None
    loss = MODELS.build({'type': default_type, **config})
    return loss if loss.active else None


def _build_point_losses(config):
    """Build the point-wise losses that weigh something."""
    configs = [config] if isinstance(config, dict) else list(config or ())
    types = [config.get('type', 'PointAlignLoss') for config in configs]
    twice = sorted({str(kind) for kind in types if types.count(kind) > 1})
    if twice:
        # They would have the same names in the log, and one would take the other's place in the sum.
        raise ValueError(f'point_loss holds {" and ".join(twice)} more than once; expected each type once at most')
    losses = [_build_if_active(config, 'PointAlignLoss') for config in configs]
    return nn.ModuleList(loss for loss in losses if loss is not None)
