"""Whole runs of the classifier on scikit-learn's digits, with a random CLIP so small that they fit into tests."""
import os
from pathlib import Path

from tiny_clip import save_tiny_clip

ROOT = Path(__file__).resolve().parents[1]
CONFIG_FOLDER = ROOT / 'configs'

CONFIG = """
_base_ = ['{configs}/_base_/datasets/digits.py', '{configs}/_base_/schedules/paper_50e.py',
          '{configs}/default_runtime.py']
architecture = '{architecture}'
pretrained = None
model = dict(
    type='MPSCLIPClassifier', architecture=architecture, pretrained=pretrained,
    backbone=dict(group_depths=(2, 2, 2)), head=dict(alpha=0.5), gram_loss=dict(loss_weight=0.5),
    sculpt_loss=dict(loss_weight=0.1, layer_weights=(1.0, 1.0), temperature=dict(start=0.1, end=0.05)))
train_pipeline = [
    dict(type='LoadRGBImage'),
    dict(type='DualView', num_views=2, transforms=[
        dict(type='CLIPTrainTransform', architecture=architecture, pretrained=pretrained, flip_prob=0)]),
    dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadRGBImage'),
    dict(type='CLIPTestTransform', architecture=architecture, pretrained=pretrained),
    dict(type='PackInputs')]
train_dataloader = dict(batch_size=10, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
default_hooks = dict(logger=dict(interval=1))
{more}
"""


def write_config(folder, name='tiny_digits', epochs=2, more=''):
    """Write a config, and the CLIP that it names, into a folder; return the path of the config.

    Args:
        folder (Path): Made if need be.
        name (str): Stem of the config file.
        epochs (int): Length of the training.
        more (str): Further lines.
    """
    architecture = f'local-dir:{folder / "clip"}'
    if not (folder / 'clip').is_dir():
        save_tiny_clip(folder / 'clip')
    path = folder / f'{name}.py'
    path.write_text(CONFIG.format(configs=CONFIG_FOLDER, architecture=architecture, epochs=epochs, more=more))
    return path


def environment(**more):
    """Return an environment in which subprocesses find this checkout and the helper modules of the tests."""
    search = os.pathsep.join([str(ROOT), str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')])
    return {**os.environ, 'PYTHONPATH': search, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1', **more}
