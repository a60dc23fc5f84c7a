"""Whole runs of the classifier on scikit-learn's digits, with a random CLIP so small that they fit into tests."""

import argparse
import os
import uuid
from pathlib import Path
from unittest import mock

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


def train(rank, num_ranks, config, work_dir, options=(), resume=None):
    """Train a config as ``tools/train.py`` does, alone or in one of the processes of :func:`many_ranks.run_ranks`.

    Returns:
        dict: ``iterations``, the count at the end.
    """
    from mmengine.config import DictAction

    from mmpretrain_mps.engine import command_line, launch

    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    chosen = dict(option.split('=', 1) for option in options)
    arguments = parser.parse_args(['--work-dir', work_dir, '--launcher', 'pytorch' if num_ranks > 1 else 'none'])
    arguments.cfg_options = {name: DictAction._parse_iterable(value) for name, value in chosen.items()}
    cfg = command_line.read_config(config, arguments)
    cfg.experiment_name = uuid.uuid4().hex  # mmengine shares histories between runs of one name
    if resume:
        command_line.resume_from(cfg, resume)
    if num_ranks > 1:
        launch.fit_wrapper(cfg)
    # mmengine formats the text of the whole config for every checkpoint and log, which takes longer than these runs.
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        runner = command_line.build_runner(cfg, ('train_dataloader', 'val_dataloader'))
        runner.train()
    return dict(iterations=runner.iter)


def environment(**more):
    """Return an environment in which subprocesses find this checkout and the helper modules of the tests."""
    search = os.pathsep.join([str(ROOT), str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')])
    return {**os.environ, 'PYTHONPATH': search, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1', **more}
