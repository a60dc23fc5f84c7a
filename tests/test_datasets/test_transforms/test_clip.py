import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from mmpretrain_mps.datasets import CLIPTestTransform, CLIPTrainTransform, LoadRGBImage
from mmpretrain_mps.models.loading import clip_loader

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)
SIZES = [
    (224, 224),
    (225, 224),
    (224, 225),
    (500, 375),
    (375, 500),
    (333, 251),
    (251, 333),
    (8, 8),
    (7, 13),
    (13, 7),
    (1, 1),
    (1, 9),
    (100, 1000),
    (1000, 100),
    (223, 447),
    (640, 427),
    (32, 33),
]


@pytest.fixture
def model(monkeypatch):
    """Let every model have the preprocessing that the test sets."""

    def use(image_size=224, interpolation='bicubic', resize_mode='shortest'):
        preprocess = clip_loader.ClipPreprocess(image_size, (0.5,) * 3, (0.5,) * 3, interpolation, resize_mode)
        monkeypatch.setattr(clip_loader, 'clip_preprocess', lambda architecture, pretrained: preprocess)

    use()
    return use


class TestCLIPTestTransform:
    def assert_equals_open_clip(self, model, size, image_size, mode, interpolation='bicubic'):
        model(image_size, interpolation, mode)
        img = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        reference = image_transform_v2(
            PreprocessCfg(image_size, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=interpolation, resize_mode=mode),
            is_train=False,
        )(Image.fromarray(img))
        results = CLIPTestTransform('any', 'weights')(dict(img=img.copy()))
        assert results['img'].dtype == np.uint8
        assert results['img_shape'] == results['img'].shape[:2] == tuple(reference.shape[1:])
        np.testing.assert_array_equal(results['img'], (reference * 255).round().byte().permute(1, 2, 0).numpy())

    @pytest.mark.parametrize('mode', ['shortest', 'squash', 'longest'])
    @pytest.mark.parametrize('size', SIZES)
    def test_pixels_equal_open_clips(self, model, size, mode):
        self.assert_equals_open_clip(model, size, 224, mode)

    @pytest.mark.parametrize('image_size', [31, (24, 40), (41, 24), (33, 33)])
    @pytest.mark.parametrize('mode', ['shortest', 'squash', 'longest'])
    @pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
    def test_pixels_equal_open_clips_at_odd_and_oblong_sizes(self, model, image_size, mode, interpolation):
        for size in [(50, 37), (37, 50), (8, 8), (31, 31), (24, 40), (3, 100)]:
            self.assert_equals_open_clip(model, size, image_size, mode, interpolation)

    def test_pixels_equal_open_clips_at_many_random_sizes(self, model):
        for height, width in np.random.default_rng(1).integers(1, 400, (60, 2)):
            for mode in ('shortest', 'squash', 'longest'):
                self.assert_equals_open_clip(model, (height, width), 32, mode)

    @pytest.mark.parametrize('interpolation', ['random', 'bicubic'])
    def test_random_interpolation_is_bicubic_as_in_open_clips_tests(self, model, interpolation):
        for mode in ('shortest', 'squash', 'longest'):
            self.assert_equals_open_clip(model, (33, 57), 24, mode, interpolation)

    def test_a_file_normalised_by_mean_and_std_equals_open_clips_whole_preprocessing(self, tmp_path):
        cfg = PreprocessCfg()  # OpenAI's models; the look-up is the real one
        Image.fromarray(RNG.integers(0, 256, (300, 201, 3), dtype=np.uint8)).save(tmp_path / 'a.jpg')
        results = CLIPTestTransform('ViT-B-16', 'openai')(LoadRGBImage()(dict(img_path=str(tmp_path / 'a.jpg'))))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (cfg.mean, cfg.std))
        expected = image_transform_v2(cfg, is_train=False)(Image.open(tmp_path / 'a.jpg'))
        assert torch.equal((torch.from_numpy(results['img']).permute(2, 0, 1) / 255).sub(mean).div(std), expected)

    def test_an_unknown_resize_mode_is_refused(self, model):
        model(resize_mode='zoom')
        with pytest.raises(ValueError, match="ViT: resize mode 'zoom' was found, expected shortest, squash or longest"):
            CLIPTestTransform('ViT')

    def test_a_resize_mode_takes_the_place_of_the_models_own(self, model):
        model((24, 24), resize_mode='shortest')
        squashed = CLIPTestTransform('any', resize_mode='squash')(dict(img=NOISE.copy()))['img']
        expected = Image.fromarray(NOISE).resize((24, 24), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(squashed, np.array(expected))
        assert not np.array_equal(CLIPTestTransform('any')(dict(img=NOISE.copy()))['img'], squashed)
        with pytest.raises(ValueError, match="resize mode 'zoom' was found"):
            CLIPTestTransform('any', resize_mode='zoom')


class TestCLIPTrainTransform:
    def test_size_and_interpolation_come_from_the_model(self, model):
        model((24, 40), 'bilinear')
        transform = CLIPTrainTransform('any', scale=(1.0, 1.0), flip_prob=0, aspect_ratio=(1.0, 1.0))
        results = transform(dict(img=NOISE[:5]))  # the whole square picture
        assert results['img_shape'] == results['img'].shape[:2] == (24, 40)
        expected = np.array(Image.fromarray(NOISE[:5]).resize((40, 24), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(results['img'], expected)

    def test_flips_happen_always_never_or_sometimes_as_asked(self, model):
        model(5)
        whole = dict(scale=(1.0, 1.0), aspect_ratio=(1.0, 1.0))
        for prob, expected in ((0, {False}), (1, {True}), (0.5, {False, True})):
            transform = CLIPTrainTransform('any', flip_prob=prob, **whole)
            results = [transform(dict(img=NOISE[:5].copy()))['img'] for _ in range(40)]
            assert {np.array_equal(img, NOISE[:5, ::-1]) for img in results} == expected
            assert all(np.array_equal(img, NOISE[:5, ::-1]) or np.array_equal(img, NOISE[:5]) for img in results)

    def test_crops_keep_the_share_of_the_area_that_was_asked_for(self, model):
        picture = np.zeros((100, 100, 3), np.uint8)
        picture[..., 0] = np.arange(100)  # the column is written into the pixels
        model(100, 'bilinear')
        transform = CLIPTrainTransform('any', scale=(0.3, 1.0), flip_prob=0)
        widths = [int(np.ptp(transform(dict(img=picture))['img'][..., 0])) + 1 for _ in range(200)]
        assert min(widths) >= np.sqrt(30 * 100 * 3 / 4) - 2  # smallest area, narrowest aspect ratio
        assert min(widths) < 60 and max(widths) > 90

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (dict(scale=(0, 1)), r'scale is \(0, 1\), expected \(smallest, largest\)'),
            (dict(scale=(0.5, 1.1)), r'scale is \(0.5, 1.1\)'),
            (dict(flip_prob=2), 'flip_prob is 2, expected 0..1'),
            (dict(aspect_ratio=(2, 1)), r'aspect_ratio is \(2, 1\)'),
        ],
    )
    def test_arguments_out_of_range_are_refused(self, model, arguments, message):
        with pytest.raises(ValueError, match=message):
            CLIPTrainTransform('any', **arguments)
