import itertools
import json
import logging

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch
import torch.nn.functional as F
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.models import GramAlignLoss, HierarchicalSculptLoss, MPSCLIPClassifier
from mmpretrain_mps.models.classifiers.description import check_class_names, read_description
from mmpretrain_mps.models.losses import point_distances


def loss_sum(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


def test_losses_are_the_sum_of_their_parts_on_features_of_both_views(build, batch):
    model = shake(build(head=dict(alpha=0.3), gram_loss=dict(loss_weight=0.5), sculpt_loss=dict(loss_weight=0.1)))
    views, samples = batch
    losses = model(views, samples, mode='loss')
    features = [model.backbone(view, patch_tokens=True, intermediate_starts=(1,)) for view in views]
    tuned = torch.stack([f.tuned for f in features])
    frozen = torch.stack([f.zero_shot for f in features])
    labels = torch.tensor([0, 1, 1, 2])
    text = F.normalize(model.text_prototypes, dim=-1)
    fused = model.logit_scale * (0.3 * tuned[:, :, 0] + 0.7 * frozen[:, :, 0]).mean(0) @ text.T
    torch.testing.assert_close(losses['loss_ce'], F.cross_entropy(fused, labels), rtol=1e-4, atol=1e-5)
    gram = GramAlignLoss(0.5)(tuned, frozen)
    torch.testing.assert_close(losses['loss_gram_local'], gram['loss_gram_local'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses['loss_gram_global'], gram['loss_gram_global'], rtol=1e-4, atol=1e-6)
    sculpt = HierarchicalSculptLoss(0.1)(tuned[:, :, 0], [torch.stack([f.intermediate[0] for f in features])], labels, text)
    for key, value in sculpt.items():
        torch.testing.assert_close(losses[key], value, rtol=1e-4, atol=1e-5)


def test_every_term_is_logged_and_diagnostics_stay_out_of_the_sum(build, batch):
    model = build()
    losses = model(*batch, mode='loss')
    assert set(losses) == {
        'loss_ce',
        'loss_gram_global',
        'loss_gram_local',
        'loss_sculpt_layer0',
        'loss_sculpt_layer1',
        'acc_fused',
        'acc_tuned',
        'acc_zero_shot',
        'temperature',
    }
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, loss_sum(losses))
    assert logged['temperature'].item() == pytest.approx(0.07)


def test_prediction_of_one_view_equals_the_fused_formula(build, batch):
    model = shake(build(head=dict(alpha=0.3)))
    images = batch[0][0]
    features = model.backbone(images, patch_tokens=True)
    text = F.normalize(model.text_prototypes, dim=-1)
    expected = model.logit_scale * (0.3 * features.tuned[:, 0] + 0.7 * features.zero_shot[:, 0]) @ text.T
    torch.testing.assert_close(model(images, mode='tensor'), expected, rtol=1e-4, atol=1e-4)
    predicted = model(images, mode='predict')
    torch.testing.assert_close(
        torch.stack([sample.pred_score for sample in predicted]), expected.softmax(1), rtol=1e-4, atol=1e-5
    )
    assert [sample.pred_label.item() for sample in predicted] == expected.argmax(1).tolist()


def test_a_loss_with_weight_zero_costs_nothing(build, batch, monkeypatch):
    calls = []
    model = build(gram_loss=dict(loss_weight=0.0), sculpt_loss=dict(loss_weight=0.0), head=dict(alpha=1.0))
    original = model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda *args, **kwargs: calls.append(kwargs) or original(*args, **kwargs))
    losses = model(*batch, mode='loss')
    assert model.gram_loss is None and model.sculpt_loss is None
    assert calls == [dict(patch_tokens=False, zero_shot=False, intermediate_starts=())]
    assert set(losses) == {'loss_ce', 'acc_tuned'}


@pytest.mark.parametrize('gram, patch_tokens', [(dict(local_weight=0), False), (dict(global_weight=0), True)])
def test_patch_tokens_are_computed_for_the_local_term_alone(build, batch, monkeypatch, gram, patch_tokens):
    model = build(gram_loss=gram)
    seen = []
    original = model.backbone.forward
    monkeypatch.setattr(
        model.backbone, 'forward', lambda *args, **kwargs: seen.append(kwargs['patch_tokens']) or original(*args, **kwargs)
    )
    model(*batch, mode='loss')
    assert seen == [patch_tokens]


