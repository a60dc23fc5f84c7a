import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake
from tiny_text import run_plainly

from mmpretrain_mps.models import TCPClassifier
from mmpretrain_mps.models.text.prototypes import encode_prototypes

PICTURES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip'), text=dict(width=16, heads=2, layers=4))


@pytest.fixture
def build(architecture):
    config = dict(num_context=3, class_aware_block=2, class_names=NAMES)
    return lambda **options: shake(TCPClassifier(architecture, None, **{**config, **options}), scale=0.3)


def test_texts_equal_a_plain_execution_by_the_definition(build):
    model = build(prompt_template='{}, a type of pet.', knowledge_template='one {}')
    clip = model._clip_of_texts()
    tokenizer, text = clip.make_tokenizer(), clip.model
    frozen = F.normalize(text.encode_text(tokenizer([f'one {name}' for name in NAMES])), dim=-1)
    weights = dict(model.meta_net.named_parameters())
    hidden = frozen @ weights['linear1.weight'].T + weights['linear1.bias']
    prompts = (hidden * torch.sigmoid(1.702 * hidden)) @ weights['linear2.weight'].T + weights['linear2.bias']
    token_ids = tokenizer([f'X X X {name}, a type of pet.' for name in NAMES])
    embeddings = text.token_embedding(token_ids).clone()
    embeddings[:, 1:4] = model.context
    expected, _ = run_plainly(text, embeddings, token_ids.argmax(1), {2: (1, prompts.reshape(3, 3, 16))})
    torch.testing.assert_close(model.text_features(), expected, rtol=1e-4, atol=1e-5)
    losses = model([PICTURES], [DataSample().set_gt_label(1) for _ in PICTURES], mode='loss')
    distance = 1 - sum(torch.dot(F.normalize(ours, dim=0), theirs) for ours, theirs in zip(expected, frozen)) / 3
    torch.testing.assert_close(losses['loss_knowledge'], 8 * distance, rtol=1e-4, atol=1e-5)


def test_the_frozen_texts_are_of_the_templates_of_the_classes_unless_one_is_named(build):
    clip = build()._clip_of_texts()
    for options, templates in (
        (dict(), ['a photo of a {}.']),
        (dict(templates=('a {}', 'the {}')), ['a {}', 'the {}']),
        (dict(templates=('a {}',), knowledge_template='one {}'), ['one {}']),
    ):
        expected = encode_prototypes(clip.model, clip.make_tokenizer(), NAMES, templates)
        torch.testing.assert_close(build(**options).text_prototypes, expected)


def test_vectors_are_made_for_classes_without_a_picture_too(build):
    model = build()
    model([PICTURES], [DataSample().set_gt_label(1) for _ in PICTURES], mode='loss')['loss_knowledge'].backward()
    assert model.context.grad.abs().max() > 0
    texts = model.class_features()
    distances = 1 - (texts * model.unit_prototypes()).sum(-1)
    torch.testing.assert_close(model.text_losses(texts)['loss_knowledge'], 8 * distances.mean())
    assert build(knowledge_weight=0.0).text_losses(texts) == {}


def test_the_network_has_a_quarter_of_the_dimensions_between(build):
    model = build()
    shapes = {name: tuple(value.shape) for name, value in model.meta_net.named_parameters()}
    assert shapes == {'linear1.weight': (2, 8), 'linear1.bias': (2,), 'linear2.weight': (48, 2), 'linear2.bias': (48,)}
    assert model.class_prompts().shape == (3, 3, 16)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(class_aware_block=4), 'class_aware_block is 4, but the text tower of .* has blocks 0 to 3; .* here 2'),
        (dict(knowledge_weight=-1), 'knowledge_weight must be 0 or more, but is -1'),
        (dict(knowledge_template='no place'), "exactly one '{}'"),
        (dict(prompt_template='no place'), "exactly one '{}'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
