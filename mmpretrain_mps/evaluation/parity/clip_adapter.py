"""Comparison with recorded numbers of the released code of CLIP-Adapter.

A file holds a small CLIP (``clip.*``), pictures, prompts and an adapter (``in.*``), and what the code computes from
them for several shares of the adapter (``ratioR``): logits, loss, gradients and a trajectory of the optimizer and the
schedule that are those of the method's base file.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch

from ...models import CLIPAdapterClassifier
from .frozen_images import find_architecture, samples_of, with_recorded_classes
from .golden import TOLERANCE, compared
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

INPUTS = r'(clip|in)\..*'
STATE_TOLERANCE = 4e-6
SPLITS = ('train', 'test')
# Our names of the recorded weights.
WEIGHTS = {'fc.0.weight': 'down.weight', 'fc.2.weight': 'up.weight'}


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.adapter.fc.0.weight' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(
        [
            'in.token_ids',
            'in.train_images',
            'in.train_labels',
            'in.test_images',
            'out.image_features.test',
            'out.text_features',
            *(f'in.adapter.{name}' for name in WEIGHTS),
        ]
    )
    token_ids = golden.tensor('in.token_ids')[:, None]
    with tempfile.TemporaryDirectory() as folder:
        architecture = find_architecture(
            golden,
            folder,
            golden.tensor('in.test_images'),
            golden.tensor('out.image_features.test'),
            token_ids,
            golden.tensor('out.text_features'),
        )
        build = functools.partial(_build, golden, architecture, token_ids)
        yield from _compare_features(golden, build(0.2), token_ids)
        for ratio in dict.fromkeys(match[1] for match in golden.matches(r'loss\.ratio([\d.e+-]+)\.ce')):
            yield from _compare_ratio(golden, build(float(ratio)), f'ratio{ratio}')


def _build(golden, architecture, token_ids, ratio):
    bottleneck, width = golden.arrays['in.adapter.fc.0.weight'].shape
    model = CLIPAdapterClassifier(
        architecture, None, ratio=ratio, reduction=width // bottleneck, cache_prototypes=False, **golden.options
    )
    model = with_recorded_classes(model, token_ids)
    with torch.no_grad():
        for name, parameter in _weights(model):
            parameter.copy_(golden.tensor(f'in.adapter.{name}'))
    return model


def _weights(model):
    own = dict(model.adapter.named_parameters())
    return [(name, own[ours]) for name, ours in WEIGHTS.items()]


@torch.no_grad()
def _compare_features(golden, model, token_ids):
    clip = model._clip_of_texts().model
    yield compared(golden, 'out.text_features', clip.encode_text(token_ids[:, 0]))
    features = {split: model.frozen_features(golden.tensor(f'in.{split}_images')).cls for split in SPLITS}
    for split, found in features.items():
        yield compared(golden, f'out.image_features.{split}', found)
    yield compared(golden, 'out.adapter.train', model.adapter(features['train']))


def _compare_ratio(golden, model, case):
    images = {split: golden.tensor(f'in.{split}_images') for split in SPLITS}
    samples = samples_of(golden.tensor('in.train_labels'))
    with torch.no_grad():
        for split, pictures in images.items():
            yield compared(golden, f'out.{case}.logits.{split}', model(pictures))
    steps = len(golden.arrays[f'traj.{case}.loss'])
    optimizer, rates = recipe_optimizer('clip_adapter', model.adapter.parameters()), recipe_rates('clip_adapter', steps)
    losses = []
    for step in range(steps):
        loss = model([images['train']], samples, mode='loss')['loss_ce']
        optimizer.zero_grad()
        loss.backward()
        if not step:
            yield compared(golden, f'loss.{case}.ce', loss)
            for name, weight in _weights(model):
                yield compared(golden, f'grad.{case}.{name}', weight.grad)
        losses.append(loss.item())
        for group in optimizer.param_groups:
            group['lr'] = rates[step].item()
        optimizer.step()
        for name, weight in _weights(model):
            yield compared(golden, f'traj.{case}.after_step{step + 1}.{name}', weight, STATE_TOLERANCE)
    yield compared(golden, f'traj.{case}.loss', losses, TOLERANCE)
    yield compared(golden, f'traj.{case}.lr', rates)
    with torch.no_grad():
        yield compared(golden, f'out.{case}.logits.test_after', model(images['test']))