@pytest.mark.parametrize(
    'point_loss, patch_tokens',
    [
        (dict(loss_weight=2.0, distance='l1'), False),
        (dict(patch_weight=0.5), True),
        (dict(type='LogitConsistencyLoss', loss_weight=0.3), False),
        ([dict(type='PointAlignLoss'), dict(type='LogitConsistencyLoss')], False),
    ],
)
def test_point_wise_losses_are_those_of_the_features(build, batch, monkeypatch, point_loss, patch_tokens):
    # Nothing else needs the frozen branch.
    model = shake(build(point_loss=point_loss, gram_loss=None, sculpt_loss=None, head=dict(alpha=1.0)))
    seen, original = [], model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda *args, **kwargs: seen.append(kwargs) or original(*args, **kwargs))
    losses = model(*batch, mode='loss')
    assert [(call['patch_tokens'], call['zero_shot']) for call in seen] == [(patch_tokens, True)]
    features = [original(view, patch_tokens=True) for view in batch[0]]
    tuned, frozen = (torch.stack([getattr(f, name) for f in features]) for name in ('tuned', 'zero_shot'))
    text = F.normalize(model.text_prototypes, dim=-1)
    expected = {}
    for config in point_loss if isinstance(point_loss, list) else [point_loss]:
        weight = config.get('loss_weight', 1.0)
        if config.get('type') == 'LogitConsistencyLoss':
            log_p, log_q = ((model.logit_scale * x[:, :, 0] @ text.T).log_softmax(-1) for x in (tuned, frozen))
            expected['loss_logit_kl'] = weight * (log_q.exp() * (log_q - log_p)).sum(-1).mean(1).sum()
        else:
            distances = point_distances(tuned, frozen, config.get('distance', 'cosine'))
            expected['loss_point_cls'] = weight * distances[:, :, 0].mean(1).sum()
            if patch_tokens:
                expected['loss_point_patch'] = weight * 0.5 * distances[:, :, 1:].mean((1, 2)).sum()
    found = {name: value for name, value in losses.items() if 'loss' in name and name != 'loss_ce'}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    loss_sum(found).backward()
    assert all((p.grad is not None and p.grad.abs().sum() > 0) == p.requires_grad for p in model.parameters())


def test_point_wise_losses_are_zero_at_initialisation(build, batch):
    point_loss = [dict(patch_weight=1.0), dict(type='LogitConsistencyLoss')]
    losses = build(point_loss=point_loss)(*batch, mode='loss')
    assert {'loss_point_cls', 'loss_point_patch', 'loss_logit_kl'} <= set(losses)
    ours = ('loss_point', 'loss_logit')
    assert all(abs(value.item()) < 1e-6 for name, value in losses.items() if name.startswith(ours))


@pytest.mark.parametrize(
    'point_loss', [dict(loss_weight=0), dict(type='LogitConsistencyLoss', loss_weight=0), dict(cls_weight=0)]
)
def test_a_point_wise_loss_with_weight_zero_costs_nothing(build, batch, monkeypatch, point_loss):
    model = build(point_loss=point_loss, gram_loss=None, sculpt_loss=None, head=dict(alpha=1.0))
    calls, original = [], model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda *args, **kwargs: calls.append(kwargs) or original(*args, **kwargs))
    assert set(model(*batch, mode='loss')) == {'loss_ce', 'acc_tuned'}
    assert calls == [dict(patch_tokens=False, zero_shot=False, intermediate_starts=())]


def test_two_point_wise_losses_of_one_type_are_refused(build):
    with pytest.raises(ValueError, match='point_loss holds PointAlignLoss more than once'):
        build(point_loss=[dict(distance='l1'), dict(type='PointAlignLoss')])


def test_cross_entropy_sees_the_fused_or_the_tuned_logits(build, batch):
    labels, found = torch.tensor([0, 1, 1, 2]), {}
    for alpha, supervise in itertools.product((0.0, 0.3, 1.0), ('fused', 'tuned')):
        model = shake(build(head=dict(alpha=alpha, supervise=supervise)))
        features = [model.backbone(view) for view in batch[0]]
        text = F.normalize(model.text_prototypes, dim=-1)
        tuned, frozen = (torch.stack([getattr(f, name)[:, 0] for f in features]).mean(0) for name in ('tuned', 'zero_shot'))
        share = alpha if supervise == 'fused' else 1.0
        expected = F.cross_entropy(model.logit_scale * (share * tuned + (1 - share) * frozen) @ text.T, labels)
        losses = model(*batch, mode='loss')
        torch.testing.assert_close(losses['loss_ce'], expected, rtol=1e-4, atol=1e-5)
        losses['loss_ce'].backward()
        found[alpha, supervise] = sum(p.grad.abs().sum().item() for p in model.parameters() if p.grad is not None)
    # With alpha 0 the fused logits are the frozen ones: nothing to learn from them.
    assert found.pop((0.0, 'fused')) == 0 and min(found.values()) > 0


