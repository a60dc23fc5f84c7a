import pytest
import torch
from tiny_clip import NAMES

from mmpretrain_mps.models import CoOpClassifier
from mmpretrain_mps.models.text.prototypes import encode_prototypes


@pytest.fixture
def build(tiny_clip):
    return lambda **options: CoOpClassifier(tiny_clip, None, **{'class_names': NAMES, **options})


def encode(model, template):
    """Return the features of texts as they are, by open_clip."""
    clip = model._clip_of_texts()
    return encode_prototypes(clip.model, clip.make_tokenizer(), NAMES, [template], normalize_templates=False)


@pytest.mark.parametrize('own', [False, True])
def test_words_are_the_prompt_until_the_first_step(build, own):
    model = build(num_context=4, context_init='a photo of a', class_specific=own)
    expected = encode(model, 'a photo of a {}.')
    torch.testing.assert_close(model.text_features(), expected, rtol=1e-4, atol=1e-5)


def test_the_template_follows_the_context(build):
    model = build(num_context=2, context_init='one big', prompt_template='{}, a pet')
    expected = encode(model, 'one big {}, a pet')
    torch.testing.assert_close(model.text_features(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('own, shape', [(False, (16, 8)), (True, (400, 16, 8))])
def test_a_random_context_is_normal_with_a_standard_deviation_of_two_hundredths(build, own, shape):
    torch.manual_seed(0)
    context = build(class_specific=own, class_names=[f'animal {number}' for number in range(400)]).context
    assert context.shape == shape and context.dtype == torch.float32
    assert context.mean().abs() < 0.005 and abs(context.std() - 0.02) < 0.003


def test_contexts_of_each_class_appear_with_the_classes_and_stay_the_same_parameter(build):
    model = build(num_context=2, class_specific=True, class_names=None)
    context = model.context
    assert context.shape == (0, 2, 8)
    model.set_classes(NAMES)
    assert model.context is context and context.shape == (3, 2, 8) and context.std() > 0.01
    before = context.detach().clone()
    model.set_classes(NAMES, ('another {}',))
    assert torch.equal(context, before)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(class_position='behind'), "class_position must be one of .*'end', 'middle', 'front'.* but is 'behind'"),
        (dict(context_init='a photo of a'), "'a photo of a' has 4 words, but num_context is 16; set num_context=4"),
        (dict(context_init='a Boeing737', num_context=2), 'words of one token each'),
        (dict(num_context=0), '1 or more context vectors, but got 0'),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
