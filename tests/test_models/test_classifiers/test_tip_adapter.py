import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from recorded_operators import WAITING, RecordOperators
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.models import TipAdapterClassifier
from mmpretrain_mps.models.fusion.fusion_search import choose_best, search_grid

GENERATOR = torch.Generator().manual_seed(4)
PICTURES = torch.randn(6, 3, 16, 16, generator=GENERATOR)
SAMPLES = [DataSample().set_gt_label(index % 3) for index in range(6)]
SHOTS, LABELS = torch.randn(7, 3, 16, 16, generator=GENERATOR), torch.tensor([2, 0, 1, 2, 0, 2, 2])


@pytest.fixture
def build(tiny_clip):
    return lambda **settings: TipAdapterClassifier(tiny_clip, None, **{'class_names': NAMES, **settings})


@pytest.fixture
def started(build):
    def start(**settings):
        model = build(**settings)
        model.start_from(model.start_features(SHOTS), LABELS)
        return model

    return start


def plain_logits(model, keys, beta, alpha):
    """Return logits as the paper writes them, with one-hot values of the unsorted pictures."""
    features = F.normalize(model.backbone(PICTURES).cls, dim=-1)
    zero_shot = 100 * features @ F.normalize(model.text_prototypes, dim=-1).T
    return zero_shot + alpha * torch.exp(-beta * (1 - features @ keys.T)) @ F.one_hot(LABELS, 3).float()


def test_logits_are_those_of_one_hot_values(started):
    model = started(beta=2.0, head=dict(alpha=1.7)).eval()
    keys = F.normalize(model.backbone(SHOTS).cls, dim=-1)
    torch.testing.assert_close(model(PICTURES), plain_logits(model, keys, 2.0, 1.7))
    sample = model(PICTURES, mode='predict')[0]
    torch.testing.assert_close(sample.zero_shot_logits + 1.7 * sample.tuned_logits, model(PICTURES)[0])
    assert sample.fusion == 'additive'


def test_keys_are_unit_means_laid_out_by_class(started):
    model = started()
    assert model.cache_keys.shape == (3, 4, 8) and model.cache_counts.tolist() == [2, 1, 4]
    norms = model.cache_keys.norm(dim=2)
    torch.testing.assert_close(norms, torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]))


def test_the_keys_alone_are_trained_with_the_gradient_of_the_plain_product(started):
    model = started(beta=2.0, head=dict(alpha=1.7))
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ['cache_keys']
    losses = model([PICTURES], SAMPLES, mode='loss')
    losses['loss_ce'].backward()
    keys = F.normalize(model.backbone(SHOTS).cls, dim=-1).requires_grad_()
    expected = F.cross_entropy(plain_logits(model, keys, 2.0, 1.7), torch.arange(6) % 3)
    expected.backward()
    torch.testing.assert_close(losses['loss_ce'], expected)
    ordered = [keys.grad[label == LABELS] for label in range(3)]
    for label, rows in enumerate(ordered):
        torch.testing.assert_close(model.cache_keys.grad[label, : len(rows)], rows)
        assert not model.cache_keys.grad[label, len(rows) :].any()


def test_a_step_of_1000_classes_with_16_pictures_each_makes_no_large_tensor_and_waits_for_nothing(tiny_clip):
    names = [f'n{label}' for label in range(1000)]
    model = TipAdapterClassifier(tiny_clip, None, cache_prototypes=False)
    # Encoding 1000 names is not what this is about.
    texts = dict(text_prototypes=torch.randn(1000, 8), cache_counts=torch.zeros(1000, dtype=torch.int64))
    model.take_classes(texts, names)
    model.start_from(torch.randn(16000, 8), torch.arange(16000) % 1000)
    assert model.cache_keys.numel() == 16000 * 8
    kept = model.frozen_features(PICTURES.repeat(4, 1, 1, 1))
    model.equal_batches = True
    with RecordOperators() as recorded:
        losses = model(kept, [SAMPLES[index % 6] for index in range(24)], mode='loss')
        losses['loss_ce'].backward()
    # Similarities of the batch; a product with one-hot values would have 16 million of them.
    assert recorded.largest <= 24 * 16000 and 'one_hot' not in recorded.names and 'scatter_' not in recorded.names
    assert not [name for name in recorded.names if name in WAITING]


def test_kept_features_of_views_give_the_losses_of_the_views(started):
    model, views = started(), [PICTURES, PICTURES.flip(-1)]
    torch.testing.assert_close(
        model(model.frozen_features(torch.cat(views)), SAMPLES, mode='loss')['loss_ce'],
        model(views, SAMPLES, mode='loss')['loss_ce'],
    )


