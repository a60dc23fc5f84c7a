"""The configs of the pictograms, built as far as they need no model that knows the words."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from mmpretrain_mps.models.loading import clip_loader

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def build(monkeypatch):
    preprocess = clip_loader.ClipPreprocess((32, 32), (0.5,) * 3, (0.5,) * 3, 'bicubic', 'shortest')
    monkeypatch.setattr(clip_loader, 'clip_preprocess', lambda architecture, pretrained: preprocess)

    def build(config, name):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return Runner.build_dataloader(Config.fromfile(CONFIGS / f'mps_mini_16shot_pictogram_{config}.py')[name], seed=1)

    return build


@pytest.mark.parametrize('config, classes', [('kinds', 56), ('things', 250)])
def test_sixteen_pictures_of_each_class_are_trained_on_and_four_are_for_validation(build, config, classes):
    for name, count in dict(train_dataloader=16, val_dataloader=4).items():
        dataset = build(config, name).dataset
        assert Counter(dataset.get_gt_labels().tolist()) == Counter(dict.fromkeys(range(classes), count))
        assert dataset.metainfo['num_shots'] == 16
    batch = next(iter(build(config, 'train_dataloader')))
    assert [(view.shape, view.dtype) for view in batch['inputs']] == [((32, 3, 32, 32), torch.uint8)] * 2


@pytest.mark.parametrize('config', ['kinds', 'things'])
def test_targets_are_the_classes_of_the_source(build, config):
    cfg = Config.fromfile(CONFIGS / f'mps_mini_16shot_pictogram_{config}.py')
    names = build(config, 'test_dataloader').dataset.metainfo['classes']
    expected = {'other_artist', 'sketch', 'distorted'} | ({'older'} if config == 'kinds' else set())
    assert set(cfg.test_cfg.targets) == expected
    for target in cfg.test_cfg.targets.values():
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            assert DATASETS.build(target).metainfo['classes'] == names


@pytest.mark.parametrize('config', ['kinds', 'things'])
def test_new_classes_are_the_others(build, config):
    cfg = Config.fromfile(CONFIGS / f'mps_mini_16shot_pictogram_{config}_base2new.py')
    base = {
        build(f'{config}_base2new', name).dataset.metainfo['classes']
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    }
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        new = DATASETS.build(cfg.test_cfg.targets.new).metainfo['classes']
    assert len(base) == 1 and not set(new) & set(*base)
    assert sorted([*new, *base.pop()]) == sorted(build(config, 'test_dataloader').dataset.metainfo['classes'])
