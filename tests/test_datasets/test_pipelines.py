"""The pipelines of the data sets' configs."""

from mmengine.config import Config
from tiny_run import ROOT

from mmpretrain_mps.datasets.pipelines import clip_pipelines


def test_views_and_test_pictures_are_loaded_alike_and_made_for_the_same_clip():
    train, test = clip_pipelines('mps-mini', 'embedded', scale=(0.8, 1.0), flip_prob=0, exif=True)
    clip = dict(architecture='mps-mini', pretrained='embedded')
    load, pack = dict(type='LoadRGBImage', exif=True), dict(type='PackInputs')
    view = dict(type='CLIPTrainTransform', **clip, scale=(0.8, 1.0), flip_prob=0)
    assert train == [load, dict(type='DualView', num_views=2, transforms=[view]), pack]
    assert test == [load, dict(type='CLIPTestTransform', **clip), pack]
    # What is changed of one of them is not changed of the other.
    train[0]['exif'] = False
    assert test[0]['exif'] is True


def test_a_config_has_them_in_full():
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'few_shot.py')
    assert cfg.train_pipeline[0] == dict(type='LoadRGBImage', exif=False)
    assert cfg.train_dataloader.dataset.dataset.pipeline == cfg.train_pipeline
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
