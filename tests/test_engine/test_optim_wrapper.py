"""Mixed precision without a GPU (tests/gpu has the other part), and optimizers without frozen parameters."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from tiny_run import TinyClassifier

from mmpretrain_mps.engine import DeviceAmpOptimWrapper, TrainableOptimWrapperConstructor

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='is about machines without a GPU')


def wrapper_over(parameter, **arguments):
    return DeviceAmpOptimWrapper(optimizer=torch.optim.SGD([parameter], lr=0.5, momentum=0.9), **arguments)


@on_cpu
def test_on_the_cpu_products_are_bfloat16_and_weights_stay_float32():
    model = torch.nn.Linear(4, 2)
    wrapper = DeviceAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    # The gradient of the sum of 3 outputs is 3 for every weight: no loss scale is left in it.
    assert torch.equal(model.weight, before - 0.5 * 3)


@on_cpu
def test_the_state_comes_back_from_either_kind_of_wrapper():
    parameter = torch.nn.Parameter(torch.ones(2))
    wrapper = wrapper_over(parameter)
    wrapper.update_params((parameter**2).sum())
    state = wrapper.state_dict()
    for other in (
        wrapper_over(torch.nn.Parameter(torch.ones(2))),
        OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)),
    ):
        other.load_state_dict(dict(state))
        assert other.optimizer.param_groups[0]['lr'] == 0.5
        assert other.optimizer.state[other.optimizer.param_groups[0]['params'][0]]['momentum_buffer'].tolist() == [2, 2]


def test_a_scale_that_was_never_saved_stays_at_its_start():
    wrapper = wrapper_over(torch.nn.Parameter(torch.ones(2)))
    state = wrapper.state_dict()
    state['loss_scaler'] = {}
    wrapper.load_state_dict(state)
    assert 'loss_scaler' in state  # the caller's dict is not changed


@on_cpu
def test_arguments_that_the_device_cannot_do_are_refused():
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="dtype='float16' needs a GPU"):
        wrapper_over(parameter, dtype='float16')
    with pytest.raises(ValueError, match=r"dtype is 'half', expected one of \['bfloat16', 'float16'\]"):
        wrapper_over(parameter, dtype='half')
    with pytest.raises(ValueError, match="loss_scale is 'static', expected 'dynamic'"):
        wrapper_over(parameter, loss_scale='static')


@pytest.mark.parametrize('paramwise', [None, dict(bias_decay_mult=0.0)])
def test_frozen_parameters_do_not_reach_the_optimizer(paramwise):
    model = TinyClassifier()
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1))
    wrapper = TrainableOptimWrapperConstructor(cfg, paramwise)(model)
    found = [parameter for group in wrapper.optimizer.param_groups for parameter in group['params']]
    assert {id(parameter) for parameter in found} == {id(model.tuned.weight), id(model.tuned.bias)}
    if paramwise:
        assert [group['weight_decay'] for group in wrapper.optimizer.param_groups] == [0.1, 0.0]


def test_a_model_with_nothing_to_train_is_refused():
    model = TinyClassifier().requires_grad_(False)
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    with pytest.raises(ValueError, match='TinyClassifier has no parameter that requires a gradient'):
        TrainableOptimWrapperConstructor(cfg)(model)
