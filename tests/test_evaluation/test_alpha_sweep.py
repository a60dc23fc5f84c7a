import pytest
import torch
from mmpretrain.models.heads import ClsHead  # noqa: F401  (registers mmpretrain's parts)
from mmpretrain.registry import METRICS

from mmpretrain_mps.evaluation import AlphaSweep


def sample(label, tuned, zero_shot):
    return dict(gt_label=torch.tensor([label]), tuned_logits=torch.tensor(tuned), zero_shot_logits=torch.tensor(zero_shot))


def test_a_sweep_computed_by_hand():
    metric = METRICS.build(dict(type='mmpretrain.AlphaSweep'))
    # Right from alpha * 1 > (1 - alpha) * 3 on, that is above 0.75; and right as long as (1 - alpha) * 1 > alpha * 1.
    metric.process(None, [sample(0, [1.0, 0.0], [0.0, 3.0]), sample(0, [0.0, 1.0], [1.0, 0.0])])
    # Right always.
    metric.process(None, [sample(1, [0.0, 2.0], [0.0, 1.0])])
    result = metric.evaluate(3)
    assert list(result) == [f'alpha_sweep/{tenth / 10:.1f}' for tenth in range(11)]
    right = [2, 2, 2, 2, 2, 2, 1, 1, 2, 2, 2]  # at 0.5 the second picture is a tie, which the lower class wins
    assert list(result.values()) == pytest.approx([100 * count / 3 for count in right])


def test_the_ends_are_the_branches_alone():
    generator = torch.Generator().manual_seed(0)
    tuned, zero_shot = torch.randn(2, 50, 7, generator=generator).unbind()
    labels = torch.randint(7, (50,), generator=generator)
    metric = AlphaSweep(alphas=(0, 1))
    metric.process(
        None, [dict(gt_label=labels[i : i + 1], tuned_logits=tuned[i], zero_shot_logits=zero_shot[i]) for i in range(50)]
    )
    assert metric.evaluate(50) == {
        'alpha_sweep/0.0': pytest.approx(100 * (zero_shot.argmax(1) == labels).double().mean().item()),
        'alpha_sweep/1.0': pytest.approx(100 * (tuned.argmax(1) == labels).double().mean().item()),
    }


def test_own_alphas_keep_their_digits():
    metric = AlphaSweep(alphas=(0.25, 1 / 3))
    metric.process(None, [sample(0, [1.0, 0.0], [1.0, 0.0])])
    assert list(metric.evaluate(1)) == ['alpha_sweep/0.25', 'alpha_sweep/0.333333333333']


def test_a_bias_is_added():
    metric = AlphaSweep(alphas=(0, 1, 3))
    # Right where 1 < 0.5 * alpha.
    metric.process(None, [dict(sample(1, [0.0, 0.5], [1.0, 0.0]), fusion='additive')])
    assert metric.evaluate(1) == {'alpha_sweep/0.0': 0, 'alpha_sweep/1.0': 0, 'alpha_sweep/3.0': 100}


def test_weights_of_a_bias_go_beyond_one_by_default():
    metric = AlphaSweep()
    metric.process(None, [dict(sample(1, [0.0, 0.5], [1.0, 0.0]), fusion='additive')])
    found = metric.evaluate(1)
    assert found['alpha_sweep/1.0'] == 0 and found['alpha_sweep/5.0'] == found['alpha_sweep/20.0'] == 100


@pytest.mark.parametrize('alphas', [(), (-0.1,), (0.5, -1)])
def test_no_alphas_and_negative_ones_are_refused(alphas):
    with pytest.raises(ValueError, match='alphas must hold numbers of at least 0'):
        AlphaSweep(alphas=alphas)


def test_shares_beyond_one_are_refused():
    with pytest.raises(ValueError, match='alpha must lie between 0 and 1, but is 1.5'):
        AlphaSweep(alphas=(0.5, 1.5)).process(None, [sample(0, [1.0, 0.0], [1.0, 0.0])])


def test_a_model_without_branches_is_refused_by_name_of_what_it_lacks():
    with pytest.raises(ValueError, match='no zero_shot_logits'):
        AlphaSweep().process(None, [dict(gt_label=torch.tensor([0]), tuned_logits=torch.zeros(2))])