@pytest.mark.parametrize('alpha, branch', [(0.0, 'zero_shot'), (1.0, 'tuned')])
def test_at_the_ends_of_alpha_one_branch_alone_is_predicted(build, batch, alpha, branch):
    for sample in shake(build(head=dict(alpha=alpha)))(batch[0][0], mode='predict'):
        torch.testing.assert_close(sample.pred_score, getattr(sample, f'{branch}_score'))


def test_full_fine_tuning_trains_every_copy_and_its_checkpoint_says_so(build, batch):
    full = dict(group_depths=(0, 0, 6), tune_stem=True, checkpointing=True)
    model = shake(build(backbone=full)).train()
    loss_sum(model(*batch, mode='loss')).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert reached == (not name.startswith('backbone.zero_shot.')), name
    state = model.state_dict()
    assert 'backbone.tuned.stem.conv1.weight' in state and read_description(state['_extra_state'])['tune_stem'] is True
    fresh = build(backbone=full, class_names=None)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(batch[0][0]), model(batch[0][0]))
    with pytest.raises(ValueError, match='tuned with tune_stem=True, but this model has False'):
        build(backbone=dict(group_depths=(0, 0, 6))).load_state_dict(state)


def test_a_checkpoint_from_before_the_stem_could_be_tuned_still_loads(build, batch):
    model = shake(build())
    state = model.state_dict()
    description = {
        key: value for key, value in read_description(state['_extra_state']).items() if key not in ('method', 'tune_stem')
    }
    state['_extra_state'] = torch.frombuffer(bytearray(json.dumps(description).encode()), dtype=torch.uint8)
    fresh = build()
    fresh.load_state_dict(state)
    assert torch.equal(fresh(batch[0][0]), model(batch[0][0]))


def test_gradients_reach_every_trainable_parameter_and_no_other(build, batch):
    model = shake(build()).train()
    loss_sum(model(*batch, mode='loss')).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert reached == parameter.requires_grad, name
        assert parameter.requires_grad == (not name.startswith('backbone.zero_shot.'))


def test_training_leaves_frozen_weights_and_prototypes_bit_identical(build, batch):
    model = build().train()
    before = {name: value.clone() for name, value in model.backbone.zero_shot.state_dict().items()}
    prototypes = model.text_prototypes.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss_sum(model(*batch, mode='loss')).backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.zero_shot.state_dict().items())
    assert torch.equal(model.text_prototypes, prototypes)
    features = model.backbone(batch[0][0])
    assert not torch.allclose(features.tuned, features.zero_shot, atol=1e-3)


def test_bf16_autocast_keeps_losses_in_float32(build, batch):
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(*batch, mode='loss')
    assert all(value.dtype == torch.float32 for key, value in losses.items() if 'loss' in key)
    plain = model(*batch, mode='loss')
    assert loss_sum(losses).item() == pytest.approx(loss_sum(plain).item(), rel=0.05)


def test_the_temperature_follows_the_epoch(build):
    model = build(sculpt_loss=dict(temperature=dict(start=0.5, end=0.07)))
    model.set_epoch(5, 10)
    assert model.temperature == pytest.approx(0.285)


def test_the_text_tower_is_released_and_read_again_for_other_classes(build):
    model = build()
    assert model._text_tower == []
    assert not any('token_embedding' in name for name, _ in model.named_parameters())
    first = model.text_prototypes.clone()
    model.set_classes(['cat', 'zebra'])
    torch.testing.assert_close(model.text_prototypes[0], first[0])
    assert model.class_names == ('cat', 'zebra') and len(model.text_prototypes) == 2


def test_prototypes_are_those_of_open_clips_text_tower(build, tiny_clip):
    import open_clip

    clip = open_clip.create_model(tiny_clip).eval()
    tokens = open_clip.get_tokenizer(tiny_clip)([template.format(name) for name in NAMES for template in ('a {}.', 'one {}')])
    with torch.no_grad():
        features = clip.encode_text(tokens).unflatten(0, (3, 2))
    model = build(templates=('a {}.', 'one {}'), normalize_templates=False)
    torch.testing.assert_close(model.text_prototypes, features.mean(1), rtol=1e-5, atol=1e-6)
    model = build(templates=('a {}.', 'one {}'), normalize_templates=True)
    torch.testing.assert_close(model.text_prototypes, F.normalize(features, dim=-1).mean(1), rtol=1e-5, atol=1e-6)


def test_a_model_without_classes_says_what_to_do(build, batch):
    with pytest.raises(ValueError, match='no class names.*class_names.*ClassNamesHook.*set_classes'):
        build(class_names=None)(batch[0][0])


def test_a_wrong_picture_size_is_named(build):
    with pytest.raises(ValueError, match=r'\(16, 16\) pixels.*\(2, 3, 24, 24\)'):
        build()(torch.zeros(2, 3, 24, 24))


