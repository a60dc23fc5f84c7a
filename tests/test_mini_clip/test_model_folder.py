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
    return open_clip.create_model(f'local-dir:{mini_clip.folder()}', require_pretrained=True).eval()


def digit_prototypes(model):
    return zero_shot.text_prototypes(model, mini_clip.tokenizer(), concepts.DIGIT_NAMES, mini_clip.DIGIT_TEMPLATES)


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
    config = json.loads((mini_clip.folder() / 'open_clip_config.json').read_text())
    text_cfg = config['model_cfg']['text_cfg']
    assert text_cfg['vocab_size'] == mini_clip.tokenizer().vocab_size
    assert text_cfg['context_length'] == mini_clip.tokenizer().context_length


def test_preprocess_equals_the_transform_of_open_clip():
    from PIL import Image

    transform = open_clip.create_model_and_transforms(f'local-dir:{mini_clip.folder()}', require_pretrained=True)[2]
    images = zero_shot.digits_images()[0][:3]
    expected = torch.stack([transform(Image.fromarray(image).convert('RGB')) for image in images])
    assert torch.allclose(zero_shot.preprocess(images), expected, atol=1e-6)


def test_zero_shot_on_unseen_half_of_digits(model):
    images, labels = zero_shot.digits_images()
    rows = zero_shot.digits_halves()['test']
    features = zero_shot.image_features(model, zero_shot.preprocess(images[rows]))
    score = zero_shot.accuracy(features, digit_prototypes(model), labels[rows])
    assert score >= DIGITS_TEST_HALF_FLOOR


def test_zero_shot_on_digits_of_fonts_held_out(model):
    images, labels = rendering.render_heldout_glyphs(concepts.DIGIT_NAMES, per_font=2)
    features = zero_shot.image_features(model, zero_shot.preprocess(images))
    score = zero_shot.accuracy(features, digit_prototypes(model), labels)
    assert score >= HELDOUT_FONT_FLOOR


@pytest.mark.parametrize(
    'images',
    [
        torch.zeros(2, 8, 8).numpy(),
        torch.zeros(2, 8, 8, 4, dtype=torch.uint8).numpy(),
    ],
)
def test_preprocess_refuses_other_arrays(images):
    with pytest.raises(ValueError, match='uint8'):
        zero_shot.preprocess(images)


def test_a_model_of_the_same_form_is_used_with_its_own_words(tmp_path):
    """As tools/pretrain_mini_clip.py leaves it; the embedded files under another name are such a model."""
    import shutil

    from mmpretrain_mps.models import MPSCLIPClassifier
    from mmpretrain_mps.models.loading.clip_loader import load_clip, mini_folder

    for name in ('open_clip_config.json', 'open_clip_model.safetensors', 'bpe_merges.txt.gz', 'vocabulary.json'):
        shutil.copy(mini_clip.folder() / name, tmp_path / name)
    architecture = f'local-dir:{tmp_path}'
    assert mini_folder(architecture) == tmp_path and mini_folder('ViT-B-16') is None
    names = ('three', 'small letter a')
    own, embedded = (MPSCLIPClassifier(*base, class_names=names) for base in ((architecture, None), ('mps-mini', 'embedded')))
    assert torch.equal(own.text_prototypes, embedded.text_prototypes)
    assert load_clip(architecture, None).make_tokenizer().vocab_size == mini_clip.tokenizer().vocab_size
    with pytest.raises(ValueError, match="no meaning for 'tabby'"):
        own.set_classes(['tabby', 'three'])
    vocabulary = json.loads((tmp_path / 'vocabulary.json').read_text())
    other = tmp_path / 'other'
    other.mkdir()
    for name in ('open_clip_config.json', 'open_clip_model.safetensors', 'bpe_merges.txt.gz'):
        shutil.copy(tmp_path / name, other / name)
    vocabulary['words'].remove('three')
    (other / 'vocabulary.json').write_text(json.dumps(vocabulary))
    with pytest.raises(ValueError, match="no meaning for 'three'"):  # its own words, not the embedded model's
        MPSCLIPClassifier(f'local-dir:{other}', None, class_names=names)
