"""Parameters with a row for each class, whose number is known only once the model is wrapped for processes."""

import pytest
import tiny_digits
import torch
from many_ranks import run_ranks

from mmpretrain_mps.engine.sharding import ShardedDataParallel
from mmpretrain_mps.models import CoOpClassifier

MODEL = """
model = dict(type='CoOpClassifier', architecture=architecture, pretrained=pretrained, num_context=2,
             class_specific={own}, logit_scale=20.0)
optim_wrapper = dict(optimizer=dict(lr=0.1))
"""
# 30 pictures in three common batches of 10.
OPTIONS = ('num_shots=3', 'seed=2')
VARIANTS = dict(
    own=('True', ''), shared=('False', ''), sharded=('False', "model_wrapper_cfg = dict(type='ShardedDataParallel')\n")
)


def train_all(rank, num_ranks, folder):
    for name in VARIANTS if num_ranks > 1 else ('own', 'shared'):
        tiny_digits.train(
            rank,
            num_ranks,
            f'{folder}/{name}.py',
            f'{folder}/{name}{num_ranks}',
            (*OPTIONS, f'train_dataloader.batch_size={10 // num_ranks}'),
        )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('classes')
    for name, (own, more) in VARIANTS.items():
        tiny_digits.write_config(folder, name, epochs=2, more=MODEL.format(own=own) + more)
    train_all(0, 1, str(folder))
    run_ranks(train_all, 2, folder / 'meeting', str(folder))
    return folder


@pytest.mark.parametrize('ours, expected', [('own2', 'own1'), ('shared2', 'shared1'), ('sharded2', 'shared1')])
def test_two_processes_train_what_one_trains(folder, ours, expected):
    states = [torch.load(folder / name / 'epoch_2.pth', weights_only=True) for name in (ours, expected)]
    contexts = [state['state_dict']['context'] for state in states]
    assert contexts[0].shape == ((10, 2, 8) if ours == 'own2' else (2, 8)) and contexts[0].std() > 0.01
    torch.testing.assert_close(*contexts, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*(state['optimizer']['state'] for state in states), rtol=1e-4, atol=1e-6)


def test_sharding_wants_to_know_the_classes_first(tiny_digits_clip):
    with pytest.raises(ValueError, match='CoOpClassifier learns something of each class.*model.class_names='):
        ShardedDataParallel(CoOpClassifier(tiny_digits_clip, None, class_specific=True))


@pytest.fixture
def tiny_digits_clip(folder):
    return f'local-dir:{folder / "clip"}'
