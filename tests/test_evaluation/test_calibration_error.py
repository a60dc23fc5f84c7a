import math

import pytest
import torch
from mmpretrain.registry import METRICS

from mmpretrain_mps.evaluation import CalibrationError, expected_calibration_error


def sample(label, fused, tuned=None, zero_shot=None):
    return dict(
        gt_label=torch.tensor([label]),
        pred_score=torch.tensor(fused),
        tuned_score=torch.tensor(tuned or fused),
        zero_shot_score=torch.tensor(zero_shot or fused),
    )


def test_a_small_case_computed_by_hand():
    # Two bins: (0, 1/2] holds 0.4 wrong and 0.5 right: |0.5 - 0.45| * 2/5; (1/2, 1] holds 0.6 right, 0.9 right and
    # 1.0 wrong: |2/3 - 2.5/3| * 3/5. Together 0.02 + 0.1.
    confidences = torch.tensor([0.4, 0.5, 0.6, 0.9, 1.0])
    correct = torch.tensor([False, True, True, True, False])
    assert expected_calibration_error(confidences, correct, num_bins=2) == pytest.approx(0.12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    # 1/3 of 15 bins ends bin 5. Were it in bin 6, the two pictures would share no bin and their gaps not cancel.
    confidences = torch.tensor([1 / 3, 0.32], dtype=torch.float64)
    correct = torch.tensor([True, False])
    assert expected_calibration_error(confidences, correct) == pytest.approx(abs(1 - 1 / 3 - 0.32) / 2)


def test_a_loop_over_the_definition_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    confidences = torch.rand(1000, generator=generator)
    correct = torch.rand(1000, generator=generator) < confidences**2
    error = 0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        if inside.any():
            gap = correct[inside].double().mean() - confidences[inside].double().mean()
            error += inside.double().mean() * gap.abs()
    assert expected_calibration_error(confidences, correct) == pytest.approx(error.item(), abs=1e-9)


def test_certain_and_right_is_no_error_and_nothing_is_no_number():
    assert expected_calibration_error(torch.ones(4), torch.ones(4, dtype=torch.bool)) == 0
    assert math.isnan(expected_calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)))


def test_the_metric_tells_the_three_predictions_apart_across_batches():
    metric = METRICS.build(dict(type='mmpretrain.CalibrationError', num_bins=2))
    metric.process(None, [sample(0, [0.75, 0.25], tuned=[0.25, 0.75], zero_shot=[1.0, 0.0])])
    metric.process(None, [sample(1, [0.75, 0.25], tuned=[0.25, 0.75], zero_shot=[1.0, 0.0])])
    # fused: confidence 0.75, half right; tuned: the same on the other picture; zero-shot: confidence 1, half right.
    assert metric.evaluate(2) == {'ece/fused': 25, 'ece/tuned': 25, 'ece/zero_shot': 50}


def test_what_is_kept_does_not_grow_with_the_classes():
    metric = CalibrationError()
    metric.process(None, [sample(0, [1.0] + [0.0] * 999)])
    assert metric.results == [dict(fused=(1.0, True), tuned=(1.0, True), zero_shot=(1.0, True))]


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match='num_bins must be 1 or more, but is 0'):
        CalibrationError(num_bins=0)
