from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, TensorDataset

from mmpretrain_mps.engine.hooks import EqualBatchesHook
from mmpretrain_mps.engine.hooks.equal_batches_hook import has_equal_batches


def loader(samples, batch_size=4, **overrides):
    dataset = TensorDataset(torch.zeros(samples))
    sampler = DefaultSampler(dataset, shuffle=False, seed=0, **overrides)
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler)


@pytest.mark.parametrize('samples, round_up, expected',
                         [(10, True, True), (9, True, True), (8, False, True), (15, False, False)])
def test_batches_are_equal_where_the_sampler_rounds_up_or_the_samples_divide(samples, round_up, expected):
    assert has_equal_batches(loader(samples, round_up=round_up), world_size=4) is expected


def test_a_batch_that_some_processes_do_not_have_is_refused_instead_of_waited_for():
    with pytest.raises(ValueError, match='17 samples .* 4 processes in batches of 4 .* 2 batches .* and 1 for others'):
        has_equal_batches(loader(17, round_up=False), world_size=4)
    assert has_equal_batches(loader(17, round_up=False), world_size=1)


def test_of_an_unknown_sampler_nothing_is_assumed():
    dataset = TensorDataset(torch.zeros(8))
    assert not has_equal_batches(DataLoader(dataset, batch_size=4), world_size=2)


def test_the_hook_tells_the_model():
    model = SimpleNamespace(equal_batches=False)
    EqualBatchesHook().before_train(SimpleNamespace(model=model, train_dataloader=loader(5)))
    assert model.equal_batches
