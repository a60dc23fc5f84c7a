import json
import logging
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from many_ranks import run_ranks
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake
from tiny_steps import pictures

from mmpretrain_mps.models import TACClassifier
from mmpretrain_mps.models.text.clustering import cosine_kmeans, draw_starts

PICTURES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
SAMPLES = [DataSample().set_gt_label(label) for label in (0, 1, 1, 2)]
VIEWS = [PICTURES.flip(-1), PICTURES.flip(-2), PICTURES]
TRAINED = {'text_map', 'vision_map', 'text_prompts', 'vision_prompts'}


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A tiny CLIP whose text tower has several blocks."""
    return save_tiny_clip(tmp_path_factory.mktemp('clip'), text=dict(layers=3, width=8, heads=2), layers=3)


def make(clip, **options):
    config = dict(num_prompts=3, num_clusters=2, class_names=NAMES)
    return TACClassifier(clip, None, **{**config, **options})


@pytest.fixture
def build(clip):
    return lambda **options: make(clip, **options)


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def trained_state(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


def train(model, steps=3, lr=0.05):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    totals = []
    for _ in range(steps):
        optimizer.zero_grad()
        totals.append(total(model.train()(VIEWS, SAMPLES, mode='loss')))
        totals[-1].backward()
        optimizer.step()
    return totals


def test_gradients_reach_what_is_trained_alone_and_frozen_weights_stay_to_the_bit(build):
    model = shake(build())
    before = {
        name: value.clone()
        for name, value in (*model.backbone.zero_shot.state_dict().items(), *model.text_tower.state_dict().items())
    }
    totals = train(model, steps=20)
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == set(trained_state(model))
    assert {name.split('.')[0] for name in with_gradient} == TRAINED
    for name, value in (*model.backbone.zero_shot.state_dict().items(), *model.text_tower.state_dict().items()):
        assert torch.equal(value, before[name]), name
    assert totals[-1] < 0.9 * totals[0]


def test_as_many_numbers_are_trained_as_published():
    # Of ViT-B/16: 512 columns of texts, 768 of pictures, 12 blocks each.
    def count(n):
        return 12 * n * (512 + 768) + (512 * 512 + 512) + (512 * 768 + 768)

    assert (count(5), count(10)) == (733440, 810240)
    model = TACClassifier('mps-mini', 'embedded')  # 64 of texts in 3 blocks, 96 of pictures in 12
    expected = 5 * (3 * 64 + 12 * 96) + (64 * 64 + 64) + (64 * 96 + 96)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


def test_every_view_is_a_picture_and_is_compared_with_the_plain_one(build):
    model = shake(build(dropout=0.0))
    losses = model(VIEWS, SAMPLES, mode='loss')
    alone = [model([view, PICTURES], SAMPLES, mode='loss') for view in VIEWS[:2]]
    for name in ('loss_ce', 'loss_image', 'loss_text'):
        torch.testing.assert_close(losses[name], (alone[0][name] + alone[1][name]) / 2)
    frozen = F.normalize(model.backbone.zero_shot(PICTURES), dim=-1)
    features = [F.normalize(model.prompted_features(view), dim=-1) for view in VIEWS[:2]]
    by_hand = sum(25 * (f - frozen).abs().sum() / f.numel() for f in features) / 2
    torch.testing.assert_close(losses['loss_image'], by_hand)
    torch.testing.assert_close(losses['loss_text'], 20 * (model.class_features() - model.fixed_texts()).abs().mean())


def test_a_weight_of_zero_leaves_its_term_and_the_frozen_tower_out(build, monkeypatch):
    model = build(text_weight=0.0, image_weight=0.0)
    forward, prompted = model.backbone.forward, []
    monkeypatch.setattr(model.backbone, 'forward', lambda *args: prompted.append(len(args) > 1) or forward(*args))
    assert {name for name in model(VIEWS, SAMPLES, mode='loss') if 'loss' in name} == {'loss_ce'}
    assert prompted == [True]


def test_dropout_is_of_views_and_of_plain_pictures_in_training_alone(build):
    model = shake(build(dropout=0.5))
    batch = model.picture_batch(VIEWS, torch.tensor([0, 1, 1, 2]))
    torch.manual_seed(0)
    dropped = model.train().dropped(batch)
    zeros = [(features == 0).float().mean() for features in (dropped.tuned, dropped.zero_shot)]
    assert all(0.2 < share < 0.8 for share in zeros)
    # What was kept is the feature itself, up to its norm; the plain pictures drop the same for all of their views.
    features = torch.cat([model.prompted_features(view) for view in VIEWS[:2]])
    torch.testing.assert_close(dropped.tuned, F.normalize(features * (dropped.tuned != 0), dim=-1))
    assert torch.equal(dropped.zero_shot[:4], dropped.zero_shot[4:])
    assert not torch.equal(dropped.tuned[:4] == 0, dropped.tuned[4:] == 0)
    whole = model.eval().dropped(batch)
    torch.testing.assert_close(whole.tuned, F.normalize(features, dim=-1))
    assert torch.equal(model(PICTURES), model(PICTURES))


def test_a_prediction_runs_no_frozen_tower_and_encodes_texts_once(build, monkeypatch):
    model = shake(build()).eval()
    model(PICTURES)
    forward, prompted, encoded = model.backbone.forward, [], []
    monkeypatch.setattr(model.backbone, 'forward', lambda *args: prompted.append(len(args) > 1) or forward(*args))
    monkeypatch.setattr(model, 'class_features', lambda: encoded.append(1) or TACClassifier.class_features(model))
    with torch.no_grad():
        first, second = model(PICTURES, mode='tensor'), model(PICTURES, mode='tensor')
    assert torch.equal(first, second) and prompted == [True, True] and len(encoded) <= 1
    samples = model(PICTURES, mode='predict')
    assert prompted[2:] == [True, False]  # both branches are reported
    zero_shot = model.logit_scale * F.normalize(model.backbone.zero_shot(PICTURES), dim=-1) @ model.unit_prototypes().T
    torch.testing.assert_close(torch.stack([sample.zero_shot_logits for sample in samples]), zero_shot)
    torch.testing.assert_close(torch.stack([sample.pred_score for sample in samples]), first.softmax(-1))


def test_patches_do_not_see_the_task_aware_tokens(build):
    model = build(num_clusters=3)
    # After one block; later ones see them through [CLS].
    _, states, *_ = model.backbone.block_outputs(PICTURES, model.vision_vectors(), model.num_clusters)
    with torch.no_grad():
        model.vision_map.bias += 1
    _, changed, *_ = model.backbone.block_outputs(PICTURES, model.vision_vectors(), model.num_clusters)
    patches = slice(1, 5)
    assert torch.equal(states[:, patches], changed[:, patches]) and not torch.equal(states[:, 0], changed[:, 0])


# Classes and sentences.


def test_the_centres_are_those_of_the_class_texts_and_made_once(build):
    model = build(templates=['a {}.', 'one {}.', 'my {}.'])
    assert not len(model.cluster_centers) and not len(model.sentence_features)
    model(VIEWS, SAMPLES, mode='loss')
    tokenizer = model._clip_of_texts().make_tokenizer()
    for name, row in zip(NAMES, model.sentence_features):
        texts = model.text_tower.model.encode_text(tokenizer([f'a {name}.', f'one {name}.', f'my {name}.']))
        torch.testing.assert_close(row, F.normalize(texts.mean(0), dim=-1))
    clusters = cosine_kmeans(model.sentence_features, draw_starts(model.sentence_features, 2, 0))
    torch.testing.assert_close(model.cluster_centers, F.normalize(clusters.centers, dim=-1))
    centers = model.cluster_centers
    model(VIEWS, SAMPLES, mode='loss')
    assert model.cluster_centers is centers


def test_other_classes_are_predicted_with_the_centres_of_the_trained_ones_without_sentences(build, tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({name: [f'A {name} is an animal.', f'{name}.'] for name in NAMES}))
    model = build(sentences=str(tmp_path / 'a.json'))
    train(model)
    (tmp_path / 'a.json').unlink()
    fresh = build(class_names=None, sentences=str(tmp_path / 'a.json')).eval()
    fresh.load_state_dict(model.eval().state_dict())
    others = ['river', 'lake', 'sea', 'pond']
    (texts,) = fresh.encode_classes([(others, ['a {}.'])])
    with fresh.with_classes(texts, others):
        whole = fresh(PICTURES)
    assert whole.shape == (4, 4) and torch.equal(fresh.cluster_centers, model.cluster_centers)
    torch.testing.assert_close(fresh(PICTURES), model(PICTURES))
    fresh.set_classes(others)
    assert torch.equal(fresh(PICTURES), whole) and torch.equal(fresh.cluster_centers, model.cluster_centers)
    with pytest.raises(FileNotFoundError, match='a.json does not exist'):
        fresh.set_epoch(0, 1)


def test_a_model_that_is_not_trained_yet_clusters_the_classes_that_it_gets(build):
    model = build(class_names=('lake', 'sea', 'river')).eval()
    before = model(PICTURES)
    centers = model.cluster_centers
    (texts,) = model.encode_classes([(NAMES, ['a photo of a {}.'])])
    with model.with_classes(texts, NAMES):
        assert torch.equal(model.cluster_centers, centers)
    model.set_classes(NAMES)
    assert model(PICTURES).shape == before.shape and not torch.equal(model.cluster_centers, centers)
    untouched = build(class_names=('lake', 'sea', 'river')).eval()
    with untouched.with_classes(texts, NAMES):
        untouched(PICTURES)
    assert not len(untouched.cluster_centers)


def test_some_of_the_classes_are_predicted_alone_as_among_all(build):
    model = shake(build()).eval()
    whole = model(PICTURES)
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), whole[:, [2, 0]])
    assert torch.equal(model(PICTURES), whole)


def test_what_classes_are_described_by_is_said_and_looked_at_before_the_first_step(build, tmp_path, monkeypatch):
    said = []
    logger = SimpleNamespace(info=said.append)
    monkeypatch.setattr('mmpretrain_mps.models.text.sentences.MMLogger', SimpleNamespace(get_current_instance=lambda: logger))
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'cat': ['A cat.'], 'sparrow': ['A sparrow.']}))
    model = build(sentences=str(path))
    with pytest.raises(ValueError, match="a.json has no sentences for 1 of 3 classes: 'dog'"):
        model.set_epoch(0, 1)
    path.write_text(json.dumps({'cat': ['A cat.'], 'sparrow': ['A sparrow.'], 'dog': ['word ' * 80]}))
    with pytest.raises(ValueError, match="a.json: class 'dog' has a sentence of 82 tokens"):
        model.set_epoch(0, 1)
    path.write_text(json.dumps({'cat': ['A cat.'], 'sparrow': ['A sparrow.'], 'dog': ['A dog.', 'Woof.']}))
    model.set_epoch(0, 1)
    build(sentences='clip').set_epoch(0, 1)
    build().set_epoch(0, 1)
    assert said[0] == f'4 sentences about 3 classes from {path}'
    assert said[1:] == [
        f'no file of sentences about classes is given; prompt templates take their place: {templates}'
        for templates in ("60 ('a bad photo of a {}.', ...)", "1 ('a photo of a {}.')")
    ]


def test_the_embedded_model_is_asked_for_words_that_it_knows(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'zero': ['A photo of a zero.'], 'one': ['A skyscraper.']}))
    model = TACClassifier('mps-mini', 'embedded', num_clusters=2, class_names=['zero', 'one'], sentences=str(tmp_path / 'a.json'))
    with pytest.raises(ValueError, match="no meaning for .*'skyscraper'"):
        model.set_epoch(0, 1)


def test_too_few_classes_are_one_clear_error_and_equal_ones_are_none(build):
    model = build(num_clusters=5)
    for use in (lambda: model.set_epoch(0, 1), lambda: model(VIEWS, SAMPLES, mode='loss'), lambda: model(PICTURES)):
        with pytest.raises(
            ValueError, match='clusters the texts of the classes into 5, but there are 3; set model.num_clusters to 3 or less'
        ):
            use()
    same = build(num_clusters=3, class_names=['cat', 'cat', 'cat'])
    assert all(value.isfinite().all() for value in same(VIEWS, SAMPLES, mode='loss').values())


def test_prompts_that_do_not_fit_are_named(build):
    with pytest.raises(
        ValueError, match="the prompt of class 'dog' is 8 tokens and 70 vectors long, but the context of this CLIP holds 77"
    ):
        build(num_prompts=68, class_names=['dog'])
    build(num_prompts=67, class_names=['dog'])


# Checkpoints.


def test_the_state_is_what_is_trained_and_made_of_the_classes_and_loads_back(build, clip):
    model = build()
    train(model)
    state = model.eval().state_dict()
    assert {name.split('.')[0] for name in state} == {
        *TRAINED,
        'token_ids',
        'text_prototypes',
        'sentence_features',
        'cluster_centers',
        '_extra_state',
    }
    assert sum(value.numel() for name, value in state.items()) < 6000
    fresh = build(class_names=None)
    fresh.load_state_dict(state)
    assert fresh.class_names == NAMES and torch.equal(fresh.eval()(PICTURES), model(PICTURES))
    # Trainings go on as if they had not been interrupted, the state of random numbers being equal.
    for one in (model, fresh):
        torch.manual_seed(1)
        train(one)
    for name, value in trained_state(model).items():
        assert torch.equal(value, trained_state(fresh)[name]), name


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_prompts=4), 'num_prompts=3, but this model has 4'),
        (dict(num_clusters=3), 'num_clusters=2'),
        (dict(prompt='a {}.'), r'prompt=a photo of a \{\}.'),
        (dict(class_names=NAMES[:2]), 'the checkpoint has 3 classes'),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(build, options, message):
    state = build().state_dict()
    with pytest.raises(ValueError, match=message):
        build(**options).load_state_dict(state)


def test_a_checkpoint_of_another_base_or_method_is_refused(build, tmp_path, tiny_clip):
    state = build().state_dict()
    other = save_tiny_clip(tmp_path / 'other', seed=5, text=dict(layers=3, width=8, heads=2), layers=3)
    with pytest.raises(ValueError, match='the checkpoint was tuned from'):
        make(other).load_state_dict(state)
    from mmpretrain_mps.models import ZeroShotClassifier

    with pytest.raises(ValueError, match='tuned with method=tac, but this model has zero_shot'):
        ZeroShotClassifier(make(other).architecture, None, class_names=NAMES).load_state_dict(make(other).state_dict())


# Settings, precision, processes.


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_prompts=0), 'num_prompts must be a whole number >= 1, but is 0'),
        (dict(num_clusters=1.5), 'num_clusters must'),
        (dict(dropout=1.0), 'dropout must be at least 0 and below 1'),
        (dict(text_weight=-1.0), 'weight >= 0'),
        (dict(head=dict(alpha=0.5)), "its head supervises the fusion with the frozen one; set head=dict\\(supervise='tuned'\\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_fusion_with_the_frozen_branch_is_possible_in_predictions(build):
    model = shake(build(head=dict(alpha=0.5, supervise='tuned'))).eval()
    torch.testing.assert_close(
        model(PICTURES),
        torch.stack([(sample.tuned_logits + sample.zero_shot_logits) / 2 for sample in model(PICTURES, mode='predict')]),
    )
    assert train(model)


def test_views_without_the_plain_pictures_are_refused(build):
    with pytest.raises(
        ValueError,
        match=r'takes views and, last, pictures without augmentation, but got 1 of both; set '
        r"train_dataloader.dataset.views=dict\(num_views=4, reference='squash'\)",
    ):
        build()([PICTURES], SAMPLES, mode='loss')


def test_the_context_starts_from_words_end_and_padding_as_released(build):
    model = build(num_prompts=7)
    ids = model._clip_of_texts().make_tokenizer()(['a photo of a'])[0, 1:8]
    assert ids.tolist()[-3:] == [49407, 0, 0]
    assert torch.equal(model.text_prompts[0], model.text_tower.embed(ids))
    other = build(num_prompts=50, context_init=None).text_prompts[0]
    assert other.abs().max() < 0.1 and other.std() < 0.04


def test_mixed_precision_gives_losses_near_those_of_float32(build):
    model = shake(build(dropout=0.0))
    full = model(VIEWS, SAMPLES, mode='loss')
    with torch.autocast('cpu', torch.bfloat16):
        mixed = model(VIEWS, SAMPLES, mode='loss')
    for name, value in full.items():
        if 'loss' in name:
            torch.testing.assert_close(mixed[name], value, rtol=0.05, atol=0.05)
    total(mixed).backward()
    fresh = build()
    with torch.autocast('cpu', torch.bfloat16):
        fresh(VIEWS, SAMPLES, mode='loss')
    assert torch.equal(fresh.cluster_centers, model.cluster_centers)
    assert torch.equal(fresh.sentence_features, model.sentence_features)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def train_dropping(rank, num_ranks, clip, shares):
    """Train some steps with dropout, seeded as the epochs of a run are; return losses and weights."""
    torch.manual_seed(0)
    model = shake(make(clip)).train()
    wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False) if num_ranks > 1 else model
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = OptimWrapper(torch.optim.SGD(parameters.values(), lr=0.05, momentum=0.9))
    torch.manual_seed(7)
    logs = [
        {name: torch.as_tensor(value).detach() for name, value in wrapped.train_step(data, optimizer).items()}
        for data in pictures(sum(shares[:rank]), shares[rank])
    ]
    return dict(logs=logs, weights={name: p.detach() for name, p in parameters.items()})


def test_two_processes_drop_the_same_and_train_as_one_does(clip, tmp_path):
    expected = train_dropping(0, 1, clip, [8])
    for ours in run_ranks(train_dropping, 2, tmp_path, clip, [5, 3]):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    again = train_dropping(0, 1, clip, [8])
    assert all(torch.equal(value, again['weights'][name]) for name, value in expected['weights'].items())


def test_nothing_is_logged_as_an_error_by_a_training(build, caplog):
    with caplog.at_level(logging.WARNING):
        train(build(), steps=1)
    assert not [record for record in caplog.records if 'random weights' not in record.getMessage()]
