"""Models and batches that several tests share."""

import pytest
import torch
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.models import MPSCLIPClassifier


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory):
    """Name of a saved tiny CLIP: 6 blocks, 5 tokens of width 16."""
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'))


@pytest.fixture(scope='session')
def deep_clip(tmp_path_factory):
    """Name of a saved tiny CLIP whose text tower has 3 blocks of width 16."""
    return save_tiny_clip(tmp_path_factory.mktemp('deep_clip'), text=dict(width=16, heads=2, layers=3))


@pytest.fixture
def build(tiny_clip):
    """Build a classifier on the tiny CLIP; keyword arguments override its config."""

    def build_classifier(**overrides):
        config = dict(architecture=tiny_clip, pretrained=None, class_names=NAMES, gram_loss=dict(), sculpt_loss=dict())
        return MPSCLIPClassifier(**{**config, **overrides})

    return build_classifier


@pytest.fixture
def batch():
    """Two views of four pictures, already normalised, and their data samples."""
    generator = torch.Generator().manual_seed(3)
    views = [torch.randn(4, 3, 16, 16, generator=generator) for _ in range(2)]
    return views, [DataSample().set_gt_label(label) for label in (0, 1, 1, 2)]
