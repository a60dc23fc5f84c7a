import open_clip
import pytest
import torch
import torch.nn.functional as F
from many_ranks import run_ranks
from tiny_batches import LABELS, PICTURES, averaged_gradients, gradients, samples, total
from tiny_clip import NAMES, save_tiny_clip, shake
from tiny_text import run_plainly

from mmpretrain_mps.models import CoOpClassifier, PromptSRCClassifier
from mmpretrain_mps.models.loading.clip_loader import load_clip

CLASSES = ('cat', 'water lily', 'highway_or_road')
IVLP = dict(text_weight=0.0, image_weight=0.0, logit_weight=0.0)
# Few templates of a teacher, to be fast.
TEMPLATES = ('a bad photo of a {}.', 'itap of the {}.')


def build_shaken(architecture, **options):
    config = dict(text_depth=3, vision_depth=4, num_vision_prompts=2, class_names=CLASSES, teacher_templates=TEMPLATES)
    torch.manual_seed(0)
    return shake(PromptSRCClassifier(architecture, None, **{**config, **options}), scale=0.2)


@pytest.fixture
def build(deep_clip):
    return lambda **options: build_shaken(deep_clip, **options)


def plain_texts(model, clip, context):
    """Texts with prompts through open_clip's own modules, over whole sequences of every class."""
    template = f'{context} {{}}.'
    token_ids = clip.make_tokenizer()([template.format(name.replace('_', ' ')) for name in CLASSES])
    embeddings = clip.model.token_embedding(token_ids)
    first, *deep = model.text_prompts
    embeddings = torch.cat([embeddings[:, :1], first.expand(3, -1, -1), embeddings[:, 1 + len(first) :]], 1)
    features, _ = run_plainly(
        clip.model, embeddings, token_ids.argmax(1), {index: (1, vectors) for index, vectors in enumerate(deep, 1)}
    )
    return F.normalize(features, dim=-1)


@pytest.mark.parametrize(
    'options, context',
    [
        (dict(), 'a photo of a'),
        (dict(num_text_prompts=2), 'a photo of a'),
        (dict(text_depth=1), 'a photo of a'),
        (dict(num_text_prompts=6, context_init=None), 'X X X X X X'),
        (dict(num_text_prompts=5), 'X X X X X'),
    ],
)
def test_texts_are_those_of_a_plain_execution_with_prompts_behind_the_start(build, deep_clip, options, context):
    model = build(**options)
    torch.testing.assert_close(
        model.class_features(), plain_texts(model, load_clip(deep_clip, None), context), rtol=1e-4, atol=1e-5
    )


def test_vectors_start_from_words_and_words_beyond_them_stay(deep_clip):
    def start(**options):
        torch.manual_seed(0)
        return PromptSRCClassifier(deep_clip, None, text_depth=2, vision_depth=2, class_names=CLASSES, **options)

    clip = load_clip(deep_clip, None)
    words = clip.model.token_embedding(clip.make_tokenizer()('a photo of a'))[0, 1:5]
    assert torch.equal(start().text_prompts[0], words)
    assert torch.equal(start(num_text_prompts=2).text_prompts[0], words[:2])
    # With prompts in the first block alone, texts start as those of the frozen model, whatever is left of the words.
    for number in (1, 2, 4):
        model = PromptSRCClassifier(
            deep_clip,
            None,
            num_text_prompts=number,
            text_depth=1,
            vision_depth=0,
            class_names=[name.replace('_', ' ') for name in CLASSES],
        )
        torch.testing.assert_close(model.class_features(), model.unit_prototypes(), rtol=1e-4, atol=1e-5)
    random = torch.cat(
        [
            start(num_text_prompts=40, context_init=None).text_prompts[0].flatten(),
            start(num_vision_prompts=40).vision_prompts[1].flatten(),
        ]
    )
    assert abs(random.std() - 0.02) < 0.002 and abs(random.mean()) < 0.002


def test_losses_are_those_of_the_formula(build):
    model = build()
    losses = model([PICTURES], samples(), mode='loss')
    texts, (pictures,) = model.class_features(), model.extract_feat(PICTURES)
    clip = model.text_tower.model
    raw = torch.stack(
        [
            clip.encode_text(model._text_tower[0].make_tokenizer()([template.format(name.replace('_', ' ')) for name in CLASSES]))
            for template in TEMPLATES
        ]
    )
    teacher, frozen = F.normalize(raw.mean(0), dim=-1), F.normalize(model.backbone(PICTURES).cls, dim=-1)
    scale = clip.logit_scale.exp()
    logits, teacher_logits = scale * pictures @ texts.T, scale * frozen @ teacher.T
    q, p = teacher_logits.softmax(-1), logits.softmax(-1)
    expected = dict(
        loss_ce=F.cross_entropy(logits, torch.tensor(LABELS)),
        loss_scl_text=25 * (texts - teacher).abs().mean(),
        loss_scl_image=10 * (pictures - frozen).abs().mean(),
        loss_scl_logits=(q * (q.log() - p.log())).sum() / logits.numel(),
    )
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)


