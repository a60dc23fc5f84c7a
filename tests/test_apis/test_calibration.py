"""Temperature, threshold and prediction sets, by hand-computed values and what they promise."""

from unittest import mock

import numpy as np
import pytest
from own_pictures import digits
from scipy.special import softmax

from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.apis.calibration import abstention_threshold, conformal_level, fit_temperature


def test_the_temperature_makes_confidence_equal_accuracy():
    # Every picture says 0 by a logit gap g; 15 of 20 are right, each label counts for 21 / 22:
    # sigmoid(g / T) = p = 0.75 * 21 / 22 + 0.25 / 22, hence T = g / log(p / (1 - p)).
    share = 0.75 * 21 / 22 + 0.25 / 22
    labels = np.array([0, 0, 0, 1] * 5)
    for gap in (0.5, 4.0, 20.0):
        logits = np.tile([gap, 0.0], (20, 1))
        assert fit_temperature(logits, labels) == pytest.approx(gap / np.log(share / (1 - share)), rel=1e-4)
    # Three of three are right: as sure as (N + 1) / (N + 2) = 0.8, not certain.
    sure = softmax(np.eye(2)[[0, 1, 1]] / fit_temperature(np.eye(2)[[0, 1, 1]], np.array([0, 1, 1])), axis=1).max(1)
    np.testing.assert_allclose(sure, 0.8, rtol=1e-4)


def test_the_threshold_answers_as_many_as_it_can():
    confidence, right = np.array([0.95, 0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True, False])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.where(right, 0, 1)
    # Shares of right answers from the surest down: 1, 1, 2/3, 3/4, 3/5.
    assert abstention_threshold(probabilities, labels, 1.0) == 0.9
    assert abstention_threshold(probabilities, labels, 0.75) == 0.7
    assert abstention_threshold(probabilities, labels, 0.6) == 0.6
    same = np.array([[0.8, 0.2]] * 4)  # answered together, or not at all
    assert abstention_threshold(same, np.array([0, 0, 0, 1]), 0.75) == 0.8
    with pytest.raises(ValueError, match='right in 90 % of the 4 pictures that are answered; the best reaches 75.0 %'):
        abstention_threshold(same, np.array([0, 0, 0, 1]), 0.9)
    with pytest.raises(ValueError, match='accuracy is 95, expected a share'):
        abstention_threshold(same, np.array([0, 0, 0, 1]), 95)


def test_the_conformal_level_is_the_quantile_of_the_scores():
    probabilities = np.array([[share, 1 - share] for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)])
    labels = np.zeros(9, int)  # scores 0.1 ... 0.9
    assert conformal_level(probabilities, labels, 0.9) == pytest.approx(0.9)  # ceil(10 * 0.9) = 9th
    assert conformal_level(probabilities, labels, 0.5) == pytest.approx(0.5)
    assert conformal_level(probabilities, labels, 0.95) == 1.0  # the 10th of 9


def test_sets_hold_the_class_as_often_as_promised():
    generator, covered = np.random.default_rng(0), []
    for _ in range(200):
        logits = generator.normal(size=(60, 4))
        probabilities = softmax(2 * logits, axis=1)  # too sure of themselves
        labels = np.array([generator.choice(4, p=row) for row in softmax(logits, axis=1)])
        level = conformal_level(probabilities[:40], labels[:40], 0.8)
        covered.append(np.mean(1 - probabilities[np.arange(40, 60), labels[40:]] <= level))
    assert 0.79 < np.mean(covered) < 0.84  # at least 0.8, at most 0.8 + 1 / 41


def test_a_classifier_is_calibrated_on_held_out_pictures(tmp_path):
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        classifier = FewShotClassifier('mps-mini', 'embedded', 'linear_probe', device='cpu', verbose=0).fit(*digits(4))
    pictures, labels = digits(25, start=10)
    before = classifier.predict_proba(pictures)
    with pytest.raises(ValueError, match='prediction sets need calibrate'):
        classifier.predict_set(pictures)
    classifier.calibrate(pictures, labels, accuracy=0.99, coverage=0.9)
    after = classifier.predict_proba(pictures)
    places = np.searchsorted(classifier.classes_, labels)
    rows = np.arange(len(labels))
    assert np.log(after[rows, places]).mean() > np.log(before[rows, places]).mean()  # likelier
    assert (after.argmax(1) == before.argmax(1)).all()
    answers = classifier.predict_or_abstain(pictures)
    answered = np.array([answer is not None for answer in answers])
    assert answered.sum() == (after.max(1) >= classifier.threshold_).sum() > 0
    assert np.mean(answers[answered] == np.array(labels)[answered]) >= 0.99
    sets = classifier.predict_set(pictures)
    assert np.mean([label in found for label, found in zip(labels, sets)]) >= 0.9
    assert all(found[0] == first for found, first in zip(sets, classifier.predict(pictures)) if len(found))
    classifier.save(tmp_path / 'model.pth')
    loaded = FewShotClassifier.load(tmp_path / 'model.pth', verbose=0)
    assert (loaded.temperature_, loaded.threshold_, loaded.conformal_level_) == (
        classifier.temperature_,
        classifier.threshold_,
        classifier.conformal_level_,
    )
    np.testing.assert_array_equal(loaded.predict_proba(pictures), after)
