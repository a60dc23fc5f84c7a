"""Comparison with recorded numbers of the released code of Tip-Adapter and Tip-Adapter-F.

A file holds a small CLIP (``clip.*``), several views of few-shot pictures, pictures to validate, test and train on
(``in.*``), and what the code computes from them: keys, logits, searches (``search.*``), and two trainings of the keys,
A and B, whose optimizer and schedule are those of the method's base file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F

from ...models import TipAdapterClassifier
from ...models.classifiers.frozen_image_classifier import ImageFeatures
from ...models.fusion.feature_cache import affinities, sort_by_class
from ...models.fusion.fusion_search import choose_best, search_grid
from .frozen_images import BestOf, find_architecture, steps_of, train, with_recorded_classes
from .golden import TOLERANCE, Row, compared
from .recipes import recipe_optimizer

if TYPE_CHECKING:
    from ...models.heads.logits_fusion_head import BranchLogits
    from .golden import GoldenFile

# Where a point of a search is safe says whether rounding may move a picture; it is no result.
INPUTS = r'(clip|in)\..*|search\.\w+\.safe'
STATE_TOLERANCE = 4e-6
ACCURACY_TOLERANCE = 1e-3
# beta and alpha of the trainings, and the ends of the search, which no array holds.
CASES = {'A': (1.0, 1.17), 'B': (5.5, 3.0)}
SCALE = (12, 10)


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.cache_images' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(
        [f'in.{split}_{part}' for split in ('cache', 'val', 'test', 'train') for part in ('images', 'labels')]
        + ['in.token_ids', 'out.test_features', 'out.text_prototypes']
    )
    token_ids = golden.tensor('in.token_ids')
    with tempfile.TemporaryDirectory() as folder:
        architecture = find_architecture(
            golden,
            folder,
            golden.tensor('in.test_images'),
            golden.tensor('out.test_features'),
            token_ids,
            golden.tensor('out.text_prototypes'),
        )

        def build() -> _Recorded:
            """Return a classifier with the recorded memory."""
            model = TipAdapterClassifier(architecture, None, cache_prototypes=False, **golden.options)
            return _Recorded(golden, with_recorded_classes(model, token_ids))

        yield from _compare_memory(build())
        yield from _compare_logits(build())
        yield from _compare_search(build(), 'tip')
        for case in CASES:
            if f'traj.{case}.loss' in golden.arrays:
                yield from _compare_training(build(), case)


class _Recorded:
    """The classifier with its memory of the recorded pictures, and the order of its keys."""

    def __init__(self, golden: GoldenFile, model: TipAdapterClassifier):
        self.golden, self.model = golden, model
        labels = golden.tensor('in.cache_labels')
        with torch.no_grad():
            self.views = torch.stack([model.start_features(images) for images in golden.tensor('in.cache_images')])
            model.start_from(self.views.mean(0), labels)
        self.places = sort_by_class(self.views[0], labels, len(cast(tuple, model.class_names))).places

    def images(self, split: str) -> torch.Tensor:
        """Return the pictures of a split."""
        return self.golden.tensor(f'in.{split}_images')

    def features(self, split: str) -> ImageFeatures:
        """Return the features of a split."""
        return ImageFeatures(self.model.frozen_features(self.images(split)).cls)

    def in_recorded_order(self, keys: torch.Tensor) -> torch.Tensor:
        """Return keys ``(C, K, D)`` as they are recorded, ``(N, D)``."""
        return keys.flatten(0, 1)[self.places]

    def branches(self, split: str, beta: float, alpha: float) -> BranchLogits:
        """Return the logits of a split with two numbers of the fusion."""
        self.model.set_fusion(beta, alpha)
        return self.model.branch_logits(self.images(split))[0]


@torch.no_grad()
def _compare_memory(recorded):
    golden, model = recorded.golden, recorded.model
    yield compared(golden, 'out.text_prototypes', model.unit_prototypes())
    yield compared(golden, 'out.cache_view_features', recorded.views)
    yield compared(golden, 'out.cache_keys', recorded.in_recorded_order(model.cache_keys))
    classes = recorded.places // model.cache_keys.shape[1]
    yield compared(golden, 'out.cache_values', F.one_hot(classes, len(model.class_names)))
    for split in ('val', 'test'):
        yield compared(golden, f'out.{split}_features', model.extract_feat(recorded.images(split))[0])
    products = affinities(model.extract_feat(recorded.images('test'))[0], model.cache_keys, model.cache_counts)
    yield compared(golden, 'out.affinity.test', products.flatten(1)[:, recorded.places])


@torch.no_grad()
def _compare_logits(recorded):
    golden = recorded.golden
    for split in ('val', 'test'):
        yield compared(golden, f'out.zero_shot_logits.{split}', recorded.branches(split, 1.0, 1.0).zero_shot)
    for match in golden.matches(r'out\.cache_logits\.test\.beta([\d.e+-]+)'):
        yield compared(golden, match[0], recorded.branches('test', float(match[1]), 1.0).tuned)
    for match in golden.matches(r'out\.fused_logits\.test\.beta([\d.e+-]+)\.alpha([\d.e+-]+)'):
        yield compared(golden, match[0], recorded.branches('test', float(match[1]), float(match[2])).fused)


def _compare_search(recorded, name):
    golden = recorded.golden
    accuracies = golden.tensor(f'search.{name}.accuracy', 'cpu').double()
    betas, alphas = (search_grid(end, steps) for end, steps in zip(SCALE, accuracies.shape))
    labels = golden.tensor('in.val_labels')
    found = choose_best(recorded.model.count_right(recorded.features('val'), labels, betas, alphas), len(labels), betas, alphas)
    yield compared(golden, f'search.{name}.best', torch.tensor(found[1:]))
    # Where rounding may move a picture, one picture more or less is no difference.
    allowed = (1 - golden.tensor(f'search.{name}.safe', 'cpu').double()) * 100 / len(labels)
    difference = ((found.accuracies.cpu() - accuracies).abs() - allowed).clamp(min=0).max().item()
    yield Row(f'search.{name}.accuracy', difference, ACCURACY_TOLERANCE)


def _compare_training(recorded, case):
    golden, model = recorded.golden, recorded.model
    beta, alpha = CASES[case]
    batch = len(golden.arrays[f'out.{case}.train_features'])
    with torch.no_grad():
        first = recorded.branches('train', beta, alpha)
        features = model.extract_feat(recorded.images('train'))[0]
    for name, values in (('train_features', features), ('cache_logits.train', first.tuned), ('fused_logits.train', first.fused)):
        yield compared(golden, f'out.{case}.{name}', values[:batch])
    best = BestOf(model, recorded.features('test'), golden.tensor('in.test_labels'))
    optimizer = recipe_optimizer('tip_adapter_f', [model.cache_keys])
    found = train(
        model,
        model.cache_keys,
        recorded.images('train'),
        golden.tensor('in.train_labels'),
        'tip_adapter_f',
        optimizer,
        batch,
        steps_of(golden, case),
        best.look,
    )
    yield compared(golden, f'loss.{case}.ce', found['first']['loss_ce'])
    yield compared(golden, f'grad.{case}.keys', recorded.in_recorded_order(found['grad']))
    yield compared(golden, f'traj.{case}.loss', found['loss'])
    yield compared(golden, f'traj.{case}.lr', found['lr'], TOLERANCE)
    for step, keys in enumerate(found['layers'], 1):
        yield compared(golden, f'traj.{case}.keys_after_step{step}', recorded.in_recorded_order(keys), STATE_TOLERANCE)
    with torch.no_grad():
        yield compared(golden, f'out.{case}.fused_logits.test_after', recorded.branches('test', beta, alpha).fused)
    yield compared(golden, f'selected.{case}.keys', recorded.in_recorded_order(best.layer), STATE_TOLERANCE)
    model.cache_keys.data.copy_(best.layer)
    yield from _compare_search(recorded, case)
