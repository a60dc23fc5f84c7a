"""What the comparisons of methods on frozen features of pictures have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from mmpretrain.registry import PARAM_SCHEDULERS
from mmpretrain.structures import DataSample

from ...models.loading.clip_loader import load_clip
from ...utils.config import apply_options
from ...utils.methods import read_method
from .golden import GoldenFile, clip_folder, find_heads

if TYPE_CHECKING:
    from mmengine.optim import _ParamScheduler
    from torch import nn
    from torch.optim import Optimizer

    from ...models.classifiers.clip_classifier import CLIPClassifier
    from ...models.classifiers.frozen_image_classifier import ImageFeatures
    from ...models.classifiers.logit_bias_classifier import LogitBiasClassifier

FEATURES_AGREE = 1e-3


def find_architecture(
    golden: GoldenFile,
    folder: str,
    images: torch.Tensor,
    image_features: torch.Tensor,
    token_ids: torch.Tensor,
    texts: torch.Tensor,
) -> str:
    """Write the recorded CLIP, whose numbers of attention heads leave no trace in shapes; recorded features tell them.

    Args:
        golden (GoldenFile): With ``clip.*``.
        folder (str): Where to put it.
        images (Tensor): As they enter the tower, ``(B, 3, H, W)``.
        image_features (Tensor): Recorded, of any norm, ``(B, D)``.
        token_ids (Tensor): Of the prompts, ``(C, T, L)``.
        texts (Tensor): Recorded, of any norm, ``(C, D)``: unit mean of unit features over the prompts.

    Returns:
        str: The architecture's name.

    Raises:
        ValueError: If no number of heads gives these features.
    """
    vision = _first_that_fits(
        golden,
        'clip.visual.positional_embedding',
        image_features,
        lambda heads: (heads, 1),
        folder,
        lambda clip: clip.encode_image(images),
    )
    text = _first_that_fits(
        golden,
        'clip.positional_embedding',
        texts,
        lambda heads: (vision, heads),
        folder,
        lambda clip: F.normalize(clip.encode_text(token_ids.flatten(0, 1)), dim=-1).unflatten(0, token_ids.shape[:2]).mean(1),
    )
    return clip_folder(golden, folder, (vision, text))


def _first_that_fits(golden, positions, recorded, heads_of, folder, encode):

    def agrees(heads: int) -> torch.Tensor:
        """Whether the features are the recorded ones with so many heads."""
        clip = load_clip(clip_folder(golden, folder, heads_of(heads)), None).model.to(golden.device)
        return (F.normalize(encode(clip), dim=-1) - F.normalize(recorded, dim=-1)).abs().max() < FEATURES_AGREE

    return find_heads(golden, golden.arrays[positions].shape[1], 'features', agrees)


def with_recorded_classes(model: CLIPClassifier, token_ids: torch.Tensor) -> CLIPClassifier:
    """Give a model classes whose prompts are recorded as tokens.

    Args:
        model (CLIPClassifier): Without classes.
        token_ids (Tensor): ``(C, T, L)``, ids of the recorded table of embeddings.

    Returns:
        CLIPClassifier: The model, on the device of the tokens.
    """
    model = model.to(token_ids.device)
    count, prompts, _ = token_ids.shape
    names, templates = [f'c{label}' for label in range(count)], [f'{index} of {{}}' for index in range(prompts)]
    rows = {
        template.format(name): token_ids[label, index]
        for label, name in enumerate(names)
        for index, template in enumerate(templates)
    }
    clip = model._text_tower.pop()
    model._text_tower.append(clip._replace(make_tokenizer=lambda: lambda texts: torch.stack([rows[t] for t in texts])))
    model.set_classes(names, templates)
    return model


def samples_of(labels: torch.Tensor) -> list:
    """Return data samples with these labels."""
    return [DataSample().set_gt_label(label) for label in labels]


def iteration_schedule(method: str, optimizer: Optimizer, epochs: int, steps: int) -> _ParamScheduler:
    """Build the schedule of a method's base file, by iterations.

    Args:
        method (str): Name of the base file, with one schedule.
        optimizer (Optimizer): Of the method.
        epochs (int): Length of the training.
        steps (int): In an epoch.

    Returns:
        _ParamScheduler: To be stepped after every step of the optimizer.
    """
    cfg = read_method(method)
    apply_options(cfg, {'train_cfg.max_epochs': epochs})
    (schedule,) = cfg.param_scheduler
    return PARAM_SCHEDULERS.build(dict(schedule), default_args=dict(optimizer=optimizer, epoch_length=steps))


def train(
    model: LogitBiasClassifier,
    layer: nn.Parameter,
    images: torch.Tensor,
    labels: torch.Tensor,
    method: str,
    optimizer: Optimizer,
    batch: int,
    steps: int,
    after_epoch: Callable[[], None] | None = None,
) -> dict:
    """Train a layer on recorded pictures in their order.

    Args:
        model (LogitBiasClassifier): In evaluation mode or not; it makes no difference.
        layer (Parameter): What is trained.
        images (Tensor): As they enter the towers, ``(B, 3, H, W)``.
        labels (Tensor): Their classes.
        method (str): Base file with the schedule.
        optimizer (Optimizer): Of the layer.
        batch (int): Pictures in a step, but for the last one of an epoch.
        steps (int): Of the whole training.
        after_epoch (Callable, optional): Called after each epoch.

    Returns:
        dict: ``loss`` and ``lr`` before each step, the ``first`` losses and the gradient of the first step (``grad``),
        and the layer after each step (``layers``).
    """
    parts = list(zip(images.split(batch), labels.split(batch)))
    schedule = iteration_schedule(method, optimizer, steps // len(parts), len(parts))
    found: dict[str, Any] = dict(loss=[], lr=[], layers=[])
    for step in range(steps):
        pictures, classes = parts[step % len(parts)]
        losses = model([pictures], samples_of(classes), mode='loss')
        loss = sum(value for name, value in losses.items() if 'loss' in name)
        optimizer.zero_grad()
        loss.backward()
        found['loss'].append(loss.item())
        found['lr'].append(optimizer.param_groups[0]['lr'])
        if not step:
            found.update(first=losses, grad=cast(torch.Tensor, layer.grad).clone())
        optimizer.step()
        schedule.step()
        found['layers'].append(layer.detach().clone())
        if after_epoch is not None and not (step + 1) % len(parts):
            after_epoch()
    return found


def steps_of(golden: GoldenFile, case: str) -> int:
    """Return the number of steps of a recorded training."""
    return math.prod(golden.arrays[f'traj.{case}.loss'].shape)


class BestOf:
    """Keeps the layer of the epoch with the most right test pictures, the first among equals, as released codes do."""

    def __init__(self, model: LogitBiasClassifier, features: ImageFeatures, labels: torch.Tensor):
        self.model, self.features, self.labels, self.most, self.layer = model, features, labels, -1, None

    def look(self) -> None:
        """Count, and keep the layer if it is the best one."""
        model = self.model
        right = int(model.count_right(self.features, self.labels, [model.inner], [model.head.alpha]))
        if right > self.most:
            self.most, self.layer = right, getattr(model, model.layer_name).detach().clone()
