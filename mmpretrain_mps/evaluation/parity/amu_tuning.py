"""Comparison with recorded numbers of the released code of AMU-Tuning.

A file holds a small CLIP (``clip.*``), a small ResNet (``aux.*``), several views of few-shot pictures, pictures to
train and test on (``in.*``, pixels between 0 and 1), and what the code computes from them: features, the first layer,
logits and losses of every kind of uncertainty, and three trainings of the layer, A to C, whose optimizer and schedule
are those of the method's base file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ...models import AMUTuningClassifier
from ...models.fusion.uncertainty import UNCERTAINTIES
from .frozen_images import BestOf, find_architecture, samples_of, steps_of, train, with_recorded_classes
from .golden import TOLERANCE, compared
from .recipes import recipe_optimizer

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

INPUTS = r'(clip|aux|in)\..*'
STATE_TOLERANCE = 4e-6
# Settings that no array holds: of all kinds of uncertainty, and of the trainings.
SETTINGS = dict(uncertainty_power=0.4, fused_weight=0.35, alpha=0.5)
CASES = {
    'A': dict(SETTINGS, uncertainty='none'),
    'B': dict(SETTINGS, uncertainty='moment'),
    'C': dict(uncertainty='moment', uncertainty_power=0.3, fused_weight=0.7, alpha=0.8),
}
# Blocks of the third stage to the depth of a ResNet.
DEPTHS = {6: 50, 23: 101, 36: 152}
PREFIX = 'module.base_encoder'


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.support_images' in names and 'aux.conv1.weight' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(
        [f'in.{split}_{part}' for split in ('support', 'test', 'train') for part in ('images', 'labels')]
        + ['in.token_ids', 'out.clip_features.test', 'out.text_prototypes', 'aux.layer1.0.conv1.weight']
    )
    with tempfile.TemporaryDirectory() as folder:
        build = _Builder(golden, folder)
        recorded = build(**SETTINGS)
        yield from _compare_features(recorded)
        for kind in UNCERTAINTIES:
            if f'out.{kind}.fused_logits.test' in golden.arrays:
                recorded.model.uncertainty = kind
                yield from _compare_kind(recorded, kind)
        for case, settings in CASES.items():
            if f'traj.{case}.loss' in golden.arrays:
                yield from _compare_training(build(**settings), case)


class _Builder:
    """Builds the classifier with the recorded networks, its layer started from the recorded pictures."""

    def __init__(self, golden: GoldenFile, folder: str):
        self.golden = golden
        self.token_ids = golden.tensor('in.token_ids')
        state = golden.tensors('aux.')
        blocks = sum(name.startswith('layer3.') and name.endswith('.conv1.weight') for name in state)
        self.network = dict(
            type='ResNet',
            depth=DEPTHS[blocks],
            stem_channels=len(state['conv1.weight']),
            base_channels=len(state['layer1.0.conv1.weight']),
        )
        self.weights = Path(folder, 'auxiliary.pth')
        torch.save(dict(state_dict={f'{PREFIX}.{name}': value for name, value in state.items()}), self.weights)
        # Any CLIP knows how its pictures are normalised.
        self.architecture = find_architecture(
            golden,
            folder,
            _normalise(golden.tensor('in.test_images')),
            golden.tensor('out.clip_features.test'),
            self.token_ids,
            golden.tensor('out.text_prototypes'),
        )

    def __call__(self, alpha, **settings):
        model = AMUTuningClassifier(
            self.architecture,
            None,
            auxiliary=self.network,
            auxiliary_weights=dict(checkpoint=str(self.weights), prefix=PREFIX),
            head=dict(alpha=alpha),
            cache_prototypes=False,
            **settings,
            **self.golden.options,
        )
        return _Recorded(self.golden, with_recorded_classes(model, self.token_ids))


class _Recorded:
    """The classifier with its layer started."""

    def __init__(self, golden: GoldenFile, model: AMUTuningClassifier):
        self.golden, self.model = golden, model
        with torch.no_grad():
            self.views = torch.stack(
                [model.start_features(_normalise(images, model)) for images in golden.tensor('in.support_images')]
            )
            model.start_from(self.views.mean(0), golden.tensor('in.support_labels'))

    def images(self, split: str) -> torch.Tensor:
        """Return the pictures of a split, normalised."""
        return _normalise(self.golden.tensor(f'in.{split}_images'), self.model)

    def labels(self, split: str) -> torch.Tensor:
        """Return the labels of a split."""
        return self.golden.tensor(f'in.{split}_labels')


def _normalise(images, model=None):
    """Prepare pixels between 0 and 1 as the classifier does, or with CLIP's constants where there is none yet."""
    if model is not None:
        return model.data_preprocessor(dict(inputs=[255 * images], data_samples=None))['inputs'][0]
    mean, std = (
        images.new_tensor(values).view(3, 1, 1)
        for values in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    return (images - mean) / std


@torch.no_grad()
def _compare_features(recorded):
    golden, model = recorded.golden, recorded.model
    features = model.frozen_features(recorded.images('test'))
    raw = F.linear(F.normalize(features.auxiliary, dim=-1), model.auxiliary_weight)
    for name, values in {
        'text_prototypes': model.unit_prototypes(),
        'support_view_features': recorded.views,
        'support_features': F.normalize(recorded.views.mean(0), dim=-1),
        'adapter_init.fc.weight': model.auxiliary_weight,
        'clip_features.test': features.cls,
        'aux_features.test': features.auxiliary,
        'zero_shot_logits.test': model.zero_shot_logits(features.cls),
        'aux_logits_raw.test': raw,
        'aux_logits.test': model.auxiliary_logits(features.auxiliary),
    }.items():
        yield compared(golden, f'out.{name}', values)


@torch.no_grad()
def _compare_kind(recorded, kind):
    golden, model = recorded.golden, recorded.model
    images = recorded.images('test')
    logits = model.branch_logits(images)[0]
    if kind != 'none':
        yield compared(golden, f'out.{kind}.factor.test', model.factor(logits.zero_shot, model.inner))
    yield compared(golden, f'out.{kind}.fused_logits.test', logits.fused)
    losses = model([images], samples_of(recorded.labels('test')), mode='loss')
    yield from _compare_losses(golden, f'test.{kind}', model, losses)


def _compare_losses(golden, name, model, losses):
    fused, auxiliary = losses['loss_ce'], losses['loss_auxiliary']
    for part, value in (
        ('loss', fused + auxiliary),
        ('loss_merge', fused / model.fused_weight),
        ('loss_aux', auxiliary / (1 - model.fused_weight)),
    ):
        yield compared(golden, f'{name}.{part}', value)


def _compare_training(recorded, case):
    golden, model = recorded.golden, recorded.model
    images, batch = recorded.images('train'), len(golden.arrays[f'out.{case}.fused_logits.train'])
    with torch.no_grad():
        features = model.frozen_features(images[:batch])
        logits = model.fused(features)
        for name, values in (
            ('zero_shot_logits', logits.zero_shot),
            ('fused_logits', logits.fused),
            ('aux_logits', model.auxiliary_logits(features.auxiliary)),
        ):
            yield compared(golden, f'out.{case}.{name}.train', values)
    best = BestOf(model, model.frozen_features(recorded.images('test')), recorded.labels('test'))
    found = train(
        model,
        model.auxiliary_weight,
        images,
        recorded.labels('train'),
        'amu_tuning',
        recipe_optimizer('amu_tuning', [model.auxiliary_weight]),
        batch,
        steps_of(golden, case),
        best.look,
    )
    yield from _compare_losses(golden, f'loss.{case}', model, found['first'])
    yield compared(golden, f'grad.{case}.fc.weight', found['grad'])
    yield compared(golden, f'traj.{case}.loss', found['loss'])
    yield compared(golden, f'traj.{case}.lr', found['lr'], TOLERANCE)
    for match in golden.matches(rf'traj\.{case}\.weight_after_step(\d+)'):
        yield compared(golden, match[0], found['layers'][int(match[1]) - 1], STATE_TOLERANCE)
    with torch.no_grad():
        logits = model(recorded.images('test'))
    yield compared(golden, f'out.{case}.fused_logits.test_after', logits)
    yield compared(golden, f'test.{case}.accuracy_after', 100 * (logits.argmax(1) == recorded.labels('test')).double().mean())
    yield compared(golden, f'selected.{case}.fc.weight', best.layer, STATE_TOLERANCE)
