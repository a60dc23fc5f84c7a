import os

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer, get_model
from PIL import Image
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.apis import MPSInferencer
from mmpretrain_mps.models import MPSCLIPClassifier


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, a checkpoint as a run leaves it, the model itself, and a colourful picture."""
    folder = tmp_path_factory.mktemp('trained')
    architecture = save_tiny_clip(folder / 'clip')
    model = shake(MPSCLIPClassifier(architecture, None, class_names=NAMES), scale=0.3).eval()
    torch.save(dict(meta={}, state_dict=model.state_dict()), folder / 'epoch_1.pth')
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['mmpretrain_mps'], allow_failed_imports=False),
            model=dict(type='MPSCLIPClassifier', architecture=architecture, pretrained=None),
            test_dataloader=dict(
                dataset=dict(
                    type='Digits',
                    pipeline=[
                        dict(type='LoadRGBImage'),
                        dict(type='CLIPTestTransform', architecture=architecture, pretrained=None),
                        dict(type='PackInputs'),
                    ],
                )
            ),
        )
    )
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    pixels[..., 0] //= 4  # red and blue must not be exchanged unnoticed
    Image.fromarray(pixels).save(folder / 'picture.png')
    return cfg, str(folder / 'epoch_1.pth'), model, folder / 'picture.png', pixels


@torch.no_grad()
def scores_of(model, pixels):
    data = dict(inputs=torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous(), data_samples=None)
    return model(model.data_preprocessor(data)['inputs'], mode='predict')[0].pred_score.numpy()


def test_paths_bytes_and_arrays_give_the_models_own_scores(trained):
    cfg, checkpoint, model, path, pixels = trained
    classify = MPSInferencer(cfg, checkpoint)
    expected = scores_of(model, pixels)
    for picture in (str(path), path, path.read_bytes(), pixels, Image.open(path), Image.fromarray(pixels)):
        (result,) = classify([picture])
        np.testing.assert_allclose(result['pred_scores'], expected, rtol=1e-4, atol=1e-6)
        assert result['pred_class'] == NAMES[int(expected.argmax())]


def test_mmpretrains_own_inferencer_and_get_model_work_too(trained):
    cfg, checkpoint, model, path, pixels = trained
    (result,) = ImageClassificationInferencer(cfg, checkpoint)(str(path))
    np.testing.assert_allclose(result['pred_scores'], scores_of(model, pixels), rtol=1e-4, atol=1e-6)
    loaded = get_model(cfg, pretrained=checkpoint).eval()
    assert loaded.class_names == NAMES
    np.testing.assert_allclose(scores_of(loaded, pixels), scores_of(model, pixels), rtol=1e-5, atol=1e-7)


def test_classes_can_be_swapped_for_others(trained):
    cfg, checkpoint, _, path, _ = trained
    classify = MPSInferencer(cfg, checkpoint, class_names=['wolf', 'cat'], templates=['one {}'])
    (result,) = classify(str(path))
    assert result['pred_class'] in ('wolf', 'cat') and len(result['pred_scores']) == 2
    classify.set_classes(['a', 'b', 'c', 'd'])
    assert len(classify(str(path))[0]['pred_scores']) == 4


def test_an_unreadable_picture_is_named(trained, tmp_path):
    cfg, checkpoint, *_ = trained
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(ValueError, match='text.png cannot be read as a picture'):
        MPSInferencer(cfg, checkpoint)(str(tmp_path / 'text.png'))


@pytest.fixture(scope='module')
def with_config(trained, tmp_path_factory):
    """The checkpoint with the config that it was trained with, as runs leave it."""
    cfg, checkpoint, *_ = trained
    content = torch.load(checkpoint, weights_only=True)
    path = tmp_path_factory.mktemp('whole') / 'epoch_1.pth'
    torch.save(dict(content, meta=dict(cfg=cfg.pretty_text)), path)
    return path


def test_a_checkpoint_alone_is_enough(trained, with_config, tmp_path):
    cfg, checkpoint, _, path, pixels = trained
    (result,) = MPSInferencer(with_config)(path)
    np.testing.assert_array_equal(result['pred_scores'], MPSInferencer(cfg, checkpoint)(path)[0]['pred_scores'])
    with pytest.raises(ValueError, match='does not hold the config that it was trained with; name the config file, too'):
        MPSInferencer(checkpoint)


@pytest.mark.parametrize(
    'text, message',
    [
        ("__import__('os').system('touch mark')", 'is no config as mmengine writes it, and is not run'),
        ("model = dict(type='os.system', command='touch mark')", "model.type is 'os.system'"),
        ("model = dict(type='MPSCLIPClassifier', pretrained='torchscript:evil.pt')", 'a program that would be run'),
    ],
)
def test_the_config_in_a_checkpoint_is_not_run(with_config, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(torch.load(with_config, weights_only=True), meta=dict(cfg=text)), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match=message):
        MPSInferencer('evil.pth')
    assert not (tmp_path / 'mark').exists()


def test_pictures_of_pillow_and_sorted_folders(trained, with_config, tmp_path):
    _, _, model, path, pixels = trained
    classify = MPSInferencer(with_config)
    np.testing.assert_allclose(classify(Image.open(path))[0]['pred_scores'], scores_of(model, pixels), rtol=1e-4, atol=1e-6)
    pictures = {name: np.roll(pixels, shift, axis=0) for shift, name in enumerate(['b/1.png', 'a.png', 'b/c/2.png', 'b.png'])}
    for name, picture in pictures.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no picture')
    results = classify(tmp_path)
    for result, name in zip(results, ['a.png', 'b/1.png', 'b/c/2.png', 'b.png'], strict=True):
        np.testing.assert_allclose(result['pred_scores'], scores_of(model, pictures[name]), rtol=1e-4, atol=1e-6)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty holds no pictures'):
        classify(str(tmp_path / 'empty'))


def test_a_model_that_was_built_here_needs_no_config(trained):
    _, _, model, path, pixels = trained
    np.testing.assert_allclose(
        MPSInferencer(model, device='cpu')(path)[0]['pred_scores'], scores_of(model, pixels), rtol=1e-5, atol=1e-7
    )


def test_a_checkpoint_is_refused_where_the_config_predicts_otherwise(trained):
    cfg, checkpoint, *_ = trained
    other = Config(dict(cfg.to_dict()))
    other.model.head = dict(type='LogitsFusionHead', alpha=0.9)
    with pytest.raises(ValueError, match='trained to predict with model.head.alpha=0.3, but this model has 0.9'):
        MPSInferencer(other, checkpoint)


def test_a_picture_alone_and_what_is_none(trained, tmp_path):
    cfg, checkpoint, model, path, pixels = trained
    classify = MPSInferencer(cfg, checkpoint)
    (result,) = classify(Image.open(path))
    np.testing.assert_allclose(result['pred_scores'], scores_of(model, pixels), rtol=1e-4, atol=1e-6)
    os.mkfifo(tmp_path / 'pipe.png')
    for wrong in (str(tmp_path / 'pipe.png'), '/dev/zero', 5):
        with pytest.raises(ValueError, match='cannot be read as a picture'):
            classify(wrong)


@pytest.mark.parametrize('asked, in_config, used', [(None, None, False), (None, 'tf32', True), ('strict', 'tf32', False)])
def test_float32_numbers_are_multiplied_as_in_a_test(trained, monkeypatch, asked, in_config, used):
    cfg, checkpoint, _, path, _ = trained
    if in_config:
        cfg = Config({**cfg.to_dict(), 'float32_precision': in_config})
    classify = MPSInferencer(cfg, checkpoint, float32_precision=asked)
    seen, original = [], classify.model.test_step

    def test_step(data):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return original(data)

    monkeypatch.setattr(classify.model, 'test_step', test_step)
    before = torch.backends.cuda.matmul.allow_tf32
    classify(path)
    assert seen == [used] and torch.backends.cuda.matmul.allow_tf32 == before


def test_another_precision_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="float32_precision is 'half', expected 'strict'"):
        MPSInferencer('nowhere.pth', float32_precision='half')
