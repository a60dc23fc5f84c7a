import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.models import CLIPAdapterClassifier
from mmpretrain_mps.models.classifiers.test_features import TestFeatures

PICTURES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(4))
SAMPLES = [DataSample().set_gt_label(index % 3) for index in range(6)]


@pytest.fixture
def build(tiny_clip):
    return lambda **settings: CLIPAdapterClassifier(tiny_clip, None, **{'class_names': NAMES, **settings})


@pytest.mark.parametrize('final_relu', [True, False])
def test_logits_are_those_of_the_formula(build, tiny_clip, final_relu):
    model = build(ratio=0.6, final_relu=final_relu, templates=['a {}.']).eval()
    clip, tokenize = open_clip.create_model(tiny_clip, force_quick_gelu=True), open_clip.get_tokenizer(tiny_clip)
    down, up = model.adapter.down.weight, model.adapter.up.weight
    with torch.no_grad():
        texts = F.normalize(clip.encode_text(tokenize([f'a {name}.' for name in NAMES])), dim=-1)
        v = clip.encode_image(PICTURES)
        a = F.relu(v @ down.T) @ up.T
        u = F.normalize(0.6 * (a.clamp(min=0) if final_relu else a) + 0.4 * v, dim=-1)
        tuned, zero_shot = (clip.logit_scale.exp() * features @ texts.T for features in (u, F.normalize(v, dim=-1)))
        torch.testing.assert_close(model(PICTURES), tuned, rtol=1e-4, atol=1e-4)
        for sample, own, theirs in zip(model(PICTURES, mode='predict'), tuned, zero_shot):
            torch.testing.assert_close(sample.tuned_logits, own, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(sample.zero_shot_logits, theirs, rtol=1e-4, atol=1e-4)
            assert sample.pred_label.item() == own.argmax().item()


def test_the_adapter_alone_is_trained_whatever_the_number_of_classes(build):
    model = build()
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {'adapter.down.weight': 2 * 8, 'adapter.up.weight': 8 * 2}
    losses = model([PICTURES], SAMPLES, mode='loss')
    assert {name for name in losses if 'loss' in name} == {'loss_ce'} and 'acc_zero_shot' not in losses
    losses['loss_ce'].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.adapter.parameters())


def test_kept_features_of_views_give_the_losses_of_the_views(build):
    model, views = build(), [PICTURES, PICTURES.flip(-1)]
    losses, kept = model(views, SAMPLES, mode='loss'), model.frozen_features(torch.cat(views))
    assert kept.cls.shape == (12, 8) and kept.auxiliary is None
    assert kept.cls.norm(dim=1).std() > 1e-3  # not of unit norm: the adapter reads it
    torch.testing.assert_close(model(kept, SAMPLES, mode='loss')['loss_ce'], losses['loss_ce'])
    single = [model([view], SAMPLES, mode='loss')['loss_ce'] for view in views]
    torch.testing.assert_close(losses['loss_ce'], sum(single) / 2)


def test_training_and_testing_agree_and_mixed_precision_leaves_the_adapter_whole(build):
    model = build()
    torch.testing.assert_close(model.train()(PICTURES), model.eval()(PICTURES))
    features = model.frozen_features(PICTURES).cls
    expected = model.adapter(features)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(model.adapter(features), expected)


def test_less_than_the_adapter_alone_lets_zero_shot_clip_have_a_say(build):
    model = build(head=dict(alpha=0.3))
    logits, _ = model.branch_logits(PICTURES)
    torch.testing.assert_close(logits.fused, 0.3 * logits.tuned + 0.7 * logits.zero_shot)
    assert 'acc_zero_shot' in model([PICTURES], SAMPLES, mode='loss')


def test_the_frozen_branch_costs_nothing_where_nobody_asks(build):
    model = build()
    assert model.branch_logits(PICTURES)[0].zero_shot is None
    assert model.branch_logits(PICTURES, zero_shot=True)[0].zero_shot.shape == (6, 3)


def test_other_classes_are_predicted(build):
    model = build()
    (texts,) = model.encode_classes([(('river', 'lake'), ('a {}.',))])
    before = model(PICTURES)
    with model.with_classes(texts, ('river', 'lake')):
        assert model(PICTURES).shape == (6, 2)
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), before[:, [2, 0]])
    assert torch.equal(model(PICTURES), before) and model.predicts_any_classes


def test_a_checkpoint_is_small_and_loads_back(build):
    model, other = shake(build(), scale=0.5), build(class_names=None)
    state = model.state_dict()
    assert set(state) == {'adapter.down.weight', 'adapter.up.weight', 'text_prototypes', '_extra_state'}
    other.load_state_dict(state)
    assert torch.equal(other.eval()(PICTURES), model.eval()(PICTURES)) and other.class_names == NAMES


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(ratio=0.5), 'ratio=0.2, but this model has 0.5'),
        (dict(final_relu=False), 'final_relu=True'),
        (dict(reduction=2), 'bottleneck=2, but this model has 4'),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings).load_state_dict(build().state_dict())


def test_a_checkpoint_of_another_base_is_refused(build, tmp_path):
    other = CLIPAdapterClassifier(save_tiny_clip(tmp_path / 'other', seed=1), None, class_names=NAMES)
    with pytest.raises(ValueError, match='set architecture and pretrained'):
        other.load_state_dict(build().state_dict())


@pytest.mark.parametrize(
    'settings, message',
    [(dict(ratio=1.5), 'ratio must lie between 0 and 1, but is 1.5'), (dict(reduction=9), 'between 1 and the 8 dimensions')],
)
def test_senseless_settings_are_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_metrics_of_layers_are_refused(build):
    with pytest.raises(ValueError, match='CLIPAdapterClassifier tunes no copy of a layer'):
        build().branch_logits(PICTURES, wanted=TestFeatures.of('layers'))