def test_a_training_moves_prompts_alone_and_lowers_the_loss(build):
    model = build().train()
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    first = None
    for _ in range(20):
        loss, found = gradients(model)
        optimizer.step()
        first = loss if first is None else first
    assert loss < 0.8 * first
    assert set(found) == {f'{tower}_prompts.{index}' for tower, depth in (('text', 3), ('vision', 4)) for index in range(depth)}
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def count_calls(model, monkeypatch):
    """Count runs of the vision tower with and without prompts."""
    calls, forward = dict(prompted=0, frozen=0), model.backbone.forward

    def counted(images, prompts=(), **options):
        calls['prompted' if len(prompts) else 'frozen'] += 1
        return forward(images, prompts, **options)

    monkeypatch.setattr(model.backbone, 'forward', counted)
    return calls


def test_ivlp_is_cross_entropy_alone_and_computes_no_teacher(build, monkeypatch):
    model, full = build(**IVLP), build()
    calls = count_calls(model, monkeypatch)
    monkeypatch.setattr(PromptSRCClassifier, 'teacher_features', lambda _: pytest.fail('the teacher was computed'))
    losses = model([PICTURES], samples(), mode='loss')
    assert {name for name in losses if 'loss' in name} == {'loss_ce'}
    assert calls == dict(prompted=1, frozen=0)
    monkeypatch.undo()
    assert torch.equal(losses['loss_ce'], full([PICTURES], samples(), mode='loss')['loss_ce'])


@pytest.mark.parametrize(
    'weight, uses_frozen, uses_teacher', [('text_weight', 0, 1), ('image_weight', 1, 0), ('logit_weight', 1, 1)]
)
def test_a_term_computes_what_it_needs_and_nothing_else(build, monkeypatch, weight, uses_frozen, uses_teacher):
    model = build(**{**IVLP, weight: 1.0})
    calls, asked = count_calls(model, monkeypatch), []
    teacher = model.teacher_features
    monkeypatch.setattr(model, 'teacher_features', lambda: asked.append(1) or teacher())
    losses = model([PICTURES], samples(), mode='loss')
    assert len([name for name in losses if 'loss' in name]) == 2
    assert (calls['frozen'], len(asked)) == (uses_frozen, uses_teacher)


def test_the_teacher_is_encoded_once_and_again_for_other_classes(build, monkeypatch):
    model = build()
    tower, encoded = model.text_tower.model, []
    encode_text = tower.encode_text
    monkeypatch.setattr(tower, 'encode_text', lambda ids: encoded.append(len(ids)) or encode_text(ids), raising=False)
    for _ in range(3):
        model([PICTURES], samples(), mode='loss')
    assert encoded == [len(CLASSES) * len(TEMPLATES)]
    first = model.teacher_features()
    model.set_classes(NAMES)
    assert not torch.equal(model.teacher_features(), first)
    model.teacher_templates = 'classes'
    model.set_classes(NAMES, ('a drawing of a {}.',))
    model._teacher = None
    torch.testing.assert_close(model.teacher_features(), model.unit_prototypes())


def test_the_teacher_has_the_60_templates_of_the_released_code_by_default(build):
    templates = build(teacher_templates=None).teacher_templates
    assert templates == tuple(make('{}') for make in open_clip.OPENAI_IMAGENET_TEMPLATES[:60])
    assert (templates[0], templates[58]) == ('a bad photo of a {}.', 'a pixelated photo of a {}.')


def test_predictions_run_the_frozen_tower_only_where_something_depends_on_it(build, monkeypatch):
    model = build().eval()
    calls = count_calls(model, monkeypatch)
    logits = model(PICTURES)
    assert calls == dict(prompted=1, frozen=0)
    model(PICTURES, mode='predict')
    assert calls == dict(prompted=2, frozen=1)
    model.head.alpha = 0.4
    fused = model(PICTURES)
    assert calls == dict(prompted=3, frozen=2)
    frozen = F.normalize(model.backbone(PICTURES).cls, dim=-1)
    zero_shot = model.logit_scale * frozen @ model.unit_prototypes().T
    torch.testing.assert_close(fused, 0.4 * logits + 0.6 * zero_shot, rtol=1e-4, atol=1e-4)


def test_prompted_predictions_are_cosines_of_prompted_features(build):
    model = build().eval()
    expected = model.logit_scale * model.extract_feat(PICTURES)[0] @ model.class_features().T
    torch.testing.assert_close(model(PICTURES), expected)
    first, *_ = model(PICTURES, mode='predict')
    torch.testing.assert_close(first.tuned_logits, expected[0], rtol=1e-4, atol=1e-4)


