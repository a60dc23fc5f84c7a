import sys

import numpy as np
import pytest
import torch
from feature_samples import evaluate, make_samples, random_features

pytest.importorskip('ot')

from mmpretrain_mps.evaluation import GromovWassersteinDistance  # noqa: E402
from mmpretrain_mps.evaluation.gromov_wasserstein import _Objective, _with_marginals, gromov_wasserstein  # noqa: E402

NAMES = {'exact', 'entropic', 'bound', 'tightness', 'diagonal', 'bound_p1'}
STARTS = {
    'identity',
    'product',
    'blend',
    'entropic',
    *(f'permutation_{i}' for i in range(4)),
    *(f'coupling_{i}' for i in range(4)),
}


def gram(features):
    features = np.asarray(features, np.float64)
    return features @ features.T


def compare(tuned, zero_shot, **arguments):
    return gromov_wasserstein(gram(tuned), gram(zero_shot), **arguments)


def test_the_objective_is_the_sum_of_its_definition():
    first, second = gram(random_features(4, 3)), gram(random_features(4, 3, seed=1))
    coupling = _with_marginals(np.random.default_rng(0).random((4, 4)), np.full(4, 1 / 4))
    total = sum(
        (first[i, k] - second[j, m]) ** 2 * coupling[i, j] * coupling[k, m]
        for i in range(4)
        for j in range(4)
        for k in range(4)
        for m in range(4)
    )
    assert _Objective(first, second)(coupling) == pytest.approx(total)


def test_couplings_get_the_marginals_asked_for():
    coupling = _with_marginals(np.random.default_rng(0).random((6, 6)) ** 4, np.full(6, 1 / 6))
    assert coupling.sum(0) == pytest.approx(1 / 6) and coupling.sum(1) == pytest.approx(1 / 6)
    assert (coupling >= 0).all()


def test_equal_sets_have_no_distance_and_neither_have_turned_ones():
    features = random_features(20, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    for other in (features, features @ rotation):
        result = compare(other, features)
        assert result.exact == pytest.approx(0, abs=1e-9) and result.bound == pytest.approx(0, abs=1e-9)


def test_a_permutation_is_found_where_the_bound_does_not_see_it():
    features = random_features(30, 4)
    result = compare(features.flip(0), features)
    assert result.exact == pytest.approx(0, abs=1e-9) and result.bound > 0.1
    assert np.trace(result.coupling) == pytest.approx(0)
    assert np.trace(result.coupling[::-1]) == pytest.approx(1)


@pytest.mark.parametrize('noise', [0.1, 0.5, 2.0])
def test_the_distance_is_at_most_the_bound_and_what_any_start_gives(noise):
    zero_shot = random_features(25, 6)
    tuned = torch.nn.functional.normalize(zero_shot + noise * random_features(25, 6, seed=1), dim=-1)
    result = compare(tuned, zero_shot)
    assert result.bound == pytest.approx(np.square(gram(tuned) - gram(zero_shot)).mean())
    assert 0 < result.exact <= result.bound
    assert result.exact == min(result.bound, *result.starts.values())
    assert _Objective(gram(tuned), gram(zero_shot))(result.coupling) == result.exact
    assert set(result.starts) == STARTS
    assert compare(tuned, zero_shot).starts == result.starts  # drawn by a seed


def test_three_points_against_all_permutations():
    # Two near each other and one far, against the same in another order and slightly moved: concave enough that a
    # permutation is best, and few enough to try all.
    import itertools

    first = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.1], [0.0, 0.1, 1.0]])
    second = np.array([[1.0, 0.05, 0.1], [0.05, 1.0, 0.8], [0.1, 0.8, 1.0]])
    objective = _Objective(first, second)
    best = min(objective(np.eye(3)[list(order)] / 3) for order in itertools.permutations(range(3)))
    result = gromov_wasserstein(first, second)
    assert result.exact <= best + 1e-12 and result.exact < result.bound / 5


def test_less_entropy_is_closer_to_exact_and_too_little_of_it_breaks_nothing():
    # Two groups of points: the entropic coupling first spreads over all, then over the groups alone.
    features = torch.nn.functional.normalize(torch.eye(2, 6).repeat(8, 1) + 0.1 * random_features(16, 6), dim=-1)
    values = [compare(features, features, epsilon=epsilon, random_starts=0).entropic for epsilon in (10.0, 0.1, 0.01)]
    assert values[0] > 10 * values[1] > 10 * values[2] > 0
    result = compare(random_features(16, 6), features, epsilon=1e-9)
    assert np.isnan(result.entropic) or result.entropic >= result.exact
    assert set(result.starts) == STARTS and 0 < result.exact <= result.bound


def test_the_metric_reports_all_of_it_as_plain_numbers():
    tuned, zero_shot = random_features(30, 5), random_features(30, 5, seed=1)
    figures = evaluate(GromovWassersteinDistance(), make_samples(tuned, zero_shot, torch.arange(30) % 3))
    expected = compare(tuned, zero_shot)
    assert set(figures) == {f'gw/{name}' for name in NAMES} | {f'gw/start/{name}' for name in STARTS}
    assert all(type(value) is float for value in figures.values())
    assert figures['gw/exact'] == pytest.approx(expected.exact) and figures['gw/bound'] == pytest.approx(expected.bound)
    assert figures['gw/tightness'] == pytest.approx(expected.exact / expected.bound)
    assert figures['gw/bound_p1'] == pytest.approx(np.abs(gram(tuned) - gram(zero_shot)).mean(), rel=1e-5)


def test_before_tuning_the_bound_is_tight_and_all_mass_on_the_diagonal():
    features = random_features(12, 5)
    figures = evaluate(GromovWassersteinDistance(random_starts=1), make_samples(features, features, [0] * 12))
    assert figures['gw/exact'] == figures['gw/bound'] == figures['gw/bound_p1'] == 0
    assert figures['gw/tightness'] == 1 and figures['gw/diagonal'] == pytest.approx(1)
    assert 'gw/start/permutation_0' in figures and 'gw/start/permutation_1' not in figures


def test_the_choice_is_balanced_and_bounds_the_matrices():
    features = random_features(50, 5)
    metric = GromovWassersteinDistance(max_pictures=10, random_starts=0)
    seen = []
    metric.compute_figures = lambda features, labels, figures: seen.append(labels) or {}
    evaluate(metric, make_samples(features, features, [0] * 40 + [1] * 10))
    assert np.bincount(seen[0]).tolist() == [5, 5]


@pytest.mark.parametrize('arguments', [dict(epsilon=0), dict(random_starts=-1)])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r'needs epsilon > 0 and random_starts >= 0, but got epsilon=0'):
        GromovWassersteinDistance(**arguments)


def test_without_its_package_the_metric_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ot', None)
    with pytest.raises(ImportError, match=r'solves its problem by the package POT.*install -e .\[analysis\]'):
        GromovWassersteinDistance()
