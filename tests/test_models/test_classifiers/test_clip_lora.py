import copy

import pytest
import torch
import torch.nn.functional as F
from many_ranks import run_ranks
from tiny_batches import LABELS, PICTURES, averaged_gradients, gradients, samples
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.models import CLIPLoRAClassifier, PromptSRCClassifier
from mmpretrain_mps.models.loading.clip_loader import load_clip

CLASSES = ('cat', 'water lily', 'highway or road')
PROMPTS = ['a photo of a cat.', 'a photo of a water lily.', 'a photo of a highway or road.']


def build_shaken(architecture, **options):
    torch.manual_seed(0)
    config = dict(class_names=CLASSES, dropout=0.0)
    return shake(CLIPLoRAClassifier(architecture, None, **{**config, **options}), scale=0.3)


@pytest.fixture
def build(deep_clip):
    return lambda **options: build_shaken(deep_clip, **options)


def plain_logits(clip, weights):
    """Logits of open_clip's own CLIP with other attention weights, over whole sequences."""
    images, texts = (
        F.normalize(torch.func.functional_call(clip.model, weights, arguments), dim=-1)
        for arguments in ((PICTURES, None), (None, clip.make_tokenizer()(PROMPTS)))
    )
    return 100 * images @ texts.T


class Encode(torch.nn.Module):
    """One call for either tower, as functional_call wants it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images, token_ids):
        return self.model.encode_text(token_ids) if images is None else self.model.encode_image(images)


def summed_weights(model):
    """W + s B A by their names in open_clip's CLIP; gradients flow to A and B."""
    weights = {}
    for prefix, updates, blocks in (
        ('visual.', model.vision_updates, model.backbone.all_blocks()),
        ('', model.text_updates, None if model.text_updates is None else model.text_tower.blocks),
    ):
        for index, update in (updates.blocks if updates is not None else {}).items():
            attention = blocks[int(index)].attn
            parts = dict(zip('qkv', attention.in_proj_weight.chunk(3)))
            for part in update.parts:
                parts[part] = parts[part] + update.scale * update.B[part] @ update.A[part]
            name = f'model.{prefix}transformer.resblocks.{index}.attn.in_proj_weight'
            weights[name] = torch.cat(list(parts.values()))
    return weights


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(rank=3, alpha=2.0),
        dict(scaling='rank'),
        dict(projections=('q', 'v')),
        dict(position='half-up'),
        dict(towers=('text',)),
        dict(towers='vision', position='top3'),
    ],
    ids=str,
)
def test_logits_and_gradients_are_those_of_summed_weights(build, deep_clip, options):
    model = build(**options)
    clip = load_clip(deep_clip, None)
    clip = clip._replace(model=Encode(clip.model))
    expected = plain_logits(clip, summed_weights(model))
    torch.testing.assert_close(model(PICTURES), expected, rtol=1e-3, atol=1e-3)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    theirs = torch.autograd.grad(F.cross_entropy(expected, torch.tensor(LABELS)), list(parameters.values()))
    _, ours = gradients(model)
    assert set(ours) == set(parameters)
    for name, gradient in zip(parameters, theirs):
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4)


def test_the_start_is_zero_shot_clip_with_one_prompt_for_all_and_a_constant_scale(deep_clip):
    model = CLIPLoRAClassifier(deep_clip, None, class_names=CLASSES, templates=('a drawing of a {}.',)).eval()
    clip = load_clip(deep_clip, None)
    expected = plain_logits(clip._replace(model=Encode(clip.model)), {})
    torch.testing.assert_close(model(PICTURES), expected, rtol=1e-4, atol=1e-3)
    assert model.logit_scale == 100 and clip.model.logit_scale.exp() < 20
    learned = CLIPLoRAClassifier(deep_clip, None, class_names=CLASSES, logit_scale=None)
    assert learned.logit_scale == pytest.approx(clip.model.logit_scale.exp().item())


def test_a_training_moves_updates_alone_and_lowers_the_loss(build):
    model = build(dropout=0.25).train()
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(15):
        loss, found = gradients(model)
        optimizer.step()
        losses.append(loss)
    assert losses[-1] < 0.5 * losses[0]
    assert len(found) == (3 + 6) * 3 * 2 and all('_updates.blocks.' in name for name in found)
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def test_dropout_acts_in_training_alone_and_nothing_that_it_made_is_kept(build):
    model = build(dropout=0.5)
    assert model.random_training and not build().random_training
    first, second = (model.train()([PICTURES], samples(), mode='loss')['loss_ce'] for _ in range(2))
    assert first != second
    assert not torch.equal(model(PICTURES), model(PICTURES))
    logits = model.eval()(PICTURES)
    torch.testing.assert_close(logits, build()(PICTURES), rtol=1e-5, atol=1e-4)
    assert torch.equal(model(PICTURES), logits)