def test_several_views_cannot_be_predicted_and_modes_are_checked(build, batch):
    with pytest.raises(ValueError, match="'predict' takes one view of each picture, but got 2"):
        build()(batch[0], mode='predict')
    with pytest.raises(ValueError, match="but is 'train'"):
        build()(batch[0][0], mode='train')


def test_pictures_are_normalised_as_the_clip_model_wants(build):
    model = build()
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=pictures, data_samples=None))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (pictures / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(data['inputs'], expected, rtol=1e-5, atol=1e-5)


# Checkpoints.


def test_the_state_holds_tuned_weights_prototypes_and_a_description(build):
    model = build()
    state = model.state_dict()
    assert not any(name.startswith('backbone.zero_shot') for name in state)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(state) == trainable | {'text_prototypes', '_extra_state'}
    description = read_description(state['_extra_state'])
    assert description['class_names'] == list(NAMES)
    assert description['group_depths'] == [2, 2, 2]
    assert len(description['base']['sha256']) == 64


def test_saved_and_loaded_models_predict_the_same(build, batch, tmp_path):
    model = shake(build(templates=('one {}',)))
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    state = torch.load(tmp_path / 'model.pth', weights_only=True)
    fresh = build(class_names=None)
    assert not fresh.load_state_dict(state).missing_keys
    assert fresh.class_names == NAMES and fresh.templates == ('one {}',)
    assert torch.equal(fresh(batch[0][0]), model(batch[0][0]))


def test_mmengine_loads_the_state_without_a_warning(build, batch, caplog):
    model, fresh = shake(build()), build(class_names=None)
    with caplog.at_level(logging.WARNING):
        mmengine_checkpoint.load_state_dict(fresh, model.state_dict(), strict=True)
    assert torch.equal(fresh(batch[0][0]), model(batch[0][0]))


def test_vit_b_16_saves_about_125_megabytes():
    model = MPSCLIPClassifier('ViT-B-16', None, class_names=NAMES)
    state = model.state_dict()
    megabytes = sum(value.numel() * value.element_size() for value in state.values()) / 1e6
    assert megabytes == pytest.approx(124.4, abs=0.5)


def test_another_base_is_refused(build, tmp_path):
    other = save_tiny_clip(tmp_path / 'other', seed=1)
    with pytest.raises(ValueError, match='tuned from local-dir:.*but this model is built on local-dir:.*other') as error:
        build(architecture=other).load_state_dict(build().state_dict())
    assert 'set architecture and pretrained' in str(error.value)


def test_another_activation_is_refused(build, tmp_path):
    folder = tmp_path / 'gelu'
    name = save_tiny_clip(folder)
    config = json.loads((folder / 'open_clip_config.json').read_text())
    config['model_cfg']['quick_gelu'] = False
    (folder / 'open_clip_config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='tuned with quick_gelu=True, but this model has quick_gelu=False'):
        build(architecture=name).load_state_dict(build().state_dict())


def test_another_partition_is_refused(build):
    with pytest.raises(ValueError, match=r'group_depths=\[2, 2, 2\], but this model has \[3, 1, 2\]'):
        build(backbone=dict(group_depths=(3, 1, 2))).load_state_dict(build().state_dict())
    with pytest.raises(ValueError, match='adapters=2, but this model has 0'):
        build(backbone=dict(adapters=False)).load_state_dict(build().state_dict())


def test_another_class_list_is_refused(build):
    with pytest.raises(ValueError, match="class 1 is 'dog' in the checkpoint, but 'wolf' in this model"):
        build(class_names=('cat', 'wolf', 'sparrow')).load_state_dict(build().state_dict())
    with pytest.raises(ValueError, match='the checkpoint has 3 classes .* but this model has 2'):
        build(class_names=('cat', 'dog')).load_state_dict(build().state_dict())


def test_a_foreign_checkpoint_is_refused(build):
    with pytest.raises(ValueError, match="does not say which base model.*'conv.weight'"):
        build().load_state_dict({'conv.weight': torch.zeros(1)}, strict=False)
    state = build().state_dict()
    state['_extra_state'] = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(ValueError, match='description in this checkpoint is not readable'):
        build().load_state_dict(state)
    state['_extra_state'] = torch.frombuffer(bytearray(b'{"format": "other"}'), dtype=torch.uint8)
    with pytest.raises(ValueError, match="format 'other'; expected 'mmpretrain_mps-1'"):
        build().load_state_dict(state)


def test_class_lists_may_repeat_names():
    check_class_names(['sunglasses', 'x', 'sunglasses'], ('sunglasses', 'x', 'sunglasses'), 'a', 'b')
    check_class_names(None, ('x',), 'a', 'b')
