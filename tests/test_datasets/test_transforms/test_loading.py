import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmpretrain_mps.datasets import LoadRGBImage

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


def load(path=None, **arguments):
    return LoadRGBImage(**arguments)(dict(img_path=str(path)))['img']


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
        with pytest.raises(ValueError, match=f'a.jpg cannot be read as a picture: {reason}: .* Replace it, or take it away$'):
            load(tmp_path / 'a.jpg')
        with pytest.raises(ValueError, match='take it away; `python tools/datasets/prepare.py NAME --root DIR --check-images`'):
            LoadRGBImage()(dict(img_path=str(tmp_path / 'a.jpg'), gt_label=1))

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