def test_the_state_holds_prompts_and_classes_and_loads_into_a_model_without_classes(build):
    model = build().eval()
    state = model.state_dict()
    prompts = [f'{tower}_prompts.{index}' for tower, depth in (('text', 3), ('vision', 4)) for index in range(depth)]
    assert set(state) == {*prompts, 'token_ids', 'text_prototypes', '_extra_state'}
    assert sum(state[name].numel() for name in prompts) == 3 * 4 * 16 + 4 * 2 * 16
    fresh = build(class_names=None).eval()
    fresh.load_state_dict(state)
    assert fresh.class_names == CLASSES and torch.equal(fresh(PICTURES), model(PICTURES))
    build(**IVLP).load_state_dict(state)  # weights of losses are no matter of the checkpoint


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(text_depth=2), 'text_depth=3, but this model has 2'),
        (dict(vision_depth=3), 'vision_depth=4, but this model has 3'),
        (dict(num_text_prompts=3), 'num_text_prompts=4, but this model has 3'),
        (dict(num_vision_prompts=3), 'num_vision_prompts=2, but this model has 3'),
        (dict(context_init='a drawing of a'), 'context_init=a photo of a, but this model has a drawing of a'),
        (dict(class_names=('cat', 'dog', 'highway_or_road')), "class 1 is 'water lily' in the checkpoint, but 'dog'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options).load_state_dict(build().state_dict())


def test_a_checkpoint_of_another_base_or_method_is_refused(build, deep_clip, tmp_path):
    other = save_tiny_clip(tmp_path / 'other', seed=1, text=dict(width=16, heads=2, layers=3))
    with pytest.raises(ValueError, match='the checkpoint was tuned from'):
        build().load_state_dict(build_shaken(other).state_dict())
    coop = CoOpClassifier(deep_clip, None, class_names=CLASSES)
    with pytest.raises(ValueError, match='tuned with method=coop, but this model has promptsrc'):
        build().load_state_dict(coop.state_dict())


def test_other_classes_are_predicted_by_their_names_and_subsets_by_their_labels(build):
    model, names = build().eval(), ('dog', 'Boeing 737-800')
    own = model(PICTURES)
    (texts,) = model.encode_classes([(names, ('a photo of a {}.',))])
    with model.with_classes(texts, names):
        others = model(PICTURES)
    assert torch.equal(others, build(class_names=names).eval()(PICTURES))
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), own[:, [2, 0]])
    assert torch.equal(model(PICTURES), own) and model.predicts_any_classes


def test_without_vision_prompts_pictures_are_those_of_the_frozen_tower(build):
    model = build(vision_depth=0)
    losses = model([PICTURES], samples(), mode='loss')
    assert losses['loss_scl_image'] == 0 and len(model.vision_prompts) == 0
    _, found = gradients(model)
    assert set(found) == {f'text_prompts.{index}' for index in range(3)}
    fresh = build(vision_depth=0, num_vision_prompts=7)
    fresh.load_state_dict(model.state_dict())


def test_views_count_as_pictures(build):
    model, flipped = build(), PICTURES.flip(-1)
    both = model([PICTURES, flipped], samples(), mode='loss')
    together = model([torch.cat([PICTURES, flipped])], samples(LABELS * 2), mode='loss')
    assert all(torch.equal(both[name], together[name]) for name in both)


@pytest.mark.parametrize('options', [dict(chunk_size=2), dict(backbone=dict(checkpointing=True))])
def test_less_memory_gives_the_same_gradients(build, options):
    expected, found = gradients(build())[1], gradients(build(**options))[1]
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_cross_entropy_of_fused_logits_may_be_trained_too(build):
    model = build(head=dict(alpha=0.5), **IVLP)
    tuned = model.logit_scale * model.extract_feat(PICTURES)[0] @ model.class_features().T
    zero_shot = model.logit_scale * F.normalize(model.backbone(PICTURES).cls, dim=-1) @ model.unit_prototypes().T
    expected = F.cross_entropy((tuned + zero_shot) / 2, torch.tensor(LABELS))
    torch.testing.assert_close(total(model([PICTURES], samples(), mode='loss')), expected, rtol=1e-4, atol=1e-5)


def test_two_processes_find_the_gradients_of_one(build, deep_clip, tmp_path):
    loss, expected = gradients(build())
    for found in run_ranks(averaged_gradients, 2, tmp_path / 'run', build_shaken, deep_clip):
        torch.testing.assert_close(found.pop('loss'), loss)
        assert set(found) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(text_depth=4), 'text tower of this CLIP has 3: expected 1 to 3, but got 4'),
        (dict(text_depth=0), 'expected 1 to 3'),
        (dict(vision_depth=7), 'vision tower of this CLIP has 6: expected 0 to 6, but got 7'),
        (dict(num_text_prompts=0), 'num_text_prompts must be a whole number >= 1, but is 0'),
        (dict(num_vision_prompts=1.5), 'num_vision_prompts must be .* but is 1.5'),
        (dict(text_weight=-1.0), 'weight >= 0'),
        (dict(context_init='a snapshotting of a'), 'snapshotting'),
        (dict(num_text_prompts=74, context_init=None), 'the context of this CLIP holds 77'),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_embedded_clip_refuses_words_that_it_does_not_know():
    with pytest.raises(ValueError, match="no meaning for 'cat'"):
        PromptSRCClassifier('mps-mini', 'embedded', text_depth=3, class_names=('cat', 'three'))
    model = PromptSRCClassifier('mps-mini', 'embedded', text_depth=3, class_names=('two', 'three'))
    with pytest.raises(ValueError, match="no meaning for .*'bad'"):
        model.teacher_features()
