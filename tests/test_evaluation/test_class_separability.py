import math

import numpy as np
import pytest
import torch
from feature_samples import evaluate, make_samples, random_features
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mmpretrain_mps.evaluation import ClassSeparability
from mmpretrain_mps.evaluation.class_separability import centroid_accuracy, scatter_ratio, silhouette


def clusters(noise, count=60, classes=4, seed=0):
    labels = np.arange(count) % classes
    centres = 3 * np.eye(classes, 8)
    features = centres[labels] + noise * np.random.default_rng(seed).normal(size=(count, 8))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels


def test_scatter_computed_by_hand():
    # Class means (1, 0) and (-1, 0), total mean 0: within 4 * 1, between 4 * 1.
    features = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert scatter_ratio(features, np.array([5, 5, 9, 9])) == 1
    assert scatter_ratio(2 * features + 3, np.array([5, 5, 9, 9])) == 1
    assert scatter_ratio(features[[0, 0, 2, 2]], np.array([0, 0, 1, 1])) == 0
    assert math.isinf(scatter_ratio(features, np.array([0, 0, 0, 0])))


def test_scatter_is_that_of_the_matrices():
    features, labels = clusters(1.0)
    lda = LinearDiscriminantAnalysis(solver='eigen', store_covariance=True).fit(features, labels)
    within, total = np.trace(lda.covariance_), np.trace(np.cov(features.T, bias=True))
    assert scatter_ratio(features, labels) == pytest.approx(within / (total - within), rel=1e-3)


def test_leaving_out_is_what_a_loop_does():
    features, labels = clusters(2.0)
    right = 0
    for index in range(len(labels)):
        others = np.arange(len(labels)) != index
        means = np.stack([features[others & (labels == label)].mean(0) for label in range(4)])
        cosines = means @ features[index] / np.linalg.norm(means, axis=1)
        right += cosines.argmax() == labels[index]
    assert 0 < right < len(labels)
    assert centroid_accuracy(features, labels) == pytest.approx(100 * right / len(labels))


def test_a_picture_does_not_help_itself():
    # As many dimensions as pictures: with itself in the mean every picture would be right.
    features = random_features(40, 400).numpy()
    assert centroid_accuracy(features, np.arange(40) % 20) < 30
    assert centroid_accuracy(features[:3], np.arange(3)) == 0
    assert centroid_accuracy(features[:1], np.array([3])) == 0


def test_more_noise_is_less_separation():
    figures = [
        [compute(*clusters(noise)) for noise in (0.1, 1.0, 4.0)] for compute in (scatter_ratio, centroid_accuracy, silhouette)
    ]
    assert figures[0] == sorted(figures[0])
    assert figures[1] == sorted(figures[1], reverse=True) and figures[1][0] == 100
    assert figures[2] == sorted(figures[2], reverse=True) and figures[2][0] > 0.9


def test_without_two_classes_there_is_no_silhouette():
    features = random_features(5, 3).numpy()
    assert math.isnan(silhouette(features, np.zeros(5))) and math.isnan(silhouette(features, np.arange(5)))


def test_branches_and_layers_are_told_apart():
    good, labels = clusters(0.1)
    poor, _ = clusters(3.0)
    good, poor = torch.from_numpy(good), torch.from_numpy(poor)
    layers = [torch.stack([good, poor], 1), torch.stack([poor, good], 1)]
    figures = evaluate(ClassSeparability(), make_samples(good, poor, labels, layers=layers))
    good_value, poor_value = (pytest.approx(silhouette(x.numpy(), labels)) for x in (good, poor))
    assert {name: value for name, value in figures.items() if name.endswith('silhouette')} == {
        'separability/tuned/output/silhouette': good_value,
        'separability/tuned/before_end_1/silhouette': good_value,
        'separability/tuned/before_end_2/silhouette': poor_value,
        'separability/zero_shot/output/silhouette': poor_value,
        'separability/zero_shot/before_end_1/silhouette': poor_value,
        'separability/zero_shot/before_end_2/silhouette': good_value,
    }
    assert {name.rsplit('/', 1)[1] for name in figures} == {'scatter_ratio', 'centroid_accuracy', 'silhouette'}
    assert all(type(value) is float for value in figures.values())


def test_layers_can_be_left_out():
    features, labels = clusters(1.0)
    metric = ClassSeparability(layers=False)
    assert metric.test_features == ('cls',) and ClassSeparability().test_features == ('cls', 'layers')
    figures = evaluate(metric, make_samples(torch.from_numpy(features), torch.from_numpy(features), labels))
    assert len(figures) == 6
