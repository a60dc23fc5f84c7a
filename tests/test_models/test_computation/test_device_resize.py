import numpy as np
import pytest
import torch
from PIL import Image
from recorded_operators import WAITING, RecordOperators

from mmpretrain_mps.models.caches.picture_bank import PictureBank
from mmpretrain_mps.models.computation import device_resize
from mmpretrain_mps.models.computation.device_resize import crop_and_resize

VIEWS = ('alias', 'expand', 'select', 'slice', 'split', 'transpose', 'unbind', 'unsqueeze', 'view', '_unsafe_view')


def draw(rng, largest, count):
    """Pictures of noise, or of black and white, which overshoot most, with boxes: some of one pixel's width, some whole."""
    pictures, boxes = [], []
    for index in range(count):
        height, width = rng.integers(1, largest + 1 if index % 3 else 9, 2)
        levels = rng.integers(0, 256, (height, width, 3)) if index % 2 else 255 * rng.integers(0, 2, (height, width, 3))
        h, w = (height, width) if index % 5 == 0 else (rng.integers(1, height + 1), rng.integers(1, width + 1))
        h, w = (1, w) if index % 7 == 0 else (h, 1) if index % 7 == 1 else (h, w)
        top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        pictures.append(levels.astype(np.uint8))
        boxes.append((top, left, h, w, rng.integers(0, 2)))
    return pictures, torch.tensor(np.array(boxes))


def by_pillow(picture, box, size, interpolation):
    top, left, height, width, flip = box
    image = Image.fromarray(picture).crop((left, top, left + width, top + height))
    pixels = np.asarray(image.resize(size[::-1], Image.Resampling[interpolation.upper()]))
    return pixels[:, ::-1] if flip else pixels


def weights_of(lengths, flips, targets):
    lengths, flips, targets = map(torch.tensor, (lengths, flips, targets))
    return device_resize.pass_weights(lengths, flips, targets, int(lengths.max()), int(targets.max()), 'bicubic')


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('size, largest', [((32, 32), 150), ((224, 224), 400), ((20, 33), 120), ((8, 8), 700)])
def test_the_pixels_are_pillows(size, largest, interpolation):
    pictures, boxes = draw(np.random.default_rng(size[0]), largest, 14 if size[0] > 100 else 60)
    views = PictureBank(pictures, size, interpolation, 'cpu').read(torch.arange(len(pictures)), boxes)
    assert views.shape == (len(pictures), 3, *size) and views.dtype == torch.uint8
    for picture, box, view in zip(pictures, boxes.tolist(), views):
        assert np.array_equal(view.permute(1, 2, 0).numpy(), by_pillow(picture, box, size, interpolation))


