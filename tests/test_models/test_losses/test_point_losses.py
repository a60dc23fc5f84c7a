import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mmpretrain_mps.models.losses import LogitConsistencyLoss, PointAlignLoss, PointConstraint, logit_divergences, point_distances


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_hand_computed_distances():
    # From (1, 0) to 60 degrees: cosine 1/2, coordinates differ by 1/2 and sqrt(3)/2.
    after, before = torch.tensor([0.5, math.sqrt(0.75)]), torch.tensor([1.0, 0.0])
    assert point_distances(after, before).item() == pytest.approx(0.5)
    assert point_distances(after, before, 'l1').item() == pytest.approx(0.5 + math.sqrt(0.75))
    assert point_distances(after, before, 'l2').item() == pytest.approx(0.25 + 0.75)


def test_a_hand_computed_divergence_with_its_direction():
    # q = (1/2, 1/2) of the frozen model, p = (3/4, 1/4) of the tuned one.
    tuned, frozen = torch.tensor([math.log(3.0), 0.0]), torch.tensor([0.0, 0.0])
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert logit_divergences(tuned, frozen).item() == pytest.approx(expected)
    assert logit_divergences(2 * tuned, frozen, temperature=2.0).item() == pytest.approx(4 * expected)
    assert logit_divergences(frozen, tuned).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_means_are_sums_divided_by_the_dimensions_or_classes():
    tuned, frozen = unit(3, 8), unit(3, 8, seed=1)
    for distance in ('l1', 'l2'):
        torch.testing.assert_close(8 * point_distances(tuned, frozen, distance, 'mean'), point_distances(tuned, frozen, distance))
    torch.testing.assert_close(8 * logit_divergences(tuned, frozen, reduction='mean'), logit_divergences(tuned, frozen))
    logits, patches = SimpleNamespace(tuned=tuned[None], zero_shot=frozen[None]), (tuned[None, None], frozen[None, None])
    for build in (
        lambda **settings: LogitConsistencyLoss(**settings).combine(None, None, logits),
        lambda **settings: PointAlignLoss('l1', **settings).combine(tuned[None], frozen[None]),
    ):
        (summed,), (averaged,) = build().values(), build(reduction='mean').values()
        assert averaged.item() == pytest.approx(summed.item() / 8, rel=1e-5)
    torch.testing.assert_close(
        8 * PointAlignLoss('l2', reduction='mean').patch_distances(*patches), PointAlignLoss('l2').patch_distances(*patches)
    )


def test_the_terms_of_other_methods():
    texts, frozen, logits, kept = unit(5, 8), unit(5, 8, seed=1), 9 * unit(4, 5, seed=2), 9 * unit(4, 5, seed=3)
    p, q = logits.softmax(-1), kept.softmax(-1)
    for constraint, points, expected in (
        # PromptSRC: mean of all entries of L1; the divergence divided by pictures and classes.
        (dict(distance='l1', loss_weight=25, reduction='mean'), (texts, frozen), 25 * F.l1_loss(texts, frozen)),
        (dict(distance='kl', reduction='mean'), (logits, kept), (q * (q / p).log()).sum() / (4 * 5)),
        # TCP: mean over the classes of the cosine distance.
        (dict(loss_weight=8), (texts, frozen), 8 * (1 - F.cosine_similarity(texts, frozen).mean())),
        (dict(distance='l2', loss_weight=2), (texts, frozen), 2 * ((texts - frozen) ** 2).sum() / 5),
        (dict(distance='kl', temperature=3.0), (3 * logits, 3 * kept), 9 * (q * (q / p).log()).sum() / 4),
    ):
        torch.testing.assert_close(PointConstraint(**constraint)(*points), expected, rtol=1e-4, atol=1e-6)


def test_a_gradient_to_both_sides_is_asked_for():
    for both_sides in (False, True):
        tuned, other = unit(3, 4).requires_grad_(), unit(3, 4, seed=1).requires_grad_()
        PointConstraint('l1', reduction='mean', both_sides=both_sides)(tuned, other).backward()
        assert (other.grad is not None) == both_sides
    torch.testing.assert_close(other.grad, -tuned.grad)


def test_a_constraint_without_weight_does_not_count():
    assert PointConstraint().active and not PointConstraint(loss_weight=0).active


def test_a_constraint_is_found_by_its_name():
    assert isinstance(MODELS.build(dict(type='PointConstraint', distance='l1')), PointConstraint)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(distance='l3'), "one of \\('cosine', 'l1', 'l2', 'kl'\\), but is 'l3'"),
        (dict(reduction='mean'), "reduction must be 'sum' with the distance 'cosine'"),
        (dict(distance='l1', reduction='max'), "one of \\('sum', 'mean'\\), but is 'max'"),
        (dict(distance='l1', temperature=2.0), "temperature means nothing to the distance 'l1'"),
        (dict(distance='kl', both_sides=True), "both_sides means nothing to the distance 'kl'"),
        (dict(loss_weight=-1), 'a weight >= 0 and a temperature > 0'),
        (dict(distance='kl', temperature=0), 'a weight >= 0 and a temperature > 0'),
    ],
)
def test_senseless_settings_of_a_constraint_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PointConstraint(**settings)


