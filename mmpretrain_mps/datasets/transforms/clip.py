"""Resizing and cropping as the CLIP model at hand was trained and is tested.

Size, interpolation and resize mode come from the model's own preprocessing settings, so that a config names the model
and nothing else. Pixels stay uint8; normalisation is the model's data preprocessor's.
"""

from collections.abc import Sequence
from numbers import Number

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CLIPTestTransform(BaseTransform):
    """open_clip's own test preprocessing, to the pixel, before normalisation.

    The resize modes are open_clip's: ``shortest`` resizes the short edge and crops the centre, ``squash`` ignores the
    aspect ratio, ``longest`` resizes the long edge and pads. The usual case, ``shortest`` to a square, is made of
    mmpretrain's ``ResizeEdge`` and ``CenterCrop``; the others have rounding and padding rules of their own there.

    Required and modified key: ``img``, uint8 RGB ``(H, W, 3)``. Modified key: ``img_shape``, ``(H, W)``.

    Args:
        architecture (str): Name of the model, as the backbone's ``architecture``.
        pretrained (str, optional): Name or file of the weights, as the backbone's ``pretrained``.
        resize_mode (str, optional): Instead of the model's own.

    Raises:
        ValueError: If the resize mode is unknown.
    """

    def __init__(self, architecture: str, pretrained: str | None = None, resize_mode: str | None = None):
        self.architecture, self.pretrained = architecture, pretrained
        self.preprocess = _preprocess_of(architecture, pretrained)
        if resize_mode is not None:
            self.preprocess = self.preprocess._replace(resize_mode=resize_mode)
        self.size = _height_and_width(self.preprocess.image_size)
        mode, self.interpolation = self.preprocess.resize_mode, _interpolation_of(self.preprocess)
        if mode not in ('shortest', 'squash', 'longest'):
            raise ValueError(f'{architecture}: resize mode {mode!r} was found, expected shortest, squash or longest.')
        self.steps: list[BaseTransform] = []
        if mode == 'shortest' and self.size[0] == self.size[1]:
            self.steps = _build(
                [
                    dict(type='ResizeEdge', scale=self.size[0], backend='pillow', interpolation=self.interpolation),
                    dict(type='CenterCrop', crop_size=self.size[::-1]),
                ]
            )

    def transform(self, results: dict) -> dict:
        """Resize and crop ``img``."""
        if self.steps:
            for step in self.steps:
                results = step(results)
        else:
            results['img'] = self._resize_and_crop(results['img'])
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _resize_and_crop(self, img):
        mode = self.preprocess.resize_mode
        if mode == 'squash':
            return _resize(img, self.size, self.interpolation)
        ratios = [edge / target for edge, target in zip(img.shape[:2], self.size)]
        ratio = min(ratios) if mode == 'shortest' else max(ratios)
        # open_clip resizes to a short edge that is not square by bicubic whatever the settings say
        interpolation = 'bicubic' if mode == 'shortest' else self.interpolation
        img = _resize(img, tuple(round(edge / ratio) for edge in img.shape[:2]), interpolation)
        return _center_crop_or_pad(img, self.size)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(architecture={self.architecture!r}, pretrained={self.pretrained!r}, '
            f'preprocess={self.preprocess})'
        )


