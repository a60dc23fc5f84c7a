import math

import pytest
import torch

from mmpretrain_mps.models.fusion.uncertainty import UNCERTAINTIES, standardize, uncertainty

# Softmax 0.5, 0.25, 0.125, 0.0625, 0.0625 up to rounding: logits are their logarithms.
P = (0.5, 0.25, 0.125, 0.0625, 0.0625)
LOGITS = torch.tensor([P], dtype=torch.float64).log()
MEAN = sum(P) / 5
VARIANCE = sum((p - MEAN) ** 2 for p in P) / 4
KURTOSIS = sum((p - MEAN) ** 4 for p in P) / 5 / VARIANCE**2
ENTROPY = -sum(p * math.log(p) for p in P)


@pytest.mark.parametrize(
    'kind, expected',
    [
        ('none', 1.0),
        ('moment', (KURTOSIS / 250) ** -0.4),
        ('entropy', math.exp(0.4 * ENTROPY / math.log(5))),
        ('energy', (0.5 + 2 * math.log(sum(math.exp(p / 2) for p in P))) ** -0.4),
        ('max', 0.5**-0.4),
        ('max-min', (0.5 - 0.0625) ** -0.4),
        ('var', math.sqrt(VARIANCE)),
        ('top5', (0.5 - 0.0625) ** -0.4),
    ],
)
def test_every_kind_computed_by_hand(kind, expected):
    factor = uncertainty(LOGITS, kind, 0.4)
    assert factor.shape == (1, 1) and factor.item() == pytest.approx(expected)


def test_top5_is_about_the_fifth_not_the_last():
    six = torch.tensor([0.4, 0.3, 0.1, 0.08, 0.07, 0.05], dtype=torch.float64).log()
    assert uncertainty(six, 'top5', 1.0).item() == pytest.approx(1 / 0.33)
    assert uncertainty(six, 'max-min', 1.0).item() == pytest.approx(1 / 0.35)


def test_the_power_is_that_of_every_kind_but_two():
    for kind in set(UNCERTAINTIES) - {'none', 'var'}:
        assert uncertainty(LOGITS, kind, 0.8).item() == pytest.approx(uncertainty(LOGITS, kind, 0.4).item() ** 2)
        assert uncertainty(LOGITS, kind, 0.0).item() == 1
    for kind in ('none', 'var'):
        assert uncertainty(LOGITS, kind, 0.8) == uncertainty(LOGITS, kind, 0.4)


def test_the_scale_of_the_moment_is_a_setting():
    assert uncertainty(LOGITS, 'moment', 1.0, 5.0).item() == pytest.approx(5 / KURTOSIS)


@pytest.mark.parametrize('kind', ['moment', 'entropy', 'energy', 'max', 'max-min', 'top5'])
def test_the_surer_a_prediction_the_smaller_the_factor(kind):
    logits = torch.randn(20, generator=torch.Generator().manual_seed(0))
    factors = [uncertainty(scale * logits, kind).item() for scale in (0.5, 2, 8)]
    # The energy depends on the whole of the probabilities, which grow apart by little.
    assert factors[0] > factors[1] > factors[2]


def test_a_certain_prediction_of_1000_classes():
    logits = torch.zeros(1000)
    logits[7] = 200
    found = {kind: uncertainty(logits, kind, 1.0).item() for kind in UNCERTAINTIES}
    assert all(map(math.isfinite, found.values()))
    assert 250 / found['moment'] == pytest.approx(996, rel=1e-3)
    assert found['entropy'] == found['max'] == found['max-min'] == found['top5'] == 1


def test_the_factor_carries_no_gradient():
    logits = torch.randn(3, 6, requires_grad=True)
    assert not any(uncertainty(logits, kind).requires_grad for kind in UNCERTAINTIES)


def test_standardised_logits_computed_by_hand_with_their_gradient():
    logits = torch.tensor([[1.0, 2.0, 6.0], [0.0, 10.0, 20.0]], dtype=torch.float64, requires_grad=True)
    # Unbiased: (1 - 3)^2 + (2 - 3)^2 + (6 - 3)^2 = 14 over 2 is 7.
    expected = torch.tensor([[-2.0, -1.0, 3.0], [-1.0, 0.0, 1.0]]).double()
    expected[0] /= math.sqrt(7)
    torch.testing.assert_close(standardize(logits), expected)
    assert torch.autograd.gradcheck(standardize, logits)
    # Neither a shift nor a factor changes the outcome, so there is no gradient along them.
    (gradient,) = torch.autograd.grad(standardize(logits)[:, 0].sum(), logits)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close((gradient * logits).sum(1), torch.zeros(2).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    'kind, classes, message',
    [
        ('kurtosis', 9, "one of \\('none', .*\\), but is 'kurtosis'"),
        ('top5', 4, 'needs 5 classes or more, but there are 4'),
        ('moment', 1, 'needs 2 classes or more'),
    ],
)
def test_unknown_kinds_and_too_few_classes_are_refused(kind, classes, message):
    with pytest.raises(ValueError, match=message):
        uncertainty(torch.zeros(1, classes), kind)


def test_one_class_has_no_spread():
    with pytest.raises(ValueError, match='expected 2 classes or more'):
        standardize(torch.zeros(4, 1))
