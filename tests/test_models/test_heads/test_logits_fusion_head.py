import math

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models import LogitsFusionHead
from mmpretrain_mps.models.heads import BranchLogits


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_fuses_scaled_cosines(alpha):
    tuned, zero_shot, text = unit(4, 8), unit(4, 8, seed=1), unit(3, 8, seed=2)
    logits = LogitsFusionHead(alpha=alpha)(tuned, zero_shot, text, 100.0)
    torch.testing.assert_close(logits.fused, alpha * 100 * tuned @ text.T + (1 - alpha) * 100 * zero_shot @ text.T)
    torch.testing.assert_close(logits.tuned, 100 * tuned @ text.T)
    torch.testing.assert_close(logits.zero_shot, 100 * zero_shot @ text.T)


def test_cross_entropy_sees_the_fused_logits_averaged_over_the_views():
    tuned, zero_shot = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    labels = torch.tensor([0, 1, 2, 2, 1])
    head = LogitsFusionHead(alpha=0.3)
    losses = head.loss(BranchLogits(head.fuse(tuned, zero_shot), tuned, zero_shot), labels)
    fused = 0.3 * (tuned[0] + tuned[1]) / 2 + 0.7 * (zero_shot[0] + zero_shot[1]) / 2
    torch.testing.assert_close(losses['loss_ce'], F.cross_entropy(fused, labels))
    assert losses['acc_fused'].item() == pytest.approx(100 * (fused.argmax(1) == labels).float().mean().item())
    assert losses['acc_tuned'].item() == pytest.approx(100 * (tuned.mean(0).argmax(1) == labels).float().mean().item())


def test_cross_entropy_can_see_the_tuned_logits():
    tuned, zero_shot, labels = torch.randn(1, 5, 3), torch.randn(1, 5, 3), torch.tensor([0, 1, 2, 2, 1])
    head = LogitsFusionHead(supervise='tuned')
    losses = head.loss(BranchLogits(head.fuse(tuned, zero_shot), tuned, zero_shot), labels)
    torch.testing.assert_close(losses['loss_ce'], F.cross_entropy(tuned[0], labels))
    assert not head.uses_zero_shot and LogitsFusionHead().uses_zero_shot
    assert not LogitsFusionHead(alpha=1.0).uses_zero_shot


def test_only_the_loss_is_named_a_loss():
    logits = BranchLogits(torch.randn(1, 2, 3), torch.randn(1, 2, 3), torch.randn(1, 2, 3))
    losses = LogitsFusionHead().loss(logits, torch.tensor([0, 1]))
    assert [key for key in losses if 'loss' in key] == ['loss_ce']


def test_without_zero_shot_features_no_accuracy_of_theirs_is_made_up():
    head = LogitsFusionHead(alpha=1.0)
    logits = head(unit(1, 2, 8), None, unit(3, 8, seed=2), 100.0)
    assert set(head.loss(logits, torch.tensor([0, 1]))) == {'loss_ce', 'acc_tuned'}


def test_predictions_carry_the_scores_of_all_branches():
    tuned, zero_shot = torch.tensor([[0.0, 4.0, 1.0]]), torch.tensor([[3.0, 0.0, 1.0]])
    head = LogitsFusionHead(alpha=0.3)
    (sample,) = head.predict(BranchLogits(head.fuse(tuned, zero_shot), tuned, zero_shot))
    assert sample.pred_label.tolist() == [0]
    torch.testing.assert_close(sample.pred_score, torch.tensor([2.1, 1.2, 1.0]).softmax(0))
    assert sample.tuned_score.argmax() == 1 and sample.zero_shot_score.argmax() == 0
    torch.testing.assert_close(sample.tuned_logits, tuned[0])


def test_a_bias_is_added_to_the_zero_shot_logits():
    head = LogitsFusionHead(alpha=2.5, fusion='additive')
    bias, zero_shot = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]]), torch.tensor([[[0.0, 4.0]], [[2.0, 4.0]]])
    logits = head.branches(bias, zero_shot)
    assert logits.fused.tolist() == [[[2.5, 4.0]], [[9.5, 4.0]]] and logits.tuned is bias
    # The mean of both views is (6, 4).
    losses = head.loss(logits, torch.tensor([0]))
    assert losses['loss_ce'].item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert losses['acc_fused'] == 100 and losses['acc_zero_shot'] == 0
    assert head.uses_zero_shot and LogitsFusionHead(alpha=0, fusion='additive').uses_zero_shot


def test_one_view_needs_no_axis():
    tuned, zero_shot, labels = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    head = LogitsFusionHead()
    flat, stacked = (head.loss(head.branches(*logits), labels) for logits in ((tuned, zero_shot), (tuned[None], zero_shot[None])))
    assert flat == stacked


def test_without_zero_shot_logits_nothing_is_written_of_them():
    (sample,) = LogitsFusionHead(alpha=1.0).predict(BranchLogits(torch.ones(1, 3), torch.ones(1, 3), None))
    assert 'tuned_logits' in sample and not {'zero_shot_logits', 'zero_shot_score'} & set(sample.keys())


@pytest.mark.parametrize('fusion', ['convex', 'additive'])
def test_predictions_say_how_they_were_fused(fusion):
    (sample,) = LogitsFusionHead(fusion=fusion).predict(BranchLogits(*torch.ones(3, 1, 4).unbind()))
    assert sample.to_dict()['fusion'] == fusion


def test_predictions_come_to_the_host_in_one_copy(monkeypatch):
    copies, copy = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda tensor: copies.append(tuple(tensor.shape)) or copy(tensor))
    LogitsFusionHead().predict(BranchLogits(*torch.randn(3, 6, 4).unbind()))
    assert copies == [(3, 6, 4)]


def test_logits_are_float32_under_autocast():
    tuned, zero_shot, text = unit(4, 64), unit(4, 64, seed=1), unit(3, 64, seed=2)
    expected = LogitsFusionHead()(tuned, zero_shot, text, 100.0).fused
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = LogitsFusionHead()(tuned, zero_shot, text, 100.0).fused
    assert inside.dtype == torch.float32 and torch.equal(inside, expected)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(alpha=1.2), 'between 0 and 1, but is 1.2'),
        (dict(alpha=-1, fusion='additive'), 'of at least 0, but is -1'),
        (dict(alpha=float('inf'), fusion='additive'), 'of at least 0'),
        (dict(fusion='product'), "but is 'product'"),
        (dict(supervise='both'), "'fused' or 'tuned', but is 'both'"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LogitsFusionHead(**settings)