@TRANSFORMS.register_module()
class CLIPTrainTransform(BaseTransform):
    """Random resized crop and flip at the size and with the interpolation of the model.

    Made of mmpretrain's ``RandomResizedCrop`` (Pillow backend, which is torchvision's) and ``RandomFlip``.

    Required and modified key: ``img``, uint8 RGB ``(H, W, 3)``. Modified key: ``img_shape``, ``(H, W)``.

    Args:
        architecture (str): Name of the model, as the backbone's ``architecture``.
        pretrained (str, optional): Name or file of the weights, as the backbone's ``pretrained``.
        scale (Sequence[float]): Smallest and largest share of the area that a crop keeps. Defaults to (0.3, 1.0), the
            released recipe's.
        flip_prob (float): Probability of a horizontal flip; 0 where left and right differ in meaning, as in digits.
            Defaults to 0.5.
        aspect_ratio (Sequence[float]): Smallest and largest width of a crop divided by its height. Defaults to
            (3/4, 4/3).
    """

    def __init__(
        self,
        architecture: str,
        pretrained: str | None = None,
        scale: Sequence[float] = (0.3, 1.0),
        flip_prob: float = 0.5,
        aspect_ratio: Sequence[float] = (3 / 4, 4 / 3),
    ):
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f'scale is {scale!r}, expected (smallest, largest) with 0 < smallest <= largest <= 1.')
        if len(aspect_ratio) != 2 or not 0 < aspect_ratio[0] <= aspect_ratio[1]:
            raise ValueError(f'aspect_ratio is {aspect_ratio!r}, expected (smallest, largest), both above 0.')
        if not 0 <= flip_prob <= 1:
            raise ValueError(f'flip_prob is {flip_prob!r}, expected 0..1.')
        self.architecture, self.pretrained = architecture, pretrained
        preprocess = _preprocess_of(architecture, pretrained)
        self.size, self.interpolation = _height_and_width(preprocess.image_size), _interpolation_of(preprocess)
        steps = [
            dict(
                type='RandomResizedCrop',
                scale=self.size,
                crop_ratio_range=tuple(scale),
                aspect_ratio_range=tuple(aspect_ratio),
                backend='pillow',
                interpolation=self.interpolation,
            )
        ]
        if flip_prob:
            steps.append(dict(type='RandomFlip', prob=float(flip_prob), direction='horizontal'))
        self.steps = _build(steps)

    def transform(self, results: dict) -> dict:
        """Crop, resize and flip ``img``."""
        for step in self.steps:
            results = step(results)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def draw(self, shape: tuple[int, int]) -> tuple[tuple[int, ...], dict]:
        """Draw what :meth:`transform` would do to a picture, from the same random numbers, without the picture.

        Args:
            shape (tuple[int, int]): Height and width of the picture.

        Returns:
            tuple[tuple, dict]: Top, left, height and width of the crop and whether it is flipped (0 or 1); and what
            ``RandomFlip`` notes in the results.
        """
        crop, *flips = self.steps
        box = crop.rand_crop_params(np.broadcast_to(np.uint8(0), (*shape, 3)))  # takes no memory
        noted = dict(img=np.zeros((1, 1, 3), np.uint8))
        for flip in flips:
            noted = flip(noted)
        noted.pop('img')
        return (*map(int, box), int(noted.get('flip', False))), noted

    def __repr__(self) -> str:
        return f'{type(self).__name__}(architecture={self.architecture!r}, pretrained={self.pretrained!r}, steps={self.steps})'


def _preprocess_of(architecture, pretrained):
    from mmpretrain_mps.models.loading import clip_loader  # models are imported after data sets

    return clip_loader.clip_preprocess(architecture, pretrained)


def _interpolation_of(preprocess):
    # 'random' concerns open_clip's training; its tests, and the tuning here, take 'bicubic' for it
    return 'bilinear' if preprocess.interpolation == 'bilinear' else 'bicubic'


def _build(configs):
    return [TRANSFORMS.build(config) for config in configs]


def _height_and_width(size) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, Number) else (int(size[0]), int(size[1]))  # type: ignore[call-overload]


def _resize(img, size, interpolation):
    """Resize to ``size`` (height, width); a picture of that size is left alone, as torchvision does."""
    if img.shape[:2] == tuple(size):
        return img
    return mmcv.imresize(img, (size[1], size[0]), interpolation=interpolation, backend='pillow')


def _center_crop_or_pad(img, size):
    """Pad short edges with black, then crop the centre; odd differences round as torchvision rounds them."""
    missing = [max(target - edge, 0) for edge, target in zip(img.shape[:2], size)]
    if any(missing):
        img = np.pad(img, [*((gap // 2, (gap + 1) // 2) for gap in missing), (0, 0)])
    top, left = (int(round((edge - target) / 2.0)) for edge, target in zip(img.shape[:2], size))
    return img[top : top + size[0], left : left + size[1]]
