"""Crops of decoded pictures, resized as Pillow does, for many pictures at once and on any device.

Pillow resizes in two passes, one for each edge, and rounds to 8 bits after each. Its weights are whole multiples of
2^-22, and its sums are of whole numbers. Here a pass is a product of matrices. Its weights are split into two parts that
float32, and TF32 as well, hold exactly; so the sums are exact, too, and the pixels are Pillow's.
"""

import numpy as np
import PIL
import torch

from .devices import send

INTERPOLATIONS = ('bilinear', 'bicubic')
# Pillow's: 32 bits less 8 of a pixel and 2 for sums beyond white.
_PRECISION_BITS = 22
# Of the smaller part of a weight. TF32 holds 11 bits and a sign. Sums of 32 such parts times a pixel stay below 2^24 for certain,
# and of more as a rule; beyond, 2^-22 of a level is lost, which is seen only where a sum lies on the border of two levels.
_LOW_BITS = 12
_RADIUS = {'bilinear': 1.0, 'bicubic': 2.0}
# Since Pillow 13 the height comes first where it shrinks by more than twice the pixels that the width loses.
_MAY_START_WITH_HEIGHT = int(PIL.__version__.partition('.')[0]) >= 13
# Most values of crops, padded to equal size, that are resized together; the largest tensor has 4 bytes for each.
_MAX_VALUES = 2**25
_CHANNELS = 3


