"""Several pictures of the same masks, for a training without captions."""

import pytest
import torch

from mmpretrain_mps.mini_clip import augmentation
from mmpretrain_mps.mini_clip.batches import BatchMaker, Recipe


@pytest.fixture(scope='module')
def batches():
    return BatchMaker(
        Recipe(drawn_digits=6, font_digits=4, letters=4, symbols=4, shapes=8, drawn_per_digit=3), split='train_basic'
    )


def test_views_depend_on_the_step_and_differ_from_each_other(batches):
    first, second = batches.views(3, 2)
    again = batches.views(3, 2)
    assert first.shape == second.shape == (26, 3, 32, 32) and first.abs().max() <= 1
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    assert all(not torch.equal(*pair) for pair in zip(first, second))
    assert not torch.equal(first, batches.views(4, 1)[0])


def test_views_are_of_the_same_masks_and_colours(batches, monkeypatch):
    monkeypatch.setattr(augmentation, 'augment_glyphs', lambda ink, drawn, generator: ink[:, None].expand(-1, 3, -1, -1) / 255)
    monkeypatch.setattr(
        augmentation, 'augment_shapes', lambda ink, colours, generator: colours[:, :, None, None] * ink[:, None] / 255
    )
    first, second, third = batches.views(5, 3)
    assert torch.equal(first, second) and torch.equal(first, third)
    assert len(first) == 26 and len(torch.unique(first.flatten(1), dim=0)) > 20
    drawn = batches.sources['drawn'].ink / 255
    assert all((drawn == picture[0]).all((1, 2)).any() for picture in first[:6])
