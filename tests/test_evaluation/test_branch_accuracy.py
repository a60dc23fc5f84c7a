import pytest
import torch

from mmpretrain_mps.evaluation import BranchAccuracy
from mmpretrain_mps.evaluation.branch_accuracy import rank_of_label


def sample(label, fused, tuned, zero_shot):
    return dict(gt_label=torch.tensor([label]), pred_score=torch.tensor(fused), tuned_score=torch.tensor(tuned),
                zero_shot_score=torch.tensor(zero_shot))


def test_counts_each_branch_on_its_own():
    metric = BranchAccuracy(topk=(1, 2))
    metric.process(None, [sample(0, [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]),
                          sample(2, [0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2])])
    metrics = metric.evaluate(2)
    assert metrics['accuracy/fused'] == 100 and metrics['accuracy/tuned'] == 50 and metrics['accuracy/zero_shot'] == 0
    assert metrics['accuracy/fused_top2'] == 100 and metrics['accuracy/zero_shot_top2'] == 0


def test_ranks_follow_argmax_among_equal_scores():
    scores = torch.tensor([0.4, 0.4, 0.2])
    assert [rank_of_label(scores, label) for label in range(3)] == [0, 1, 2]
    assert scores.argmax() == 0


def test_scores_that_are_no_numbers_are_never_right():
    nan = float('nan')
    assert rank_of_label(torch.tensor([nan, nan]), 0) == 2
    assert rank_of_label(torch.tensor([0.9, nan]), 0) == 1


@pytest.mark.parametrize('topk', [(), (0, )])
def test_senseless_k_are_refused(topk):
    with pytest.raises(ValueError, match='from 1 on'):
        BranchAccuracy(topk=topk)
