import math

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.losses import GramAlignLoss, gram_distance


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_a_hand_computed_case():
    # Two features at 90 degrees that move to 60 degrees: the off-diagonal entries change from 0 to 1/2.
    before = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    after = torch.tensor([[[1.0, 0.0], [0.5, math.sqrt(0.75)]]])
    assert gram_distance(after, before).item() == pytest.approx(2 * 0.5 / 4)
    assert gram_distance(after, before, p=2).item() == pytest.approx(2 * 0.25 / 4)


@pytest.mark.parametrize('p', [1, 1.5, 2])
def test_equals_a_reference_loop_with_views_summed_and_samples_averaged(p):
    tuned, frozen = unit(2, 3, 4, 5), unit(2, 3, 4, 5, seed=1)
    expected = 0.0
    for view in range(2):
        entries = [
            abs(float(tuned[view, b, i] @ tuned[view, b, j] - frozen[view, b, i] @ frozen[view, b, j])) ** p
            for b in range(3)
            for i in range(4)
            for j in range(4)
        ]
        expected += sum(entries) / len(entries)
    assert gram_distance(tuned, frozen, p).item() == pytest.approx(expected, rel=1e-5)


def test_the_terms_are_global_over_cls_and_local_over_tokens():
    tuned, frozen = unit(2, 3, 4, 5), unit(2, 3, 4, 5, seed=1)
    losses = GramAlignLoss(loss_weight=0.5, global_weight=2.0)(tuned, frozen)
    assert set(losses) == {'loss_gram_global', 'loss_gram_local'}
    torch.testing.assert_close(losses['loss_gram_global'], gram_distance(tuned[:, :, 0], frozen[:, :, 0]))
    torch.testing.assert_close(losses['loss_gram_local'], 0.5 * gram_distance(tuned, frozen))


@pytest.mark.parametrize('p', [1, 2])
@pytest.mark.parametrize(
    'weights',
    [dict(local_weight=0), dict(global_weight=0), dict(), dict(global_weight=3, local_weight=2)],
    ids=['global', 'local', 'both', 'weighted'],
)
def test_each_choice_of_terms_equals_a_naive_loop(p, weights):
    tuned, frozen = unit(2, 3, 4, 5), unit(2, 3, 4, 5, seed=1)

    def distance(moved, still):
        entries = [
            abs(float(moved[i] @ moved[j]) - float(still[i] @ still[j])) ** p
            for i in range(len(moved))
            for j in range(len(moved))
        ]
        return sum(entries) / len(entries)

    expected = {}
    if weights.get('global_weight', 1):
        expected['loss_gram_global'] = (
            0.5 * weights.get('global_weight', 1) * sum(distance(tuned[v, :, 0], frozen[v, :, 0]) for v in range(2))
        )
    if weights.get('local_weight', 1):
        expected['loss_gram_local'] = (
            0.5
            * weights.get('local_weight', 1)
            * sum(distance(tuned[v, b], frozen[v, b]) / 3 for v in range(2) for b in range(3))
        )
    losses = GramAlignLoss(loss_weight=0.5, p=p, **weights)(tuned, frozen)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)


def test_a_rotation_of_all_features_costs_nothing_and_moving_one_does():
    frozen = unit(1, 6, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))[0]
    assert gram_distance(frozen @ rotation, frozen).item() == pytest.approx(0, abs=1e-6)
    moved = frozen.clone()
    moved[0, 2] = -moved[0, 2]
    assert gram_distance(moved, frozen) > 0.05


def test_no_gradient_reaches_the_zero_shot_side():
    tuned, frozen = unit(1, 3, 4).requires_grad_(), unit(1, 3, 4, seed=1).requires_grad_()
    gram_distance(tuned, frozen).backward()
    assert tuned.grad.abs().sum() > 0
    assert frozen.grad is None


def test_computes_in_float32_under_autocast():
    tuned, frozen = unit(1, 8, 64), unit(1, 8, 64, seed=1)
    expected = gram_distance(tuned, frozen)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = gram_distance(tuned, frozen)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)


@pytest.mark.parametrize(
    'weights, keys',
    [(dict(local_weight=0), {'loss_gram_global'}), (dict(global_weight=0), {'loss_gram_local'}), (dict(loss_weight=0), set())],
)
def test_a_term_without_weight_is_not_computed(weights, keys):
    loss = GramAlignLoss(**weights)
    assert set(loss(unit(2, 3, 4, 5), unit(2, 3, 4, 5, seed=1))) == keys
    assert loss.active == bool(keys)
    assert loss.uses_patch_tokens == ('loss_gram_local' in keys)


def test_shapes_that_differ_are_quoted():
    with pytest.raises(ValueError, match=r'\(1, 3, 4\) and \(1, 2, 4\)'):
        gram_distance(unit(1, 3, 4), unit(1, 2, 4))
    with pytest.raises(ValueError, match=r'\(V, B, L, D\), but got \(1, 3, 4\)'):
        GramAlignLoss()(unit(1, 3, 4), unit(1, 3, 4))


@pytest.mark.parametrize('arguments', [dict(loss_weight=-1), dict(local_weight=-0.1), dict(p=0.5)])
def test_senseless_settings_are_refused(arguments):
    with pytest.raises(ValueError, match='weights >= 0 and p >= 1'):
        GramAlignLoss(**arguments)
