import pytest
import torch

from mmpretrain_mps.models.backbones.layer_groups import check_partition, set_trainable, split_depth


@pytest.fixture
def model():
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False))


def test_a_complete_partition_passes(model):
    check_partition(model.named_parameters(), dict(a=model[0].parameters(), b=model[1].parameters()))


def test_an_uncovered_parameter_is_named(model):
    with pytest.raises(ValueError, match=r'1 do not: 1.weight \(in no group\)'):
        check_partition(model.named_parameters(), dict(a=model[0].parameters()))


def test_a_doubly_owned_parameter_is_named_with_its_owners(model):
    with pytest.raises(ValueError, match=r'1.weight \(in a and b\)'):
        check_partition(model.named_parameters(), dict(a=model.parameters(), b=model[1].parameters()))


def test_locking_is_idempotent(model):
    groups = dict(a=list(model[0].parameters()), b=list(model[1].parameters()))
    for _ in range(2):
        set_trainable(groups, ('b',))
        assert [p.requires_grad for p in model.parameters()] == [False, False, True]
    set_trainable(groups, ('a',))
    assert [p.requires_grad for p in model.parameters()] == [True, True, False]


def test_an_unknown_group_is_an_error(model):
    with pytest.raises(ValueError, match=r"unknown parameter groups \['c'\]"):
        set_trainable(dict(a=[], b=[]), ('c',))


@pytest.mark.parametrize('blocks, expected', [(12, (4, 4, 4)), (24, (8, 8, 8)), (32, (12, 10, 10)), (3, (1, 1, 1))])
def test_depth_is_split_in_thirds(blocks, expected):
    assert split_depth(blocks) == expected
