"""TensorBoard with one option."""

import importlib.util

import pytest
from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_digits import train, write_config

from mmpretrain_mps.engine.command_line import with_tensorboard


def test_one_option_writes_every_loss_and_accuracy_as_event_file(tmp_path):
    train(
        0, 1, write_config(tmp_path, epochs=1, more='num_shots = 1'), str(tmp_path / 'run'), ['tensorboard=True', 'num_shots=1']
    )
    (file,) = (tmp_path / 'run').rglob('events.out.tfevents.*')
    events = EventAccumulator(str(file)).Reload()
    tags = set(events.Tags()['scalars'])
    assert {'loss_ce', 'loss_gram_global', 'loss_sculpt_layer0', 'acc_fused', 'temperature', 'lr', 'accuracy/fused'} <= tags
    assert events.Scalars('loss_ce')[-1].value > 0


def test_a_config_that_writes_events_already_writes_them_once():
    cfg = Config(dict(visualizer=dict(type='UniversalVisualizer', vis_backends=[dict(type='TensorboardVisBackend')])))
    with_tensorboard(cfg)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ['TensorboardVisBackend']


def test_without_the_package_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'tensorboard' else found(name))
    with pytest.raises(ImportError, match=r"needs the package tensorboard.*pip install -e '.\[tensorboard\]'"):
        with_tensorboard(Config(dict()))
