import pytest
import torch

from mmpretrain_mps.evaluation import BranchAccuracy
from mmpretrain_mps.evaluation.branch_accuracy import ranks_of_labels


def sample(label, fused, tuned, zero_shot):
    return dict(
        gt_label=torch.tensor([label]),
        pred_score=torch.tensor(fused),
        tuned_score=torch.tensor(tuned),
        zero_shot_score=torch.tensor(zero_shot),
    )


def test_counts_each_branch_on_its_own():
    metric = BranchAccuracy(topk=(1, 2))
    metric.process(
        None,
        [
            sample(0, [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]),
            sample(2, [0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]),
        ],
    )
    metrics = metric.evaluate(2)
    assert metrics['accuracy/fused'] == 100 and metrics['accuracy/tuned'] == 50 and metrics['accuracy/zero_shot'] == 0
    assert metrics['accuracy/fused_top2'] == 100 and metrics['accuracy/zero_shot_top2'] == 0


def test_ranks_follow_argmax_among_equal_scores():
    scores = torch.tensor([0.4, 0.4, 0.2])
    assert ranks_of_labels(scores.expand(3, 3), torch.arange(3)).tolist() == [0, 1, 2]
    assert scores.argmax() == 0


def test_scores_that_are_no_numbers_are_never_right():
    nan = float('nan')
    scores = torch.tensor([[nan, nan], [0.9, nan], [nan, 0.9]])
    assert ranks_of_labels(scores, torch.tensor([0, 0, 0])).tolist() == [2, 1, 2]


def test_ranks_of_a_batch_are_those_of_counting_one_by_one():
    scores = torch.randint(4, (50, 6)) / 4  # with many equal ones
    labels = torch.randint(6, (50,))
    expected = [
        sum(value > row[label] or value == row[label] and other < label for other, value in enumerate(row))
        for row, label in zip(scores.tolist(), labels.tolist())
    ]
    assert ranks_of_labels(scores, labels).tolist() == expected


@pytest.mark.parametrize('topk', [(), (0,)])
def test_senseless_k_are_refused(topk):
    with pytest.raises(ValueError, match='from 1 on'):
        BranchAccuracy(topk=topk)