def crop_and_resize(
    pixels: torch.Tensor,
    starts: torch.Tensor,
    sizes: torch.Tensor,
    boxes: torch.Tensor,
    size: tuple[int, int],
    interpolation: str = 'bicubic',
) -> torch.Tensor:
    """Crop, resize with antialiasing, and flip, to the pixels of ``Image.crop``, ``Image.resize`` and a flip by Pillow.

    How many operators that takes depends on the amount of pixels, not on the number of crops; nothing waits for the device.

    Args:
        pixels (Tensor): All pictures one after the other, each ``(3, H, W)``, flattened; uint8, on the device.
        starts (Tensor): Where in it the picture of each crop starts, ``(n,)``, int64, on the host like all below.
        sizes (Tensor): Height and width of these pictures ``(n, 2)``, int64.
        boxes (Tensor): Top, left, height and width of each crop, and whether to flip it (0 or 1), ``(n, 5)``, int64.
        size (tuple[int, int]): Height and width of the results, ``(h, w)``.
        interpolation (str): ``'bicubic'`` or ``'bilinear'``.

    Returns:
        Tensor: ``(n, 3, h, w)``, uint8, on the device.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f'interpolation is {interpolation!r}, expected one of {INTERPOLATIONS}')
    _check_boxes(sizes, boxes)
    top, left, height, width, flip = boxes.unbind(1)
    row = sizes[:, 1]
    height_first = _starts_with_height(height, width, size)
    along_width = torch.stack([torch.ones_like(row), width, flip, torch.full_like(row, size[1])], dim=1)
    along_height = torch.stack([row, height, torch.zeros_like(flip), torch.full_like(row, size[0])], dim=1)
    passes = torch.stack([along_width, along_height], dim=1)
    passes = torch.where(height_first[:, None, None], passes.flip(1), passes).flatten(1)
    table = torch.stack([top * row + left + starts, row * sizes[:, 0], height_first], dim=1)
    # Crops of about one size stand together, since they are padded to the largest.
    order = torch.argsort(height * width)
    table = torch.cat([torch.cat([table, passes], dim=1)[order], torch.argsort(order)[:, None]], dim=1)
    on_device = send(table, pixels.device)
    with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
        parts = [_resize(pixels, on_device[start:end], lengths, size, interpolation) for start, end, lengths in _chunks(table)]
        return torch.cat(parts).index_select(0, on_device[:, -1])


def _check_boxes(sizes, boxes):
    boxes, sizes = boxes.numpy(), sizes.numpy()
    corners, edges = boxes[:, :2], boxes[:, 2:4]
    fits = ((corners >= 0) & (edges >= 1) & (corners + edges <= sizes)).all(1)
    if not fits.all():
        bad = fits.argmin()
        raise ValueError(
            f'the box {boxes[bad, :4].tolist()} (top, left, height, width) does not lie in a picture of '
            f'{sizes[bad, 0]} x {sizes[bad, 1]} (height x width)'
        )


def _starts_with_height(height, width, size):
    if not _MAY_START_WITH_HEIGHT:
        return torch.zeros_like(height, dtype=torch.bool)
    return (height > size[0]) & (height - size[0] > 2 * (width - size[1]))


def _chunks(table):
    """Yield start and end of rows that are resized together, and their longest edges along the first and the second pass."""
    edges, longest, start = table[:, [4, 8]].numpy(), np.zeros(2, np.int64), 0
    for index, lengths in enumerate(edges):
        grown = np.maximum(longest, lengths)
        if index > start and (index + 1 - start) * _CHANNELS * grown.prod() > _MAX_VALUES:
            yield start, index, longest.tolist()
            start, grown = index, lengths
        longest = grown
    yield start, len(edges), longest.tolist()


def _resize(pixels, table, lengths, size, interpolation):
    """Resize crops along both edges.

    Args:
        pixels (Tensor): As in :func:`crop_and_resize`.
        table (Tensor): For each crop: where it starts, values in a plane of its picture, whether the pass along the height is
            the first, and for both passes the step from one value to the next, their number, whether to flip, and the
            number of values after it; ``(n, 11)`` or more, int64.
        lengths (Sequence[int]): The largest numbers of values before the first and the second pass, ``l1`` and ``l2``.
        size (tuple[int, int]): ``(h, w)``.
        interpolation (str): Name of the filter.

    Returns:
        Tensor: ``(n, 3, h, w)``, uint8.
    """
    count, device, most = len(table), pixels.device, max(size)
    corner, plane, height_first = table[:, :3].unbind(1)
    step, length, flip, target = table[:, 3:11].view(count, 2, 4).transpose(0, 1).unbind(2)
    weights = [
        part.split(count)
        for part in pass_weights(length.flatten(), flip.flatten(), target.flatten(), max(lengths), most, interpolation)
    ]
    # Beyond the end of an edge its last value stands in, whose weight there is 0.
    place = torch.minimum(torch.arange(max(lengths), device=device), (length - 1)[..., None]) * step[..., None]
    channels = corner[:, None] + torch.arange(_CHANNELS, device=device) * plane[:, None]
    rows = channels[:, :, None] + place[1, :, None, : lengths[1]]
    places = rows[..., None] + place[0, :, None, None, : lengths[0]]
    crops = pixels.index_select(0, places.flatten()).view(count, _CHANNELS * lengths[1], lengths[0]).float()
    crops = _levels(*(part[0][..., : lengths[0]] @ crops.mT for part in weights))  # (n, most, 3 * l2)
    crops = crops.float().view(count, most * _CHANNELS, lengths[1])
    crops = _levels(*(crops @ part[1][..., : lengths[1]].mT for part in weights))  # (n, most * 3, most)
    crops = crops.to(torch.uint8).view(count, most, _CHANNELS, most).transpose(1, 2)  # first edge, second edge
    crops = torch.where(height_first[:, None, None, None] > 0, crops, crops.mT)
    return crops[..., : size[0], : size[1]]


def pass_weights(
    lengths: torch.Tensor, flips: torch.Tensor, targets: torch.Tensor, longest: int, most: int, interpolation: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of passes of Pillow's in units of 2^-22, in two parts: ``4096 * high + low``.

    Args:
        lengths (Tensor): Values before each pass ``(n,)``, int64.
        flips (Tensor): Whether to turn its result round, 0 or 1, ``(n,)``, int64.
        targets (Tensor): Values after it ``(n,)``, int64.
        longest (int): The largest of the lengths, or more.
        most (int): The largest of the targets, or more.
        interpolation (str): Name of the filter.

    Returns:
        tuple[Tensor, Tensor]: High and low parts ``(n, most, longest)``, float32; 0 beyond the length of an edge. Rows
        beyond its target repeat the last one.
    """
    # In double precision, as Pillow computes them: a weight that is rounded otherwise would be seen now and then.
    scale = (lengths.double() / targets)[:, None]
    stretch = scale.clamp(min=1)
    reach = _RADIUS[interpolation] * stretch
    index = torch.minimum(torch.arange(most, device=lengths.device), (targets - 1)[:, None])
    index = torch.where(flips[:, None] > 0, (targets - 1)[:, None] - index, index)
    center = (index + 0.5) * scale
    low = (center - reach + 0.5).floor()[..., None]
    high = torch.minimum((center + reach + 0.5).floor(), lengths[:, None])[..., None]
    position = torch.arange(longest, device=lengths.device, dtype=torch.float64)
    weights = _FILTERS[interpolation]((position + 0.5 - center[..., None]).div_(stretch[..., None]).abs_())
    weights *= (position >= low) & (position < high)
    weights *= 2**_PRECISION_BITS / weights.sum(-1, keepdim=True)
    weights = (weights + torch.copysign(weights.new_full((), 0.5), weights)).trunc_()
    upper = (weights / 2**_LOW_BITS).round_()
    return upper.float(), weights.sub_(upper, alpha=2**_LOW_BITS).float()


def _bilinear(distance):
    return (1 - distance).clamp_(min=0)


def _bicubic(distance):
    """Keys' cubic with a = -1/2."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, far).mul_(distance < 2)


_FILTERS = {'bilinear': _bilinear, 'bicubic': _bicubic}


def _levels(high, low):
    """Round sums of both parts to levels of 0..255, as whole numbers of 32 bits: float32 has too few."""
    total = torch.add(low.int(), high.int(), alpha=2**_LOW_BITS)
    return total.add_(2 ** (_PRECISION_BITS - 1)).bitwise_right_shift_(_PRECISION_BITS).clamp_(0, 255)