def test_under_dropout_each_class_draws_masks_of_its_own_also_for_a_common_start(build):
    names = ('cat', 'cat', 'cat')
    same = build(class_names=names).train().class_features()
    torch.testing.assert_close(same[0], same[1])
    torch.manual_seed(1)
    texts = build(class_names=names, dropout=0.5).train().class_features()
    assert (texts[0] - texts[1]).abs().max() > 1e-3
    torch.manual_seed(1)
    assert torch.equal(build(class_names=names, dropout=0.5).train().class_features(), texts)  # a seed fixes the masks


def test_merged_predictions_are_the_same_and_the_frozen_weights_come_back_to_the_last_bit(build):
    model = build().eval()
    frozen = copy.deepcopy({**model.backbone.state_dict(), **model.text_tower.state_dict()})
    apart, state, description = model(PICTURES), model.state_dict(), model.describe()
    predicted = model(PICTURES, mode='predict')
    model.merge()
    torch.testing.assert_close(model(PICTURES), apart, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        F.normalize(model.backbone.zero_shot(PICTURES), dim=-1), model.extract_feat(PICTURES)[0], rtol=1e-4, atol=1e-5
    )
    assert model.describe() == description
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    # The zero-shot branch and the prototypes of other classes stay those of the frozen model.
    for ours, theirs in zip(model(PICTURES, mode='predict'), predicted):
        torch.testing.assert_close(ours.zero_shot_logits, theirs.zero_shot_logits, rtol=1e-4, atol=1e-4)
    (texts,) = model.encode_classes([(CLASSES, model.templates)])
    assert torch.equal(texts['text_prototypes'], model.text_prototypes)
    model.unmerge()
    now = {**model.backbone.state_dict(), **model.text_tower.state_dict()}
    assert all(torch.equal(value, frozen[name]) for name, value in now.items())
    assert torch.equal(model(PICTURES), apart)


def test_a_merged_model_that_trains_or_loads_is_taken_apart(build):
    model, other = build().eval(), shake(build(), 1).eval()
    model.merge()
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(PICTURES), other(PICTURES))
    model.merge()
    loss, found = gradients(model.train())
    expected, theirs = gradients(other.train())
    assert torch.equal(loss, expected) and all(torch.equal(found[name], theirs[name]) for name in theirs)


def test_the_first_checkpoint_of_a_merged_model_names_the_frozen_base(build):
    model = build(class_names=None)
    model._fingerprints = None
    model.merge()
    assert model.describe()['base'] == build().describe()['base']


def test_predictions_run_the_frozen_tower_only_where_something_depends_on_it(build, monkeypatch):
    model = build().eval()
    runs, forward = [], model.backbone.forward
    first = next(iter(model.vision_updates.blocks.values()))
    monkeypatch.setattr(model.backbone, 'forward', lambda images: runs.append(first.in_force('q')) or forward(images))
    logits = model(PICTURES)
    assert runs == [True]
    model(PICTURES, mode='predict')
    assert runs == [True, True, False]
    model.head.alpha = 0.4
    fused = model(PICTURES)
    with model.frozen_towers():
        zero_shot = 100 * model.extract_feat(PICTURES)[0] @ model.unit_prototypes().T
    torch.testing.assert_close(fused, 0.4 * logits + 0.6 * zero_shot, rtol=1e-4, atol=1e-3)


def test_with_one_tower_the_other_is_that_of_the_frozen_model(build):
    vision, text = build(towers=('vision',)), build(towers=('text',))
    assert vision.text_updates is None and not hasattr(vision, 'text_tower') and 'token_ids' not in vision.state_dict()
    assert torch.equal(vision.class_features(), vision.unit_prototypes())
    assert not torch.allclose(text.class_features(), text.unit_prototypes(), atol=1e-3)
    assert torch.equal(text.extract_feat(PICTURES)[0], text.frozen_cls(PICTURES))
    assert {name.split('.')[0] for name, p in text.named_parameters() if p.requires_grad} == {'text_updates'}
    (texts,) = vision.eval().encode_classes([(('dog',), ('a {}.',))])
    with vision.with_classes(texts, ('dog',)):
        assert vision(PICTURES).shape == (6, 1)


