"""Plain weights, loaded by open_clip itself, give the features, the texts and the logits of the classifier."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_classifier import largest_difference, pictures, shaken
from tiny_clip import NAMES, save_tiny_clip

PICTURES = pictures()


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'))


def exported(classifier, folder):
    """Export, and return open_clip's model, the layer of the classes, and what the description says of them."""
    files = classifier.export(folder / 'plain.safetensors', 'open_clip')
    assert [file.name for file in files] == ['plain.safetensors', 'plain-classes.safetensors', 'plain-clip.json', 'plain.json']
    about = json.loads((folder / 'plain.json').read_text())['open_clip']
    assert about == dict(
        model='plain-clip',
        config='plain-clip.json',
        weights='plain.safetensors',
        classes='plain-classes.safetensors',
        logits=about['logits'],
    )
    open_clip.add_model_config(folder / about['config'])
    clip = open_clip.create_model(about['model'], pretrained=str(folder / about['weights'])).eval()
    return clip, load_file(folder / about['classes']), about['logits']


def images_of(classifier):
    pixels = torch.stack([classifier._pipeline(dict(img=picture, img_path=None))['inputs'] for picture in PICTURES])
    return classifier.model_.data_preprocessor(dict(inputs=pixels, data_samples=None))['inputs']


@pytest.mark.parametrize(
    'method, options, logits',
    [
        ('mps', dict(model__backbone__group_depths=(4, 0, 2), model__head__alpha=0.3), 'tuned'),
        ('mps', dict(model__backbone__group_depths=(0, 0, 6), model__head__alpha=1.0), 'fused'),
        ('mps', dict(model__backbone__group_depths=(2, 2, 2), model__backbone__adapters=False), 'tuned'),
        ('mps', dict(model__backbone__group_depths=(0, 0, 6), model__backbone__tune_stem=True), 'tuned'),
        ('zero_shot', {}, 'fused'),
        ('coop', dict(model__head__alpha=0.6), 'fused'),
        ('clip_lora', {}, 'fused'),
    ],
)
@torch.no_grad()
def test_it_is_the_classifier(architecture, tmp_path, method, options, logits):
    classifier = shaken(architecture, method, **options)
    expected = classifier.logits(PICTURES)
    clip, layer, found = exported(classifier, tmp_path)
    assert found == logits
    features = clip.encode_image(images_of(classifier), normalize=True)
    assert largest_difference(features, expected.tuned_features) < 1e-5
    assert largest_difference(F.linear(features, layer['weight'], layer['bias']), getattr(expected, logits)) < 1e-4
    moved = method in ('mps', 'clip_lora')
    assert (largest_difference(expected.tuned_features, expected.zero_shot_features) > 1e-3) == moved


@torch.no_grad()
def test_a_probe_is_folded_with_its_share_of_the_texts(architecture, tmp_path):
    classifier = shaken(architecture, 'linear_probe', model__head__alpha=0.4)
    classifier.model_.fit_of = dict(C=1.0, max_iter=1, pictures=3)
    _, layer, found = exported(classifier, tmp_path)
    model = classifier.model_
    expected = 0.4 * model.probe_weight + 0.6 * model.logit_scale * model.unit_prototypes()
    assert found == 'fused' and model.probe_bias.any()
    torch.testing.assert_close(layer['weight'], expected)
    torch.testing.assert_close(layer['bias'], 0.4 * model.probe_bias)


@torch.no_grad()
def test_updates_are_merged_into_the_text_tower_too_and_taken_out_of_the_model_again(architecture, tmp_path):
    classifier = shaken(architecture, 'clip_lora')
    frozen = {name: value.clone() for name, value in classifier.model_.backbone.zero_shot.state_dict().items()}
    clip, layer, _ = exported(classifier, tmp_path)
    texts = clip.encode_text(open_clip.tokenize([classifier.model_.prompt.format(name) for name in NAMES]), normalize=True)
    torch.testing.assert_close(classifier.model_.logit_scale * texts, layer['weight'], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(dict(classifier.model_.backbone.zero_shot.state_dict()), frozen, rtol=0, atol=0)


@pytest.mark.parametrize(
    'method, options, message',
    [
        (
            'mps',
            dict(model__backbone__group_depths=(2, 2, 2)),
            r'its adapters run beside the blocks 2 to 3 .*=\(4, 0, 2\) it has none',
        ),
        ('clip_adapter', {}, 'its adapter, a network of two layers'),
        ('tip_adapter', {}, 'its memory weighs the training pictures'),
        ('promptsrc', dict(model__text_depth=1, model__vision_depth=2), 'its prompt vectors stand among the patches'),
    ],
)
def test_what_no_plain_clip_computes_is_refused_with_the_reason(architecture, tmp_path, method, options, message):
    with pytest.raises(ValueError, match=f'{method} cannot be written as a plain CLIP: {message}') as refusal:
        shaken(architecture, method, **options).export(tmp_path / 'plain.safetensors', 'open_clip')
    assert 'The formats onnx and torch_export take it as it is' in str(refusal.value) and not list(tmp_path.iterdir())


@torch.no_grad()
def test_prompts_of_the_text_alone_leave_the_vision_tower_plain(architecture, tmp_path):
    classifier = shaken(architecture, 'promptsrc', model__text_depth=1, model__vision_depth=0)
    _, layer, found = exported(classifier, tmp_path)
    assert found == 'fused'
    torch.testing.assert_close(layer['weight'], classifier.model_.logit_scale * classifier.model_.class_features())
