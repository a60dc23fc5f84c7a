"""Views that are cropped, resized and flipped on the GPU, and views whose features lie there."""

import numpy as np
import pytest
import torch

from mmpretrain_mps.models.backbones.dual_branch_vit import FrozenFeatures
from mmpretrain_mps.models.caches.picture_bank import PictureBank
from mmpretrain_mps.models.caches.view_bank import BankLayout, ViewBank
from mmpretrain_mps.models.computation.precision import FLOAT32_PRECISIONS, float32_products


@pytest.mark.parametrize('precision', FLOAT32_PRECISIONS)
def test_pixels_are_those_of_the_cpu_whatever_the_precision(device, precision):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*rng.integers(20, 400, 2), 3), dtype=np.uint8) for _ in range(16)]
    shapes = np.array([picture.shape[:2] for picture in pictures])
    edges = np.maximum(1, (shapes * rng.uniform(0.3, 1, shapes.shape)).astype(int))
    corners = (rng.uniform(0, 1, shapes.shape) * (shapes - edges + 1)).astype(int)
    boxes = torch.tensor(np.hstack([corners, edges, rng.integers(0, 2, (16, 1))]))[:, None]
    found = []
    with float32_products(precision):
        for place in ('cpu', device):
            bank = PictureBank(pictures, (224, 224), 'bicubic', place)
            (views,) = bank.read(torch.arange(16), boxes)
            found.append(views.cpu())
    assert torch.equal(*found)


def test_a_view_bank_on_the_gpu_gives_back_what_was_computed(device):
    generator = torch.Generator(device).manual_seed(0)
    features = FrozenFeatures(None, torch.randn(6, 5, 16, device=device, generator=generator), None)
    bank = ViewBank(BankLayout(features, torch.ones(3, 2, dtype=torch.bool)), 'device', device=device)
    bank.write(0, features)
    found = bank.read(torch.tensor([2, 0]), torch.tensor([[0, 1], [1, 0]]), device)
    assert torch.equal(found[1], features[1][[4, 1, 5, 0]])