def test_the_search_finds_what_a_plain_loop_finds(started):
    model, labels = started(), torch.arange(6) % 3
    keys = F.normalize(model.backbone(SHOTS).cls, dim=-1)
    betas, alphas = search_grid(9, 20), search_grid(6, 10)
    plain = torch.tensor(
        [[(plain_logits(model, keys, beta, alpha).argmax(1) == labels).sum() for alpha in alphas] for beta in betas]
    )
    right = model.count_right(model.frozen_features(PICTURES), labels, betas, alphas)
    assert torch.equal(right, plain) and len(plain.unique()) > 1
    best = choose_best(right, 6, betas, alphas)
    model.set_fusion(best.inner, best.alpha)
    assert (model(PICTURES).argmax(1) == labels).sum() == plain.max()


def test_other_classes_are_predicted_zero_shot(started):
    model = started()
    before = model(PICTURES)
    (texts,) = model.encode_classes([(('river', 'lake'), ('a {}.',))])
    with model.with_classes(texts, ('river', 'lake')):
        logits = model.branch_logits(PICTURES)[0]
        assert not logits.tuned.any() and torch.equal(logits.fused, logits.zero_shot) and logits.fused.shape == (6, 2)
    assert torch.equal(model(PICTURES), before) and model.predicts_any_classes


def test_some_of_its_classes_take_their_keys_along(started):
    model = started()
    before = model(PICTURES)
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), before[:, [2, 0]])
    assert torch.equal(model(PICTURES), before)


def test_other_templates_leave_the_memory_and_other_names_are_refused(started):
    model = started()
    bias = model.branch_logits(PICTURES)[0].tuned
    model.set_classes(NAMES, ['the {}.'])
    assert torch.equal(model.branch_logits(PICTURES)[0].tuned, bias) and model.templates == ('the {}.',)
    with pytest.raises(ValueError, match="class 0 is 'fox' in the new list, but 'cat' in the trained TipAdapter"):
        model.set_classes(('fox', 'dog', 'sparrow'))


def test_a_checkpoint_is_small_and_loads_back_with_its_search(started, build):
    model = started(beta=2.0)
    model.set_fusion(3.5, 0.7)
    state = model.state_dict()
    assert set(state) == {'cache_keys', 'cache_counts', 'text_prototypes', 'fusion_point', '_extra_state'}
    for other in (build(class_names=None), build()):
        other.load_state_dict(state)
        assert (other.inner, other.head.alpha, other.class_names) == (3.5, 0.7, NAMES) and other.has_started
        assert torch.equal(other(PICTURES), model(PICTURES))


def test_without_a_search_the_numbers_of_the_config_stay(started, build):
    other = build(beta=4.0, head=dict(alpha=9.0), allow_other_prediction=True)
    other.load_state_dict(started(beta=2.0).state_dict())
    assert (other.inner, other.head.alpha) == (4.0, 9.0)
    with pytest.raises(ValueError, match='trained to predict with model.beta=2.0, but this model has 4.0; leave it at 2.0'):
        build(beta=4.0).load_state_dict(started(beta=2.0).state_dict())
    searched = started(beta=2.0)
    searched.set_fusion(3.0, 2.5)
    build(beta=4.0, head=dict(alpha=9.0)).load_state_dict(searched.state_dict())  # brings both numbers


def test_a_checkpoint_of_another_base_or_scale_is_refused(started, tmp_path):
    state = started().state_dict()
    other = TipAdapterClassifier(save_tiny_clip(tmp_path / 'other', seed=1), None, class_names=NAMES)
    with pytest.raises(ValueError, match='set architecture and pretrained'):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match='logit_scale=100.0, but this model has 50.0'):
        started(logit_scale=50.0).load_state_dict(state)


def test_it_predicts_nothing_before_it_has_seen_pictures(build):
    with pytest.raises(ValueError, match='has seen no training pictures: train it with FeatureStartLoop'):
        build()(PICTURES)


def test_a_class_without_pictures_is_named(build):
    model = build()
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training picture .*, label 1 \('dog'\) first"):
        model.start_from(torch.randn(3, 8), torch.tensor([0, 2, 2]))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(beta=0), 'beta must be a number above 0, but is 0'),
        (dict(head=dict(alpha=-1)), 'of at least 0, but is -1'),
        (dict(head=dict(fusion='convex')), "must be 'additive', but is 'convex'"),
    ],
)
def test_senseless_settings_are_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)
