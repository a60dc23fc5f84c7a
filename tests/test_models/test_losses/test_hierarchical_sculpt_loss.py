import math

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.losses import HierarchicalSculptLoss, sculpt_loss


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def reference(features, labels, text, temperature):
    """The definition, item by item."""
    queries = [(features[v, b], int(labels[b])) for v in range(features.shape[0]) for b in range(features.shape[1])]
    support = queries + ([] if text is None else [(text[c], c) for c in range(len(text))])
    total = 0.0
    for index, (query, label) in enumerate(queries):
        others = [(item, other) for position, (item, other) in enumerate(support) if position != index]
        denominator = sum(math.exp(float(query @ item) / temperature) for item, _ in others)
        terms = [math.log(math.exp(float(query @ item) / temperature) / denominator) for item, other in others if other == label]
        total += -sum(terms) / max(len(terms), 1)
    return total / len(queries)


@pytest.mark.parametrize('views', [1, 2, 3])
@pytest.mark.parametrize('with_text', [True, False])
def test_equals_a_reference_loop(views, with_text):
    features, labels = unit(views, 5, 8), torch.tensor([0, 1, 1, 3, 0])
    text = 3 * unit(4, 8, seed=1) if with_text else None
    ours = sculpt_loss(features, labels, text, 0.2)
    assert ours.item() == pytest.approx(reference(features, labels, text, 0.2), rel=1e-5)


def test_a_hand_computed_case():
    # One picture in one view, two classes: -log(e^1 / (e^1 + e^0)) at temperature 1.
    loss = sculpt_loss(torch.tensor([[[1.0, 0.0]]]), torch.tensor([0]), torch.eye(2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_query_without_positives_adds_zero_but_counts():
    features = unit(1, 3, 4)
    labels = torch.tensor([0, 0, 1])
    with_lonely = sculpt_loss(features, labels, temperature=0.5)
    assert with_lonely.item() == pytest.approx(reference(features, labels, None, 0.5), rel=1e-5)
    assert sculpt_loss(features, torch.tensor([0, 1, 2]), temperature=0.5) == 0


def test_a_single_picture_has_finite_gradients():
    features = unit(1, 1, 4).requires_grad_()
    sculpt_loss(features, torch.tensor([0]), unit(3, 4, seed=1)).backward()
    assert torch.isfinite(features.grad).all() and features.grad.abs().sum() > 0


def test_pictures_at_the_text_of_their_class_cost_less_than_elsewhere():
    text, labels = unit(3, 16), torch.tensor([0, 1, 2])
    right = sculpt_loss(text[None], labels, text)
    wrong = sculpt_loss(text[[1, 2, 0]][None], labels, text)
    assert right < wrong


def test_large_text_norms_do_not_overflow():
    loss = sculpt_loss(unit(2, 4, 8), torch.tensor([0, 1, 2, 0]), 100 * unit(3, 8, seed=1), 0.05)
    assert torch.isfinite(loss)


def test_computes_in_float32_under_autocast():
    features, labels, text = unit(2, 4, 32), torch.tensor([0, 1, 2, 0]), unit(3, 32, seed=1)
    expected = sculpt_loss(features, labels, text)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = sculpt_loss(features, labels, text)
    assert inside.dtype == torch.float32 and torch.equal(inside, expected)


def test_layers_are_weighted_and_have_their_own_temperature():
    output, middle = unit(2, 4, 8), unit(2, 4, 8, seed=5)
    labels, text = torch.tensor([0, 1, 2, 0]), 7 * unit(3, 8, seed=1)
    loss = HierarchicalSculptLoss(
        0.1, layer_weights=(1.0, 0.0, 0.5), temperature=0.2, temperature_factors=(1, 1, 2), normalize_text=False
    )
    assert loss.intermediate_starts == (2,)
    losses = loss(output, [middle], labels, text)
    assert set(losses) == {'loss_sculpt_layer0', 'loss_sculpt_layer2'}
    torch.testing.assert_close(losses['loss_sculpt_layer0'], 0.1 * sculpt_loss(output, labels, text, 0.2))
    torch.testing.assert_close(losses['loss_sculpt_layer2'], 0.05 * sculpt_loss(middle, labels, text, 0.4))


def test_text_is_normalised_unless_the_flag_is_off():
    output, labels, text = unit(2, 4, 8), torch.tensor([0, 1, 2, 0]), 7 * unit(3, 8, seed=1)
    on = HierarchicalSculptLoss(layer_weights=(1.0,))(output, [], labels, text)['loss_sculpt_layer0']
    torch.testing.assert_close(on, 0.1 * sculpt_loss(output, labels, text / 7, 0.07))
    off = HierarchicalSculptLoss(layer_weights=(1.0,), normalize_text=False)(output, [], labels, text)
    assert off['loss_sculpt_layer0'] > 1.5 * on


@pytest.mark.parametrize('normalize_text', [True, False])
@pytest.mark.parametrize('layers', [1, 2, 3])
def test_any_number_of_layers_equals_the_definition(layers, normalize_text):
    output, *others = (unit(2, 4, 8, seed=layer) for layer in range(layers))
    labels, text = torch.tensor([0, 1, 2, 0]), 3 * unit(3, 8, seed=9)
    weights, factors = (1.0, 1.0, 0.5)[:layers], (1, 1, 2)[:layers]
    loss = HierarchicalSculptLoss(0.1, weights, temperature=0.2, temperature_factors=factors, normalize_text=normalize_text)
    expected = {
        f'loss_sculpt_layer{layer}': 0.1
        * weight
        * reference(features, labels, text / 3 if normalize_text else text, 0.2 * factor)
        for layer, (features, weight, factor) in enumerate(zip([output, *others], weights, factors))
    }
    found = loss(output, others, labels, text)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-5)


def test_the_temperature_follows_a_cosine_over_the_epochs():
    loss = HierarchicalSculptLoss(temperature=dict(start=0.5, end=0.07))
    assert loss.temperature == 0.5
    expected = {0: 0.5, 5: 0.285, 10: 0.07}
    for epoch, value in expected.items():
        loss.set_epoch(epoch, 10)
        assert loss.temperature == pytest.approx(value)


@pytest.mark.parametrize('settings', [dict(loss_weight=0), dict(layer_weights=(0.0, 0.0))])
def test_without_weight_it_is_inactive(settings):
    loss = HierarchicalSculptLoss(**settings)
    assert not loss.active and loss.intermediate_starts == ()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(temperature=0), 'temperatures must be above 0'),
        (dict(temperature=dict(start=0.1)), r'a number or dict\(start=..., end=...\)'),
        (dict(temperature_factors=(1.0,)), 'one value per layer, but have 2 and 1'),
        (dict(layer_weights=()), 'one value per layer'),
        (dict(layer_weights=(1.0, -1.0)), 'weights >= 0'),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalSculptLoss(**settings)


def test_the_number_of_intermediate_features_is_checked():
    with pytest.raises(ValueError, match=r'layers \(1,\), but got 0 features'):
        HierarchicalSculptLoss()(unit(2, 4, 8), [], torch.zeros(4, dtype=torch.int64), unit(3, 8))
