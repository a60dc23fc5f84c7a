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
    sample, = head.predict(BranchLogits(head.fuse(tuned, zero_shot), tuned, zero_shot))
    assert sample.pred_label.tolist() == [0]
    torch.testing.assert_close(sample.pred_score, torch.tensor([2.1, 1.2, 1.0]).softmax(0))
    assert sample.tuned_score.argmax() == 1 and sample.zero_shot_score.argmax() == 0
    torch.testing.assert_close(sample.tuned_logits, tuned[0])


def test_logits_are_float32_under_autocast():
    tuned, zero_shot, text = unit(4, 64), unit(4, 64, seed=1), unit(3, 64, seed=2)
    expected = LogitsFusionHead()(tuned, zero_shot, text, 100.0).fused
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = LogitsFusionHead()(tuned, zero_shot, text, 100.0).fused
    assert inside.dtype == torch.float32 and torch.equal(inside, expected)


@pytest.mark.parametrize('settings, message', [(dict(alpha=1.2), 'between 0 and 1, but is 1.2'),
                                               (dict(supervise='both'), "'fused' or 'tuned', but is 'both'")])
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LogitsFusionHead(**settings)
