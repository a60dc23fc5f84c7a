import math

import pytest
import torch
from feature_samples import evaluate, make_samples, random_features
from mmpretrain.models.heads import ClsHead  # noqa: F401  (registers mmpretrain's parts)
from mmpretrain.registry import METRICS

from mmpretrain_mps.evaluation import GramDistortion
from mmpretrain_mps.evaluation.gram_distortion import gram_distortion
from mmpretrain_mps.models.losses.gram_align_loss import gram_distances


def test_two_pictures_computed_by_hand():
    # Cosines of the pair: 0 tuned, 0.6 frozen; two of four entries differ, by 0.6. The second picture moved.
    tuned = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    zero_shot = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    samples = make_samples(tuned, zero_shot, [0, 1], local=(1.0, 2.0))
    figures = evaluate(METRICS.build(dict(type='mmpretrain.GramDistortion')), samples)
    assert figures == pytest.approx({'gram/global': 0.3, 'gram/local': 0.015, 'gram/feature_cosine': 0.9})
    squared = evaluate(GramDistortion(p=2, prefix='gram2'), samples)
    assert squared['gram2/global'] == pytest.approx(0.18)


@pytest.mark.parametrize('p', [1, 1.5, 2])
def test_stripes_give_what_the_loss_computes_at_once(p, monkeypatch):
    monkeypatch.setattr('mmpretrain_mps.evaluation.gram_distortion._ROWS', 7)
    tuned, zero_shot = random_features(40, 5), random_features(40, 5, seed=1)
    assert gram_distortion(tuned.numpy(), zero_shot.numpy(), p) == pytest.approx(
        gram_distances(tuned, zero_shot, p).item(), rel=1e-5
    )


def test_a_rotation_moves_every_feature_and_distorts_nothing():
    features = random_features(30, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    figures = evaluate(GramDistortion(), make_samples(features @ rotation, features, [0] * 30))
    assert figures['gram/global'] == pytest.approx(0, abs=1e-6)
    assert abs(figures['gram/feature_cosine']) < 0.5


def test_a_sample_bounds_the_gram_matrix_alone():
    tuned, zero_shot = random_features(400, 8), random_features(400, 8, seed=1)
    samples = make_samples(tuned, zero_shot, [0] * 400)
    every, some = (evaluate(GramDistortion(max_pictures=limit), samples) for limit in (None, 100))
    assert some['gram/global'] != every['gram/global'] == pytest.approx(some['gram/global'], rel=0.1)
    assert some['gram/local'] == every['gram/local'] == pytest.approx(2.005)
    assert some['gram/feature_cosine'] == every['gram/feature_cosine']


def test_it_asks_for_the_local_distance_of_its_order():
    assert GramDistortion(p=2).test_features == ('cls', 'local:2.0')
    for p in (0.5, math.nan):
        with pytest.raises(ValueError, match='p must be 1 or more, but is'):
            GramDistortion(p=p)
