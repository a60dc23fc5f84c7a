"""Exported files predict what the classifier does, say all that is needed to use them, or are not there."""

import importlib.util
import json
import types

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_classifier import largest_difference, pictures, shaken
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.export import FORMATS, export
from mmpretrain_mps.version import __version__

PICTURES = pictures()


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'), layers=3)


@pytest.fixture(scope='module')
def classifier(architecture):
    made = shaken(architecture, 'mps', model__backbone__group_depths=(1, 1, 1), model__head__alpha=0.3)
    made.temperature_ = 1.7
    return made


@pytest.fixture
def written(monkeypatch):
    """Let the format onnx write, and run, something simple in no time: the logits of the classifier itself."""

    def write(change=lambda logits: logits):
        def write_text(classifier, about, path):
            path.write_text('content')
            return dict(outputs=['logits'])

        def run(path, about, images):
            assert path.read_text() == 'content'
            with torch.no_grad():
                return dict(logits=change(write.model.branch_logits(torch.from_numpy(images))[0].fused.numpy()))

        monkeypatch.setitem(FORMATS, 'onnx', FORMATS['onnx']._replace(write=write_text, run=run))

    return write


def normalised(about, images):
    return (np.stack(images) / 255 - np.reshape(about['mean'], (3, 1, 1))) / np.reshape(about['std'], (3, 1, 1))


def test_an_onnx_file_takes_any_number_of_pictures_and_says_what_it_is(classifier, tmp_path):
    expected = classifier.logits(PICTURES)
    file, description = classifier.export(tmp_path / 'model.onnx', pictures=PICTURES)
    about = json.loads(description.read_text())
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    assert session.get_inputs()[0].shape == ['batch', 3, 16, 16]
    assert {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()} == about
    pixels = [classifier._pipeline(dict(img=picture, img_path=None))['inputs'].numpy() for picture in PICTURES]
    images = normalised(about['preprocessing'], pixels).astype(np.float32)
    for count in (1, 2, 3):
        found = dict(zip(about['outputs'], session.run(None, {'images': images[:count]})))
        for name in ('tuned', 'zero_shot'):
            assert largest_difference(found[name], getattr(expected, name)[:count]) < 1e-4
        assert largest_difference(found['logits'], expected.fused[:count]) < 1e-4
        assert largest_difference(found['probabilities'], classifier.predict_proba(PICTURES)[:count]) < 1e-4
    assert largest_difference(expected.tuned, expected.zero_shot) > 0.01
    assert about['labels'] == list(NAMES) and about['temperature'] == 1.7 and about['alpha'] == 0.3
    assert about['method'] == 'mps' and about['version'] == __version__
    assert about['preprocessing'] == dict(
        exif=True,
        background=None,
        image_size=[16, 16],
        resize_mode='shortest',
        interpolation='bicubic',
        mean=pytest.approx([0.48145466, 0.4578275, 0.40821073]),
        std=pytest.approx([0.26862954, 0.26130258, 0.27577711]),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.json', 'model.onnx']


def test_a_program_of_torch_export_does_the_same_and_the_model_is_as_it_was(architecture, tmp_path):
    classifier = shaken(architecture, 'coop')
    before, state = classifier.logits(PICTURES), {name: value.clone() for name, value in classifier.model_.state_dict().items()}
    file, description = classifier.export(tmp_path / 'model.pt2', 'torch_export')
    extra = {'mmpretrain_mps.json': ''}
    program = torch.export.load(file, extra_files=extra)
    about = json.loads(description.read_text())
    assert json.loads(extra['mmpretrain_mps.json']) == about
    # The text tower, which has more numbers than all the rest, is not in it.
    assert not any('text_tower' in name for name in program.state_dict)
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, logits = program.module()(images), classifier.model_.branch_logits(images, zero_shot=True)[0]
    assert list(found) == about['outputs'] == ['probabilities', 'logits', 'tuned', 'zero_shot']
    torch.testing.assert_close(found['zero_shot'], logits.zero_shot, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found['probabilities'], logits.fused.softmax(1), rtol=1e-4, atol=1e-4)
    after = classifier.logits(PICTURES)
    assert all(map(torch.equal, before, after))
    torch.testing.assert_close(classifier.model_.state_dict(), state, rtol=0, atol=0)


def test_what_predicts_otherwise_takes_no_place(classifier, written, tmp_path):
    written.model, target = classifier.model_, tmp_path / 'model.onnx'
    target.write_text('of an earlier export')
    differ = 'model.onnx was not written: of 4 pictures its logits differ .* by up to {}, expected 0.0001'
    for change, message in (
        (lambda logits: logits + 0.01 * np.abs(logits), differ.format('1.0e-02')),
        (lambda logits: logits * np.nan, differ.format('nan')),
        (lambda logits: logits[:, :2], r'its logits have the shape \(4, 2\), expected \(4, 3\)'),
    ):
        written(change)
        with pytest.raises(ValueError, match=message):
            classifier.export(target)
        assert target.read_text() == 'of an earlier export' and list(tmp_path.iterdir()) == [target]
    written()
    assert [path.name for path in classifier.export(target)] == ['model.onnx', 'model.json']
    assert target.read_text() == 'content'


@pytest.mark.parametrize(
    'name, form, error, message',
    [
        ('model.onnx', 'tflite', ValueError, "there is no format 'tflite', expected one of onnx, torch_export, open_clip"),
        ('model.pth', 'onnx', ValueError, 'does not end in .onnx, as files of the format onnx do'),
        ('nowhere/model.onnx', 'onnx', NotADirectoryError, 'the folder .*nowhere of model.onnx does not exist'),
    ],
)
def test_mistakes_are_named_before_anything_is_done(classifier, tmp_path, name, form, error, message):
    with pytest.raises(error, match=message):
        classifier.export(tmp_path / name, form)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_extra_that_has_them(classifier, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *rest: None if name.startswith('onnx') else find_spec(name, *rest)
    )
    with pytest.raises(
        ImportError, match=r"packages onnx, onnxscript, onnxruntime; install with `pip install 'mmpretrain_mps\[export\]'`"
    ):
        classifier.export(tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


def test_pictures_that_cannot_be_described_are_refused(architecture, tmp_path):
    classifier = shaken(architecture, 'zero_shot')
    load, resize, pack = classifier._pipeline.transforms
    resize.preprocess = resize.preprocess._replace(resize_mode='longest')
    with pytest.raises(ValueError, match=r"mode 'longest' to \(16, 16\) pixels .* 'shortest' to a square and 'squash' alone"):
        classifier.export(tmp_path / 'model.onnx')
    classifier._pipeline.transforms = [load, types.SimpleNamespace(), pack]
    with pytest.raises(ValueError, match='prepared by LoadRGBImage, SimpleNamespace, PackInputs, but'):
        classifier.export(tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


def test_the_endings_are_those_of_the_formats():
    assert {name: form.ending for name, form in export.FORMATS.items()} == dict(
        onnx='.onnx', torch_export='.pt2', open_clip='.safetensors'
    )
