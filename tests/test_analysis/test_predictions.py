"""Alpha, calibration and confusion, computed by hand."""

import numpy as np
import pytest
from reported import drawn, lines_of, make_held_out

from mmpretrain_mps.analysis.predictions import alpha_sweep, prediction_section, reliability


def predicted(labels, scores):
    """Return pictures with given logits ``(N, C)`` of every branch."""
    features = np.zeros((len(labels), 2))
    return make_held_out(
        labels, features, features, np.zeros((np.shape(scores)[1], 2)), dict.fromkeys(('fused', 'tuned', 'zero_shot'), scores)
    )


def parts(held_out, alpha=0.5):
    alpha_plot, reliability_plot, confusion, table = prediction_section(held_out, alpha).parts
    return dict(alpha=alpha_plot, reliability=reliability_plot, confusion=confusion, table=table)


def sure_of(classes, count=3):
    """Return logits that predict these classes."""
    return 10.0 * np.eye(count)[classes]


def test_accuracy_over_alpha_is_that_of_the_sum_of_both_branches():
    # Class 0 is true. The sum of the logits of class 0 minus class 1 is a - 3 (1 - a) for the first, -1 for the second.
    held_out = predicted([0, 0], [[0, 0], [0, 0]])
    held_out.logits.update(tuned=np.array([[1.0, 0.0], [0.0, 1.0]]), zero_shot=np.array([[0.0, 3.0], [0.0, 1.0]]))
    sweep = alpha_sweep(held_out)
    assert sweep == {tenth / 10: 50.0 if tenth >= 8 else 0.0 for tenth in range(11)}
    (axis,) = drawn(parts(held_out, 0.25)['alpha']).axes
    assert list(axis.lines[0].get_ydata()) == list(sweep.values())
    assert [text.get_text() for text in axis.texts] == ['alpha 0.25'] and axis.lines[-1].get_xdata()[0] == 0.25
    assert 'must not be used to select alpha' in parts(held_out)['alpha'].caption


def test_bins_hold_their_upper_end_and_those_of_few_pictures_are_left_out():
    # Two bins: five pictures of confidence 0.5 (one right), five of 0.9 (four right); a third with four is left out.
    confidences, correct = np.array([0.5] * 5 + [0.9] * 5), np.array([1, 0, 0, 0, 0, 1, 1, 1, 1, 0], bool)
    assert np.allclose(reliability(confidences, correct, bins=2), [[50, 90], [20, 80]])
    assert np.allclose(reliability(confidences[1:], correct[1:], bins=2), [[90], [80]])
    assert np.allclose(reliability(np.zeros(5), np.ones(5, bool)), [[0], [100]])


def test_the_error_of_each_branch_stands_in_the_legend():
    # Six pictures, half of them right, with softmax 0.8 for the predicted class: a gap of 30 points.
    held_out = predicted([0, 0, 0, 1, 1, 1], np.tile([np.log(4), 0], (6, 1)))
    held_out.logits.update(zero_shot=np.tile([0.0, 40.0], (6, 1)))
    lines = lines_of(parts(held_out)['reliability'])
    assert list(lines) == ['fused, ECE 30.0', 'tuned, ECE 30.0', 'zero-shot, ECE 50.0']
    assert np.allclose(lines['fused, ECE 30.0'][:2], [[80], [50]]) and lines['zero-shot, ECE 50.0'][2] == '--'
    assert held_out.accuracy('fused') == 50 and held_out.probabilities('fused')[0] == pytest.approx([0.8, 0.2])


def test_probabilities_of_large_logits_are_numbers():
    assert predicted([0], [[1000.0, 0.0]]).probabilities('tuned').tolist() == [[1.0, 0.0]]


def test_classes_that_are_taken_for_others_are_counted_and_the_worst_come_first():
    held_out = predicted([0, 0, 0, 1, 1, 2], sure_of([1, 1, 0, 2, 1, 2]))
    found = parts(held_out)
    assert found['table'].rows == [['class 0', 'class 1', '2', '66.7 %'], ['class 1', 'class 2', '1', '50.0 %']]
    shown = drawn(found['confusion']).axes[0]
    assert np.allclose(shown.images[0].get_array(), [[100 / 3, 200 / 3, 0], [0, 50, 50], [0, 0, 100]])
    assert [text.get_text() for text in shown.texts] == ['33', '67', '50', '50', '100']  # nothing where nothing is


def test_a_class_without_pictures_has_an_empty_row():
    shown = drawn(parts(predicted([0, 2], sure_of([0, 1])))['confusion']).axes[0].images[0].get_array()
    assert np.allclose(shown, [[100, 0, 0], [0, 0, 0], [0, 100, 0]])


def test_of_many_classes_those_with_most_mistakes_are_shown():
    labels = np.arange(30)
    held_out = predicted(labels, sure_of(np.where(labels >= 10, (labels - 9) % 20 + 10, labels), 30))
    plot = parts(held_out)['confusion']
    assert 'Shown are the 20 of 30 classes that are involved in most mistakes.' in plot.caption
    axis = drawn(plot).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [f'class {label}' for label in range(10, 30)]
    assert not axis.texts and len(parts(held_out)['table'].rows) == 8
