import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from tiny_clip import NAMES, shake

from mmpretrain_mps.models import LinearProbeClassifier

PICTURES = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(4))
LABELS = torch.arange(12) % 3


@pytest.fixture
def probe(tiny_clip):
    """Build a probe, and fit it unless told otherwise."""

    def build_probe(fitted=True, **overrides):
        config = dict(architecture=tiny_clip, pretrained=None, class_names=NAMES)
        model = LinearProbeClassifier(**{**config, **overrides})
        if fitted:
            model.fit(model.extract_feat(PICTURES)[0], LABELS % len(model.class_names), C=10.0, max_iter=500)
        return model.eval()

    return build_probe


def tuned_logits(model):
    return torch.stack([sample.tuned_logits for sample in model(PICTURES, mode='predict')])


@pytest.mark.parametrize('names', [NAMES, NAMES[:2]], ids=['three classes', 'two classes'])
def test_predictions_are_those_of_scikit_learn_on_the_unit_norm_features(probe, names):
    model = probe(class_names=names)
    (features,) = model.extract_feat(PICTURES)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(12))
    regression = LogisticRegression(C=10.0, max_iter=500).fit(features.double().numpy(), (LABELS % len(names)).numpy())
    expected = torch.from_numpy(regression.predict_proba(features.double().numpy())).float()
    torch.testing.assert_close(tuned_logits(model).softmax(-1), expected, rtol=1e-4, atol=1e-5)
    assert model.describe()['fit_of'] == dict(C=10.0, max_iter=500, pictures=12)


def test_the_zero_shot_branch_is_that_of_the_other_classifier_to_the_last_bit(probe, build):
    ours, theirs = probe()(PICTURES, mode='predict'), shake(build()).eval()(PICTURES, mode='predict')
    assert all(torch.equal(a.zero_shot_logits, b.zero_shot_logits) for a, b in zip(ours, theirs))


def test_logits_are_fused_by_the_alpha_of_the_head_which_is_1_by_default(probe):
    alone, model = probe(), probe(head=dict(alpha=0.25))
    zero_shot = model.logit_scale * model.extract_feat(PICTURES)[0] @ F.normalize(model.text_prototypes, dim=-1).T
    torch.testing.assert_close(alone(PICTURES), tuned_logits(alone))
    torch.testing.assert_close(model(PICTURES), 0.25 * tuned_logits(alone) + 0.75 * zero_shot, rtol=1e-4, atol=1e-4)


def test_the_state_is_small_and_loads_into_a_model_without_classes(probe, tmp_path):
    model = probe(templates=('one {}',))
    torch.save(model.state_dict(), tmp_path / 'probe.pth')
    state = torch.load(tmp_path / 'probe.pth', weights_only=True)
    assert set(state) == {'probe_weight', 'probe_bias', 'text_prototypes', '_extra_state'}
    fresh = probe(fitted=False, class_names=None)
    fresh.load_state_dict(state)
    assert fresh.class_names == NAMES and fresh.templates == ('one {}',) and fresh.fit_of == model.fit_of
    assert torch.equal(fresh(PICTURES), model(PICTURES))


def test_checkpoints_of_one_method_are_refused_by_the_other(probe, build):
    with pytest.raises(ValueError, match='tuned with method=mps, but this model has linear_probe'):
        probe(fitted=False).load_state_dict(build().state_dict())
    with pytest.raises(ValueError, match='tuned with method=linear_probe, but this model has mps'):
        build().load_state_dict(probe().state_dict())
    with pytest.raises(ValueError, match='the checkpoint has 3 classes .* but this model has 2'):
        probe(class_names=NAMES[:2]).load_state_dict(probe().state_dict())


def test_some_of_the_classes_can_be_predicted_alone_for_a_while(probe):
    model = probe(head=dict(alpha=0.5))
    whole = model(PICTURES)
    with pytest.raises(RuntimeError), model.with_class_subset((2, 0)):
        assert model.class_names == (NAMES[2], NAMES[0])
        torch.testing.assert_close(model(PICTURES), whole[:, [2, 0]])
        raise RuntimeError
    assert torch.equal(model(PICTURES), whole) and model.class_names == NAMES


def test_other_classes_are_refused_once_it_is_fitted(probe):
    with pytest.raises(ValueError, match="class 0 is 'wolf' in the new list, but 'cat' in the trained LinearProbeClassifier"):
        probe().set_classes(['wolf', 'dog', 'sparrow'])
    with pytest.raises(ValueError, match='cannot take over others: 2 were given'):
        with probe().with_classes(dict(text_prototypes=torch.zeros(2, 8)), ['wolf', 'bear']):
            pass
    model = probe()
    before = tuned_logits(model)
    model.set_classes(NAMES, ['another {}'])
    assert torch.equal(tuned_logits(model), before) and model.templates == ('another {}',)


def test_it_is_neither_used_before_it_is_fitted_nor_trained_by_steps(probe, batch):
    with pytest.raises(ValueError, match='has not been fitted: train with LinearProbeLoop'):
        probe(fitted=False)(PICTURES)
    with pytest.raises(ValueError, match=r"set train_cfg=dict\(type='LinearProbeLoop'\)"):
        probe(fitted=False)(*batch, mode='loss')
    with pytest.raises(ValueError, match='not trained by losses, but got gram_loss, gather'):
        probe(gram_loss=dict(), gather='all')


def test_a_class_without_pictures_is_named(probe):
    model = probe(fitted=False)
    with pytest.raises(ValueError, match=r"1 of 3 classes have no picture .* label 1 \('dog'\) first"):
        model.fit(torch.randn(4, 8), torch.tensor([0, 2, 0, 2]), C=1.0, max_iter=10)