def test_for_unit_norm_the_squared_distance_is_twice_the_cosine_distance():
    tuned, frozen = unit(2, 3, 8), unit(2, 3, 8, seed=1)
    torch.testing.assert_close(point_distances(tuned, frozen, 'l2'), 2 * point_distances(tuned, frozen))


@pytest.mark.parametrize('distance', ['cosine', 'l1', 'l2'])
def test_views_are_summed_and_pictures_and_patches_averaged(distance):
    tuned, frozen = unit(2, 3, 5, 4), unit(2, 3, 5, 4, seed=1)

    def one(u, z):
        return {'cosine': 1 - u @ z, 'l1': (u - z).abs().sum(), 'l2': ((u - z) ** 2).sum()}[distance].item()

    loss = PointAlignLoss(distance, loss_weight=0.5, cls_weight=3.0, patch_weight=2.0)
    losses = loss.combine(tuned[:, :, 0], frozen[:, :, 0], None, loss.patch_distances(tuned, frozen))
    cls = sum(one(tuned[v, b, 0], frozen[v, b, 0]) for v in range(2) for b in range(3)) / 3
    patch = sum(one(tuned[v, b, m], frozen[v, b, m]) for v in range(2) for b in range(3) for m in range(1, 5)) / (3 * 4)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        dict(loss_point_cls=1.5 * cls, loss_point_patch=1.0 * patch), rel=1e-5
    )


def test_divergences_of_views_are_summed_and_of_pictures_averaged():
    logits = SimpleNamespace(tuned=10 * unit(2, 3, 4), zero_shot=10 * unit(2, 3, 4, seed=1))
    expected = 0.0
    for view in range(2):
        for b in range(3):
            p, q = logits.tuned[view, b].softmax(0), logits.zero_shot[view, b].softmax(0)
            expected += sum(float(q[c]) * math.log(float(q[c]) / float(p[c])) for c in range(4)) / 3
    found = LogitConsistencyLoss(loss_weight=0.2).combine(None, None, logits)
    assert found['loss_logit_kl'].item() == pytest.approx(0.2 * expected, rel=1e-4)


def test_a_common_rotation_costs_although_relations_stay():
    frozen = unit(1, 6, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))[0]
    for distance in ('cosine', 'l1', 'l2'):
        assert point_distances(frozen, frozen, distance).abs().max() < 1e-6
        assert point_distances(frozen @ rotation, frozen, distance).mean() > 0.1


def test_no_gradient_reaches_the_zero_shot_side():
    for function in (point_distances, logit_divergences):
        tuned, frozen = unit(3, 4).requires_grad_(), unit(3, 4, seed=1).requires_grad_()
        function(tuned, frozen).sum().backward()
        assert tuned.grad.abs().sum() > 0 and frozen.grad is None


def test_computes_in_float32_under_autocast():
    tuned, frozen = unit(8, 64), unit(8, 64, seed=1)
    for function in (point_distances, logit_divergences):
        expected = function(tuned, frozen)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            inside = function(tuned, frozen)
        assert inside.dtype == torch.float32 and torch.equal(inside, expected)


@pytest.mark.parametrize(
    'settings, cls, patch',
    [
        (dict(), True, False),
        (dict(cls_weight=0, patch_weight=1), False, True),
        (dict(patch_weight=1), True, True),
        (dict(loss_weight=0, patch_weight=1), False, False),
        (dict(cls_weight=0), False, False),
    ],
)
def test_a_term_without_weight_does_not_count(settings, cls, patch):
    loss = PointAlignLoss(**settings)
    assert (loss.uses_cls, loss.uses_patch_tokens, loss.active) == (cls, patch, cls or patch)
    assert LogitConsistencyLoss(loss_weight=0).active is False and LogitConsistencyLoss().active


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(distance='l3'), "one of \\('cosine', 'l1', 'l2'\\), but is 'l3'"),
        (dict(loss_weight=-1), 'weights >= 0'),
        (dict(patch_weight=-1), 'weights >= 0'),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PointAlignLoss(**settings)


def test_senseless_settings_of_the_divergence_and_differing_shapes_are_refused():
    for settings in (dict(loss_weight=-1), dict(temperature=0)):
        with pytest.raises(ValueError, match='a weight >= 0 and a temperature > 0'):
            LogitConsistencyLoss(**settings)
    with pytest.raises(ValueError, match=r'features must have one shape, but got \(3, 4\) and \(2, 4\)'):
        point_distances(unit(3, 4), unit(2, 4))
    with pytest.raises(ValueError, match='logits must have one shape'):
        logit_divergences(unit(3, 4), unit(3, 5))
    with pytest.raises(ValueError, match="but is 'l3'"):
        point_distances(unit(3, 4), unit(3, 4), 'l3')
