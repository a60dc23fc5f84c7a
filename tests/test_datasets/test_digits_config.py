from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmpretrain_mps.models.loading import clip_loader

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'digits.py'


@pytest.fixture
def build(monkeypatch):
    preprocess = clip_loader.ClipPreprocess((32, 32), (0.5,) * 3, (0.5,) * 3, 'bicubic', 'shortest')
    monkeypatch.setattr(clip_loader, 'clip_preprocess', lambda architecture, pretrained: preprocess)

    def build(name):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return Runner.build_dataloader(Config.fromfile(CONFIG)[name], seed=1)

    return build


def test_training_batches_are_two_views_of_sixteen_digits_per_class(build):
    loader = build('train_dataloader')
    assert len(loader) == 5 and len(loader.dataset) == 160
    labels = []
    for batch in loader:
        assert [(view.shape, view.dtype) for view in batch['inputs']] == [((32, 3, 32, 32), torch.uint8)] * 2
        assert not torch.equal(*batch['inputs'])
        labels += [sample.gt_label.item() for sample in batch['data_samples']]
    assert sorted(labels) == sorted(list(range(10)) * 16)
    assert loader.dataset.metainfo['num_shots'] == 16 and loader.dataset.metainfo['seed'] == 1


@pytest.mark.parametrize('name, size', [('val_dataloader', 355), ('test_dataloader', 899)])
def test_evaluation_batches_are_one_view_in_a_fixed_order(build, name, size):
    loader = build(name)
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [100] * (size // 100) + [size % 100]
    assert batches[0]['inputs'].shape == (100, 3, 32, 32) and batches[0]['inputs'].dtype == torch.uint8
    assert [sample.sample_idx for batch in batches for sample in batch['data_samples']] == list(range(size))


def test_all_three_belong_to_one_split(build):
    names = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    assert len({build(name).dataset.metainfo['split_id'] for name in names}) == 1