def test_both_orders_of_passes_occur_in_one_batch_and_chunks_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    pictures = [
        rng.integers(0, 256, (edges[0], edges[1], 3), dtype=np.uint8) for edges in ((90, 20), (20, 90), (40, 40), (99, 21))
    ]
    boxes = torch.tensor([(0, 0, *picture.shape[:2], index % 2) for index, picture in enumerate(pictures)])
    bank = PictureBank(pictures, (16, 16), 'bicubic', 'cpu')
    expected = [by_pillow(picture, box, (16, 16), 'bicubic') for picture, box in zip(pictures, boxes.tolist())]
    for limit in (1, 6000, 2**25):
        monkeypatch.setattr(device_resize, '_MAX_VALUES', limit)
        views = bank.read(torch.arange(4), boxes)
        assert np.array_equal(views.permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_an_older_pillow_starts_with_the_width(monkeypatch):
    monkeypatch.setattr(device_resize, '_MAY_START_WITH_HEIGHT', False)
    picture = np.random.default_rng(0).integers(0, 256, (90, 20, 3), dtype=np.uint8)
    view = PictureBank([picture], (16, 16), 'bicubic', 'cpu').read(torch.tensor([0]), torch.tensor([(0, 0, 90, 20, 0)]))
    across = Image.fromarray(picture).resize((16, 90), Image.Resampling.BICUBIC)
    assert np.array_equal(view[0].permute(1, 2, 0).numpy(), np.asarray(across.resize((16, 16), Image.Resampling.BICUBIC)))


def test_half_precision_of_a_training_and_tf32_do_not_reach_it():
    pictures, boxes = draw(np.random.default_rng(3), 60, 10)
    bank = PictureBank(pictures, (16, 16), 'bicubic', 'cpu')
    plain = bank.read(torch.arange(10), boxes)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(bank.read(torch.arange(10), boxes), plain)
    # TF32 keeps 11 bits of an operand: rounding to as many changes nothing.
    for part in weights_of([300, 7], [0, 1], [16, 16]):
        mantissa, exponent = torch.frexp(part)
        assert torch.equal(torch.ldexp((mantissa * 2**11).round() / 2**11, exponent), part)


def test_weights_of_a_pass_add_up_to_one_and_none_lies_beyond_the_crop():
    high, low = weights_of([50, 3, 1], [0, 0, 1], [16, 16, 9])
    total = 4096.0 * high.double() + low.double()
    assert ((total.sum(-1) - 2**22).abs() <= 16).all()  # each is rounded
    assert not total[1, :, 3:].any() and not total[2, :, 1:].any()


def test_kernels_of_a_batch_do_not_grow_with_it_and_none_waits(monkeypatch):
    resize, recorded = device_resize._resize, []

    def recording(*arguments):
        with RecordOperators() as record:
            result = resize(*arguments)
        recorded.append(record.names)
        return result

    monkeypatch.setattr(device_resize, '_resize', recording)
    pictures, boxes = draw(np.random.default_rng(1), 40, 32)
    bank = PictureBank(pictures, (16, 16), 'bicubic', 'cpu')
    for count in (2, 32):
        bank.read(torch.arange(count), boxes[:count, None].repeat(1, 2, 1))
    few, many = ([name for name in names if name not in VIEWS] for names in recorded)
    assert few == many and len(many) <= 91
    assert many.count('bmm') == 4
    assert not set(many) & set(WAITING)


def test_views_of_a_batch_come_as_its_pipeline_gives_them():
    pictures, boxes = draw(np.random.default_rng(5), 40, 6)
    bank = PictureBank(pictures, (8, 8), 'bicubic', 'cpu')
    numbers = torch.tensor([4, 1, 4])
    several = bank.read(numbers, torch.stack([boxes[numbers], boxes[numbers] * torch.tensor([1, 1, 1, 1, 0])], dim=1))
    assert [tuple(view.shape) for view in several] == [(3, 3, 8, 8)] * 2
    assert torch.equal(several[0], bank.read(numbers, boxes[numbers]))
    assert len(bank) == 6 and bank.num_bytes == sum(picture.size for picture in pictures)


def test_what_cannot_be_is_refused():
    picture = np.zeros((5, 6, 3), np.uint8)
    bank = PictureBank([picture], (8, 8), 'bicubic', 'cpu')
    for box in ((0, 0, 6, 6, 0), (0, -1, 2, 2, 0), (0, 0, 0, 3, 0)):
        with pytest.raises(ValueError, match=r'does not lie in a picture of 5 x 6'):
            bank.read(torch.tensor([0]), torch.tensor([box]))
    with pytest.raises(ValueError, match=r'decoded picture 1 is of shape \(5, 6\) and uint8, expected \(H, W, 3\)'):
        PictureBank([picture, picture[..., 0]], (8, 8), 'bicubic', 'cpu')
    with pytest.raises(ValueError, match="interpolation is 'lanczos'"):
        crop_and_resize(torch.zeros(3), *[torch.zeros(1, 2, dtype=torch.int64)] * 3, (8, 8), 'lanczos')
