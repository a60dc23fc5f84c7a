import gc

import pytest
import torch
from recorded_operators import RecordOperators
from torch import nn

from mmpretrain_mps.models.backbones import frozen_weights
from mmpretrain_mps.models.backbones.frozen_weights import derived, for_autocast, nothing_remembered, remembered_apart
from mmpretrain_mps.models.backbones.linear import linear


@pytest.fixture(autouse=True)
def autocast():
    with remembered_apart(), torch.autocast('cpu', dtype=torch.bfloat16):
        yield


@pytest.fixture
def weight():
    return nn.Parameter(torch.randn(4, 3), requires_grad=False)


def test_a_frozen_weight_is_cast_once(weight):
    inputs = torch.randn(2, 3)
    expected = nn.functional.linear(inputs, weight)
    names = []
    for _ in range(2):
        with RecordOperators() as recorded:
            assert torch.equal(linear(inputs, weight), expected)
        names.append(recorded.names.count('_to_copy'))
    assert names == [2, 1]  # of the weight and the inputs, of the inputs


def test_a_trained_weight_and_what_is_no_weight_are_left_to_autocast(weight):
    trained, slice_of_one = nn.Parameter(torch.randn(4, 3)), weight[:2]
    for tensor in (trained, slice_of_one, weight.double(), None):
        assert for_autocast(tensor) is tensor
    assert not frozen_weights._derived


def test_without_autocast_nothing_is_cast(weight):
    with torch.autocast('cpu', enabled=False):
        assert for_autocast(weight) is weight


def test_another_type_is_another_cast(weight):
    assert for_autocast(weight).dtype == torch.bfloat16
    with torch.autocast('cpu', dtype=torch.float16):
        assert for_autocast(weight).dtype == torch.float16
    assert for_autocast(weight).dtype == torch.bfloat16


def _copy_in_place(weight, new):
    with torch.no_grad():
        weight.copy_(new)


def _load(weight, new):
    module = nn.Module()
    module.weight = weight
    module.load_state_dict(dict(weight=new))


def _give_other_memory(weight, new):
    weight.data = new


@pytest.mark.parametrize('change', [_copy_in_place, _load, _give_other_memory])
def test_a_changed_weight_is_cast_again(weight, change):
    for_autocast(weight)
    change(weight, torch.ones(4, 3))
    assert torch.equal(for_autocast(weight), torch.ones(4, 3, dtype=torch.bfloat16))


def test_other_memory_at_the_same_place_is_not_taken_for_the_old_one(weight):
    for value in range(20):  # freed memory is given out again at once
        weight.data = torch.full((4, 3), float(value))
        assert for_autocast(weight)[0, 0] == value


def test_it_is_let_go_with_the_weight(weight):
    for_autocast(weight)
    assert len(frozen_weights._derived) == 1
    del weight
    gc.collect()
    alone = nn.Parameter(torch.randn(4, 3), requires_grad=False)
    for_autocast(alone)
    del alone
    gc.collect()
    assert len(frozen_weights._derived) <= 1  # the fixture holds the first


def test_forgetting_makes_up_for_a_change_that_is_not_counted(weight):
    for_autocast(weight)
    weight.data.fill_(1)
    frozen_weights.forget()
    assert (for_autocast(weight) == 1).all()


def test_what_was_cast_in_inference_mode_serves_a_training(weight):
    inputs = torch.randn(2, 3, requires_grad=True)
    with torch.inference_mode():
        linear(inputs.detach(), weight)  # of the inputs themselves autocast of older releases remembers a cast without gradient
    linear(inputs, weight).float().sum().backward()
    expected = weight.bfloat16().float().sum(0).expand(2, 3)
    torch.testing.assert_close(inputs.grad, expected, rtol=2**-7, atol=2**-7)


def test_nothing_is_remembered_where_weights_come_and_go(weight):
    with nothing_remembered():
        assert for_autocast(weight) is weight
        assert derived(weight, 'twice', lambda: 2 * weight) is not derived(weight, 'twice', lambda: 2 * weight)
    assert not frozen_weights._derived


def test_a_graph_holds_no_cast_of_today(weight):
    compiled = torch.compile(lambda inputs: linear(inputs, weight), backend='eager', fullgraph=True)
    inputs = torch.randn(2, 3)
    before = compiled(inputs)
    with torch.no_grad():
        weight.mul_(2)
    assert torch.equal(compiled(inputs), 2 * before)
