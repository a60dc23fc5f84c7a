"""The delivered folder: size, strict loading, zero-shot accuracy."""
import json

import open_clip
import pytest
import torch
from safetensors import safe_open

from mmpretrain_mps import mini_clip
from mmpretrain_mps.mini_clip import concepts, rendering, zero_shot

# In percent: measured on the delivered weights, minus three points.
DIGITS_TEST_HALF_FLOOR = 91.1 - 3
HELDOUT_FONT_FLOOR = 98.75 - 3


@pytest.fixture(scope='module')
def model():
    return open_clip.create_model(
        f'local-dir:{mini_clip.folder()}', require_pretrained=True).eval()


def digit_prototypes(model):
    return zero_shot.text_prototypes(
        model, mini_clip.tokenizer(), concepts.DIGIT_NAMES,
        mini_clip.DIGIT_TEMPLATES)


def test_folder_is_at_most_five_megabytes():
    files = [path for path in mini_clip.folder().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5e6


def test_every_saved_weight_is_loaded_under_its_own_name(model):
    path = mini_clip.folder() / 'open_clip_model.safetensors'
    loaded = model.state_dict()
    with safe_open(str(path), 'pt') as saved:
        assert set(saved.keys()) == set(loaded)
        for name in saved.keys():
            weight = saved.get_tensor(name)
            assert weight.dtype == torch.float16
            assert torch.equal(weight.float(), loaded[name].float()), name


def test_vision_tower_has_twelve_blocks(model):
    assert len(model.visual.transformer.resblocks) == 12


def test_config_agrees_with_the_tokenizer():
    config = json.loads(
        (mini_clip.folder() / 'open_clip_config.json').read_text())
    text_cfg = config['model_cfg']['text_cfg']
    assert text_cfg['vocab_size'] == mini_clip.tokenizer().vocab_size
    assert text_cfg['context_length'] == mini_clip.tokenizer().context_length


def test_preprocess_equals_the_transform_of_open_clip():
    from PIL import Image
    transform = open_clip.create_model_and_transforms(
        f'local-dir:{mini_clip.folder()}', require_pretrained=True)[2]
    images = zero_shot.digits_images()[0][:3]
    expected = torch.stack([
        transform(Image.fromarray(image).convert('RGB')) for image in images
    ])
    assert torch.allclose(zero_shot.preprocess(images), expected, atol=1e-6)


def test_zero_shot_on_unseen_half_of_digits(model):
    images, labels = zero_shot.digits_images()
    rows = zero_shot.digits_halves()['test']
    features = zero_shot.image_features(
        model, zero_shot.preprocess(images[rows]))
    score = zero_shot.accuracy(
        features, digit_prototypes(model), labels[rows])
    assert score >= DIGITS_TEST_HALF_FLOOR


def test_zero_shot_on_digits_of_fonts_held_out(model):
    images, labels = rendering.render_heldout_glyphs(
        concepts.DIGIT_NAMES, per_font=2)
    features = zero_shot.image_features(model, zero_shot.preprocess(images))
    score = zero_shot.accuracy(features, digit_prototypes(model), labels)
    assert score >= HELDOUT_FONT_FLOOR


@pytest.mark.parametrize('images', [
    torch.zeros(2, 8, 8).numpy(),
    torch.zeros(2, 8, 8, 4, dtype=torch.uint8).numpy(),
])
def test_preprocess_refuses_other_arrays(images):
    with pytest.raises(ValueError, match='uint8'):
        zero_shot.preprocess(images)