def test_the_state_holds_updates_and_classes_and_loads_into_a_model_without_classes(build):
    model = build().eval()
    state = model.state_dict()
    updates = {name for name in state if '_updates.blocks.' in name}
    assert set(state) - updates == {'token_ids', 'text_prototypes', '_extra_state'}
    # r x D and D x r for three projections: 6 blocks of width 16, and 3 of width 16
    assert len(updates) == 54 and sum(state[name].numel() for name in updates) == 9 * 3 * 2 * 2 * 16
    fresh = build(class_names=None).eval()
    fresh.load_state_dict(state)
    assert fresh.class_names == CLASSES and torch.equal(fresh(PICTURES), model(PICTURES))
    build(dropout=0.25).load_state_dict(state)  # what is dropped in training is no matter of the checkpoint


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(rank=3), 'rank=2, but this model has 3'),
        (dict(alpha=2.0), 'alpha=1.0, but this model has 2.0'),
        (dict(scaling='rank'), 'scaling=sqrt, but this model has rank'),
        (dict(position='half-up'), 'position=all'),
        (dict(projections=('q', 'k')), "parts=\\['q', 'k', 'v'\\]"),
        (dict(towers=('vision',)), "towers=\\['text', 'vision'\\]"),
        (dict(prompt='a drawing of a {}.'), 'prompt=a photo of a {}., but this model has a drawing of a {}.'),
        (dict(class_names=NAMES), "class 1 is 'water lily' in the checkpoint, but 'dog'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options).load_state_dict(build().state_dict())


def test_a_checkpoint_of_another_base_or_method_is_refused(build, deep_clip, tmp_path):
    other = save_tiny_clip(tmp_path / 'other', seed=1, text=dict(width=16, heads=2, layers=3))
    with pytest.raises(ValueError, match='the checkpoint was tuned from'):
        build().load_state_dict(build_shaken(other).state_dict())
    theirs = PromptSRCClassifier(deep_clip, None, text_depth=1, vision_depth=0, class_names=CLASSES)
    with pytest.raises(ValueError, match='tuned with method=promptsrc, but this model has clip_lora'):
        build().load_state_dict(theirs.state_dict())


def test_other_classes_are_predicted_by_their_names_and_subsets_by_their_labels(build):
    model, names = build().eval(), ('dog', 'Boeing 737-800')
    own = model(PICTURES)
    (texts,) = model.encode_classes([(names, ('a photo of a {}.',))])
    with model.with_classes(texts, names):
        others = model(PICTURES)
    assert torch.equal(others, build(class_names=names).eval()(PICTURES))
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), own[:, [2, 0]], rtol=1e-4, atol=1e-4)
    assert torch.equal(model(PICTURES), own) and model.predicts_any_classes


@pytest.mark.parametrize('options', [dict(chunk_size=2), dict(backbone=dict(checkpointing=True))])
def test_less_memory_gives_the_same_gradients(build, options):
    expected, found = gradients(build())[1], gradients(build(**options))[1]
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


def test_views_count_as_pictures(build):
    model, flipped = build(), PICTURES.flip(-1)
    both = model([PICTURES, flipped], samples(), mode='loss')['loss_ce']
    assert torch.equal(both, model([torch.cat([PICTURES, flipped])], samples(LABELS * 2), mode='loss')['loss_ce'])


def test_two_processes_find_the_gradients_of_one(build, deep_clip, tmp_path):
    loss, expected = gradients(build())
    for found in run_ranks(averaged_gradients, 2, tmp_path / 'run', build_shaken, deep_clip):
        torch.testing.assert_close(found.pop('loss'), loss)
        assert set(found) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(towers=()), 'towers must be one or both'),
        (dict(towers=('image',)), "but is \\('image',\\)"),
        (dict(position='top4'), "'top4'"),
        (dict(rank=0), 'rank'),
        (dict(prompt='a photo'), "exactly one '{}'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_embedded_clip_refuses_words_that_it_does_not_know():
    with pytest.raises(ValueError, match="no meaning for 'zebra'"):
        CLIPLoRAClassifier(
            'mps-mini', 'embedded', prompt='a zebra of a {}.', class_names=('two', 'three'), templates=('a photo of a {}.',)
        )
