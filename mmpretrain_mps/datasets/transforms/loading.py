"""Reading pictures of every kind that people keep, as 8-bit RGB."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps, UnidentifiedImageError

from ..picture_files import MAX_PIXELS, check_max_pixels, open_picture

_REMEDY = 'Replace it, or take it away'
_LIST_OF_ALL = '; `python tools/datasets/prepare.py NAME --root DIR --check-images` lists all such pictures of a data set'
_ALPHA_MODES = ('RGBA', 'LA', 'PA', 'RGBa')
_LEVELS_PER_8_BIT_LEVEL = 257  # 65535 / 255: full scale of 16 bits is full scale of 8 bits


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Read a picture as uint8 RGB ``(H, W, 3)``, by Pillow.

    For plain RGB, grey and palette pictures the pixels are those of ``Image.open(path).convert('RGB')``, which is what
    open_clip's preprocessing sees. Beyond that, the EXIF orientation is applied, and 16-bit pictures are scaled to
    8 bits (Pillow's own conversion would clip them).

    Required keys: ``img_path``, or ``img``: the bytes of an image file, a picture of Pillow, or an array ``(H, W)``,
    ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` of bool, uint8 or uint16 in RGB order. ``img`` wins where both are given. An array
    that comes with ``ori_shape`` has been loaded by mmcv before (mmpretrain's inferencer does so), hence is BGR.
    Added keys: ``img``, ``img_shape`` and ``ori_shape``, both ``(H, W)``.

    Args:
        exif (bool): Turn the picture as its EXIF orientation says. Defaults to True.
        background (Sequence[int], optional): RGB colour, 0..255, that shows through transparent pixels. Defaults to
            None: transparency is dropped and the stored colours are kept, as open_clip does.
        max_pixels (int): Width times height that is decoded at most. Defaults to 100 million.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the picture cannot be read; the message names the path and the reason.
    """

    def __init__(self, exif: bool = True, background: Sequence[int] | None = None, max_pixels: int = MAX_PIXELS):
        if background is not None and (len(background) != 3 or not all(0 <= level <= 255 for level in background)):
            raise ValueError(f'background is {background!r}, expected three levels of 0..255.')
        self.exif = exif
        self.background = None if background is None else tuple(background)
        self.max_pixels = check_max_pixels(max_pixels)

    def transform(self, results: dict) -> dict:
        """Put the picture and its shape into ``results``."""
        if results.get('img') is None and results.get('img_path') is None:
            raise ValueError(f"LoadRGBImage found neither 'img' nor 'img_path' among {sorted(results)}.")
        name = str(results.get('img_path') or f'picture {results.get("sample_idx", "in memory")}')
        try:
            img = self._read(results)
        except FileNotFoundError:
            raise FileNotFoundError(f'{name} does not exist.') from None
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            remedy = _REMEDY + (_LIST_OF_ALL if 'gt_label' in results else '')  # others come from no data set
            raise ValueError(
                f'{name} cannot be read as a picture: {type(error).__name__}: {str(error).rstrip(".")}. {remedy}'
            ) from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def _read(self, results):
        source = results.get('img')
        if isinstance(source, np.ndarray):
            loaded_by_mmcv = 'ori_shape' in results and source.ndim == 3 and source.shape[2] == 3
            return self._to_rgb(_image_from_array(source[..., ::-1] if loaded_by_mmcv else source))
        if isinstance(source, Image.Image):
            return self._to_rgb(_turn_upright(source) if self.exif else source)
        with open_picture(results['img_path'] if source is None else source, self.max_pixels) as image:
            image.load()
            return self._to_rgb(_turn_upright(image) if self.exif else image)

    def _to_rgb(self, image):
        if image.mode == 'I' or image.mode.startswith('I;'):
            return _scale_16_bit(image)
        if image.mode == 'F':
            raise ValueError('floating-point pixels have no agreed range, expected 8 or 16 bits per channel')
        if image.mode in _ALPHA_MODES or 'transparency' in image.info:
            image = image.convert('RGBA')
            if self.background is not None:
                image = Image.alpha_composite(Image.new('RGBA', image.size, self.background), image)
        return np.array(image.convert('RGB'))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(exif={self.exif}, background={self.background}, max_pixels={self.max_pixels})'


def decoding_fault(path: str, max_pixels: int = MAX_PIXELS, decode: bool = True) -> str:
    """Return why a file cannot be decoded as training decodes it (or, without ``decode``, not be opened), or ''."""
    try:
        if decode:
            LoadRGBImage(max_pixels=max_pixels)._read(dict(img_path=path))
        else:
            with open_picture(path, max_pixels):
                pass
    except UnidentifiedImageError:
        return 'content of no picture'
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        return str(error) if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'
    return ''


def _turn_upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels, which are read already
        return image


def _scale_16_bit(image):
    """Scale integer grey pixels of 0..65535 to 8 bits, rounded, and repeat them for the three channels."""
    levels = np.array(image, dtype=np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError(f'pixels of {levels.min()}..{levels.max()} were found, expected 0..65535 (16 bits)')
    grey = ((levels + _LEVELS_PER_8_BIT_LEVEL // 2) // _LEVELS_PER_8_BIT_LEVEL).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _image_from_array(array):
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ValueError(f'an array of shape {array.shape} was found, expected (H, W), (H, W, 3) or (H, W, 4)')
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint16 and array.ndim == 3:  # Pillow has no 16-bit colour
        array = ((array.astype(np.int64) + _LEVELS_PER_8_BIT_LEVEL // 2) // _LEVELS_PER_8_BIT_LEVEL).astype(np.uint8)
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f'an array of {array.dtype} was found, expected bool, uint8 or uint16')
    return Image.fromarray(np.ascontiguousarray(array))
