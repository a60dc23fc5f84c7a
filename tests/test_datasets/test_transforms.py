import copy
import io

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import PackInputs
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageOps

from mmpretrain_mps.datasets import CLIPTestTransform, CLIPTrainTransform, DualView, LoadRGBImage
from mmpretrain_mps.datasets.transforms import with_views
from mmpretrain_mps.models.utils import clip_loader

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


def load(path=None, **arguments):
    return LoadRGBImage(**arguments)(dict(img_path=str(path)))['img']


@pytest.fixture
def model(monkeypatch):
    """Let every model have the preprocessing that the test sets."""

    def use(image_size=224, interpolation='bicubic', resize_mode='shortest'):
        preprocess = clip_loader.ClipPreprocess(image_size, (0.5,) * 3, (0.5,) * 3, interpolation, resize_mode)
        monkeypatch.setattr(clip_loader, 'clip_preprocess', lambda architecture, pretrained: preprocess)

    use()
    return use


class TestLoadRGBImage:
    @pytest.mark.parametrize('name, mode', [
        ('a.png', 'RGB'), ('a.jpg', 'RGB'), ('a.JPEG', 'L'), ('a.png', 'L'), ('a.png', 'P'), ('a.gif', 'P'),
        ('a.png', '1'), ('a.jpg', 'CMYK'), ('a.tif', 'CMYK'), ('a.bmp', 'RGB'), ('a.webp', 'RGB'), ('ä ñ 字.PNG', 'RGB'),
    ])  # yapf: disable
    def test_plain_pictures_have_the_pixels_of_pillows_own_conversion(self, tmp_path, name, mode):
        Image.fromarray(NOISE).convert(mode).save(tmp_path / name)
        img = load(tmp_path / name)
        assert img.dtype == np.uint8 and img.shape == (7, 5, 3)
        np.testing.assert_array_equal(img, np.array(Image.open(tmp_path / name).convert('RGB')))

    def test_shapes_are_height_and_width(self, tmp_path):
        Image.fromarray(NOISE).save(tmp_path / 'a.png')
        results = LoadRGBImage()(dict(img_path=str(tmp_path / 'a.png')))
        assert results['img_shape'] == results['ori_shape'] == (7, 5)

    @pytest.mark.parametrize('mode', ['RGBA', 'LA'])
    def test_transparency_is_dropped_or_shows_the_background(self, tmp_path, mode):
        image = Image.fromarray(NOISE).convert(mode)
        alpha = np.full((7, 5), 255, np.uint8)
        alpha[0] = 0
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / 'a.png')
        stored = np.array(image.convert('RGB'))
        np.testing.assert_array_equal(load(tmp_path / 'a.png'), stored)
        shown = load(tmp_path / 'a.png', background=(255, 0, 10))
        assert (shown[0] == (255, 0, 10)).all()
        np.testing.assert_array_equal(shown[1:], stored[1:])

    @pytest.mark.parametrize('transparency', [1, bytes([255, 0, 255])])
    def test_a_palette_with_transparency_gives_its_colours_without_a_warning(self, tmp_path, transparency, recwarn):
        image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), 'L').convert('P')
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        image.save(tmp_path / 'a.png', transparency=transparency)
        recwarn.clear()
        expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
        assert load(tmp_path / 'a.png').tolist() == expected
        assert not recwarn.list
        assert load(tmp_path / 'a.png', background=(1, 2, 3))[0, 1].tolist() == [1, 2, 3]

    @pytest.mark.parametrize('mode, transparent', [('L', 7), ('RGB', (1, 2, 3)), ('1', 0)])
    def test_a_transparent_colour_is_kept_as_it_is(self, tmp_path, mode, transparent):
        Image.fromarray(NOISE).convert(mode).save(tmp_path / 'a.png', transparency=transparent)
        np.testing.assert_array_equal(load(tmp_path / 'a.png'), np.array(Image.open(tmp_path / 'a.png').convert('RGB')))

    @pytest.mark.parametrize('name', ['a.png', 'a.tif'])
    def test_sixteen_bits_are_scaled_and_not_clipped(self, tmp_path, name):
        levels = np.array([[0, 128, 129, 256, 257], [32768, 65534, 65535, 65407, 65406]], np.uint16)
        Image.fromarray(levels).save(tmp_path / name)
        img = load(tmp_path / name)
        assert img[..., 0].tolist() == [[0, 0, 1, 1, 1], [128, 255, 255, 255, 254]]
        assert (img[..., 0] == img[..., 1]).all() and (img[..., 0] == img[..., 2]).all()

    def test_big_endian_sixteen_bits_are_read_alike(self, tmp_path):
        levels = np.array([[0, 65535], [257, 514]], np.uint16)
        raw = b'P5 2 2 65535\n' + levels.astype('>u2').tobytes()
        (tmp_path / 'a.pgm').write_bytes(raw)
        assert load(tmp_path / 'a.pgm')[..., 0].tolist() == [[0, 255], [1, 2]]

    @pytest.mark.parametrize('orientation', range(1, 9))
    def test_the_exif_orientation_is_applied(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(NOISE).save(tmp_path / 'a.png', exif=exif)
        upright = np.array(ImageOps.exif_transpose(Image.open(tmp_path / 'a.png')))
        np.testing.assert_array_equal(load(tmp_path / 'a.png'), upright)
        np.testing.assert_array_equal(load(tmp_path / 'a.png', exif=False), NOISE)
        assert (upright.shape == (5, 7, 3)) == (orientation >= 5)

    def test_sixteen_bit_pictures_are_turned_too(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # the top of the scene is at the right: turn clockwise
        Image.fromarray(np.array([[0, 257], [514, 771]], np.uint16)).save(tmp_path / 'a.png', exif=exif)
        assert load(tmp_path / 'a.png')[..., 0].tolist() == [[2, 0], [3, 1]]

    @pytest.mark.filterwarnings('ignore:Corrupt EXIF')
    def test_a_damaged_exif_block_does_not_hide_the_picture(self, tmp_path):
        Image.fromarray(NOISE).save(tmp_path / 'a.jpg', exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01')
        assert load(tmp_path / 'a.jpg').shape == (7, 5, 3)

    def test_links_are_followed(self, tmp_path):
        Image.fromarray(NOISE).save(tmp_path / 'a.png')
        (tmp_path / 'link.png').symlink_to(tmp_path / 'a.png')
        np.testing.assert_array_equal(load(tmp_path / 'link.png'), NOISE)

    def test_the_first_picture_of_an_animation_is_taken(self, tmp_path):
        frames = [Image.new('RGB', (3, 3), colour) for colour in ('red', 'blue')]
        frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
        assert (load(tmp_path / 'a.gif') == (255, 0, 0)).all()

    def test_bytes_and_arrays_are_taken_as_well(self):
        buffer = io.BytesIO()
        Image.fromarray(NOISE).save(buffer, 'PNG')
        for img in (buffer.getvalue(), NOISE, NOISE[..., :]):
            np.testing.assert_array_equal(LoadRGBImage()(dict(img=img))['img'], NOISE)
        grey = NOISE[..., 0]
        for img in (grey, grey[..., None]):
            np.testing.assert_array_equal(LoadRGBImage()(dict(img=img))['img'], np.stack([grey] * 3, -1))
        assert LoadRGBImage()(dict(img=grey > 100))['img'].max() == 255
        sixteen = LoadRGBImage()(dict(img=NOISE.astype(np.uint16) * 257))['img']
        np.testing.assert_array_equal(sixteen, NOISE)
        with_alpha = np.dstack([NOISE, np.zeros((7, 5), np.uint8)])
        np.testing.assert_array_equal(LoadRGBImage()(dict(img=with_alpha))['img'], NOISE)

    def test_an_array_in_memory_is_not_shared_with_the_result(self):
        source = NOISE.copy()
        LoadRGBImage()(dict(img=source))['img'][:] = 0
        np.testing.assert_array_equal(source, NOISE)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='gone.png does not exist'):
            load(tmp_path / 'gone.png')

    @pytest.mark.parametrize(
        'content, reason',
        [
            (b'', 'UnidentifiedImageError'),
            (b'<html>not found</html>', 'UnidentifiedImageError'),
        ],
    )
    def test_what_is_no_picture_is_named_with_the_reason(self, tmp_path, content, reason):
        (tmp_path / 'a.jpg').write_bytes(content)
        with pytest.raises(ValueError, match=f'a.jpg cannot be read as a picture: {reason}: '):
            load(tmp_path / 'a.jpg')

    def test_a_truncated_picture_is_named_with_the_reason(self, tmp_path):
        buffer = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, 'JPEG')
        (tmp_path / 'a.jpg').write_bytes(buffer.getvalue()[:-500])
        with pytest.raises(ValueError, match='a.jpg cannot be read as a picture: OSError: .*truncated'):
            load(tmp_path / 'a.jpg')

    def test_pixels_without_an_agreed_range_are_refused(self, tmp_path):
        Image.fromarray(NOISE[..., 0].astype(np.float32)).save(tmp_path / 'a.tif')
        with pytest.raises(ValueError, match='a.tif cannot .*floating-point pixels have no agreed range'):
            load(tmp_path / 'a.tif')
        Image.fromarray(np.array([[70000, 1]], np.int32)).save(tmp_path / 'b.tif')
        with pytest.raises(ValueError, match=r'b.tif cannot .*pixels of 1..70000 were found, expected 0..65535'):
            load(tmp_path / 'b.tif')

    @pytest.mark.parametrize(
        'img, message',
        [
            (NOISE.astype(np.float32), 'picture 3 cannot .*an array of float32 was found, expected bool, uint8 or uint16'),
            (np.zeros((2, 2, 5), np.uint8), r'an array of shape \(2, 2, 5\) was found'),
        ],
    )
    def test_an_array_of_another_kind_is_refused(self, img, message):
        with pytest.raises(ValueError, match=message):
            LoadRGBImage()(dict(img=img, sample_idx=3))

    def test_an_entry_without_a_picture_is_refused(self):
        with pytest.raises(ValueError, match="found neither 'img' nor 'img_path' among \\['gt_label'\\]"):
            LoadRGBImage()(dict(gt_label=1))

    def test_a_background_needs_three_levels(self):
        with pytest.raises(ValueError, match=r'background is \(0, 300, 0\), expected three levels of 0..255'):
            LoadRGBImage(background=(0, 300, 0))


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


class TestDualView:
    def test_a_picture_is_decoded_once_and_its_views_differ(self, model, tmp_path, monkeypatch):
        model(16)
        Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
        opened = []
        real = Image.open
        monkeypatch.setattr(Image, 'open', lambda file, **formats: opened.append(file) or real(file, **formats))
        augmented = []

        def count(results):
            augmented.append(results['img'].shape)
            return results

        views = DualView([count, dict(type='CLIPTrainTransform', architecture='any')])
        pipeline = [LoadRGBImage(), views, PackInputs()]
        results = dict(img_path=str(tmp_path / 'a.png'), gt_label=3)
        for transform in pipeline:
            results = transform(results)
        assert len(opened) == 1
        assert augmented == [(40, 30, 3)] * 2
        assert isinstance(results['inputs'], list) and [view.shape for view in results['inputs']] == [(3, 16, 16)] * 2
        assert all(view.dtype == torch.uint8 for view in results['inputs'])
        assert not torch.equal(*results['inputs'])
        assert results['data_samples'].img_shape == (16, 16) and results['data_samples'].ori_shape == (40, 30)
        assert results['data_samples'].gt_label.tolist() == [3]

    def test_a_view_cannot_spoil_the_picture_for_the_next(self):

        def blacken(results):
            results['img'][:] += 1
            return results

        views = DualView([blacken], num_views=3)(dict(img=np.zeros((2, 2, 3), np.uint8)))['img']
        assert len(views) == 3 and all((view == 1).all() for view in views)

    @pytest.mark.parametrize('num_views', [0, 1.5, True])
    def test_the_number_of_views_is_checked(self, num_views):
        with pytest.raises(ValueError, match='num_views is .*, expected a whole number of at least 1'):
            DualView([], num_views=num_views)

    def test_the_picture_without_augmentation_comes_last(self, model):
        model((8, 8), 'bicubic')
        views = DualView(
            [dict(type='CLIPTrainTransform', architecture='any')],
            num_views=3,
            reference=[dict(type='CLIPTestTransform', architecture='any', resize_mode='squash')],
        )
        images = views(dict(img=NOISE.copy()))['img']
        assert len(images) == 4 and {image.shape for image in images} == {(8, 8, 3)}
        np.testing.assert_array_equal(images[3], np.array(Image.fromarray(NOISE).resize((8, 8), Image.Resampling.BICUBIC)))
        assert not any(np.array_equal(images[3], image) for image in images[:3])
        assert views.has_reference and not DualView([]).has_reference
        again = views(dict(img=NOISE.copy()))['img']
        np.testing.assert_array_equal(images[3], again[3])
        assert not np.array_equal(images[0], again[0])


class TestWithViews:
    PIPELINE = [
        dict(type='LoadRGBImage'),
        dict(
            type='DualView',
            num_views=2,
            transforms=[dict(type='CLIPTrainTransform', architecture='ViT-B-16', pretrained='openai', scale=(0.3, 1.0))],
        ),
    ]

    def test_other_views_leave_the_pipeline_itself_alone(self):
        before = copy.deepcopy(self.PIPELINE)
        views = with_views(self.PIPELINE, num_views=4, scale=(0.4, 1.0))[1]
        assert views['num_views'] == 4 and views['transforms'][0]['scale'] == (0.4, 1.0) and 'reference' not in views
        assert before == self.PIPELINE

    def test_a_reference_is_made_for_the_model_of_the_augmentation(self):
        views = with_views(self.PIPELINE, reference='squash')[1]
        assert views['num_views'] == 2 and views['reference'] == [
            dict(type='CLIPTestTransform', architecture='ViT-B-16', pretrained='openai', resize_mode='squash')
        ]
        assert DualView(**{key: value for key, value in views.items() if key != 'type'}).has_reference

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (dict(num_views=3), 'views need a DualView in the pipeline'),
            (dict(reference='squash'), r"views need a DualView of CLIPTrainTransform in the pipeline, but it has \['Plain'\]"),
        ],
    )
    def test_a_pipeline_without_such_views_is_refused(self, arguments, message):
        pipeline = (
            [dict(type='LoadRGBImage')] if 'num_views' in arguments else [dict(type='DualView', transforms=[dict(type='Plain')])]
        )
        with pytest.raises(ValueError, match=message):
            with_views(pipeline, **arguments)
