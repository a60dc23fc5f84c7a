import random

import numpy as np
import pytest
import torch
from feature_samples import evaluate, make_samples, random_features

from mmpretrain_mps.evaluation import ClassSeparability, GramDistortion, GromovWassersteinDistance
from mmpretrain_mps.evaluation.feature_metric import FeatureMetric, choose_pictures


class Chosen(FeatureMetric):
    """Tells which pictures were chosen, and how many were seen."""

    def figures_of(self, sample):
        return dict(one=1.0)

    def compute_figures(self, features, labels, figures):
        return {f'index_{index}': 1 for index in features['tuned'][:, 0].astype(int)} | {'seen': figures['one'].sum()}


def numbered(count, labels=None):
    rows = torch.arange(count).float()[:, None]
    return make_samples(rows, rows, labels if labels is not None else [0] * count)


def chosen(samples, balanced=False, limit=6, **arguments):
    metric = Chosen(max_pictures=limit, **arguments)
    metric.balanced = balanced
    figures = evaluate(metric, samples)
    assert figures.pop('seen') == len(samples)
    assert sum(row['features'] is not None for row in metric.results) == 0  # the evaluation starts anew
    return {int(name.split('_')[1]) for name in figures}


def test_the_choice_depends_on_seed_and_index_alone():
    samples = numbered(100)
    first = chosen(samples)
    assert len(first) == 6
    shuffled = samples.copy()
    random.Random(0).shuffle(shuffled)
    assert chosen(shuffled) == first and chosen(shuffled, limit=12) > first
    assert chosen(samples, seed=1) != first
    assert chosen(samples, limit=None) == chosen(samples, limit=100) == set(range(100))


def test_a_balanced_choice_takes_equally_many_of_each_class_as_far_as_it_has_them():
    labels = [0] * 80 + [1] * 17 + [2] * 3
    counts = np.bincount([labels[index] for index in chosen(numbered(100, labels), balanced=True, limit=13)])
    assert counts.tolist() == [5, 5, 3]
    assert np.bincount([labels[index] for index in chosen(numbered(100, labels), limit=50)])[0] > 30


def test_a_choice_made_piece_by_piece_is_the_choice_of_all():
    rng = np.random.default_rng(0)
    for trial in range(20):
        indices, groups = rng.permutation(200), rng.integers(7, size=200) ** 2
        at_once = set(indices[choose_pictures(indices, groups, 31, trial)])
        held = np.array([], int)
        for part in np.array_split(np.arange(200), 9):
            held = np.concatenate([held, part])
            held = held[choose_pictures(indices[held], groups[held], 31, trial)]
        assert set(indices[held]) == at_once


def test_no_more_than_twice_the_bound_is_held():
    metric = Chosen(max_pictures=5)
    for sample in numbered(60):
        metric.process(None, [sample])
        assert sum(row['features'] is not None for row in metric.results) <= 10
    assert len(metric.results) == 60


def test_a_kept_row_does_not_keep_its_batch():
    metric, batch = Chosen(), random_features(4, 3)
    metric.process(None, make_samples(batch, batch, [0] * 4))
    kept = metric.results[0]['features']['tuned']
    assert kept.base is None or kept.base.nbytes == kept.nbytes
    assert np.array_equal(kept, batch[0].numpy())


@pytest.mark.parametrize('metric', [GramDistortion, ClassSeparability, GromovWassersteinDistance])
def test_predictions_without_features_or_index_are_refused_with_what_to_do(metric):
    if metric is GromovWassersteinDistance:
        pytest.importorskip('ot')
    sample = dict(gt_label=torch.tensor([0]), sample_idx=0)
    with pytest.raises(ValueError, match=f"{metric.__name__} needs 'tuned_features' .*TestFeaturesHook.*custom_hooks"):
        metric().process(None, [sample])
    with pytest.raises(ValueError, match='orders pictures by sample_idx, but the predictions have none'):
        metric().process(None, [dict(gt_label=torch.tensor([0]))])
    with pytest.raises(ValueError, match='max_pictures must be 2 or more, or None for all, but is 1'):
        metric(max_pictures=1)
