"""Weights of a checkpoint against the model that they are loaded into; empty axes have any size."""

import functools
import json

import pytest
import torch
from tiny_clip import NAMES, save_tiny_clip
from torch import nn

from mmpretrain_mps.models.classifiers.tac import TACClassifier
from mmpretrain_mps.utils.fitting import check_training_state, check_weights


def model_of(*shape):
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(shape))
    return model


def describe(*names):
    return torch.frombuffer(bytearray(json.dumps(dict(class_names=names)).encode()), dtype=torch.uint8)


@pytest.mark.parametrize('ours, theirs', [((3, 4), (3, 4)), ((0, 4), (5, 4)), ((0, 0, 4), (5, 2, 4)), ((5, 0, 4), (5, 2, 4))])
def test_empty_axes_take_any_size(ours, theirs):
    state = dict(weight=torch.ones(theirs))
    assert check_weights(dict(state_dict=state), model_of(*ours), 'x.pth') == state


@pytest.mark.parametrize(
    'ours, theirs, expected',
    [
        ((3, 4), (3, 5), r'\(3, 5\), expected \(3, 4\)'),
        ((0, 4), (2, 5), r"\(2, 5\), expected \('classes', 4\)"),
        ((5, 0, 4), (6, 2, 4), r"\(6, 2, 4\), expected \(5, 'any', 4\)"),
        ((0, 4), (5, 1, 4), r"expected \('classes', 4\)"),
    ],
)
def test_the_others_do_not(ours, theirs, expected):
    with pytest.raises(ValueError, match=f'checkpoint x.pth: weight has the shape .*{expected}'):
        check_weights(dict(state_dict=dict(weight=torch.ones(theirs))), model_of(*ours), 'x.pth')


def test_the_description_says_how_many_classes_there_are():
    state = dict(weight=torch.ones(3, 4), _extra_state=describe('a', 'b'))
    with pytest.raises(ValueError, match=r'has the shape \(3, 4\), expected \(2, 4\)'):
        check_weights(dict(state_dict=state), model_of(0, 4), 'x.pth')


def test_weights_that_the_model_does_not_have_are_those_of_another():
    state = dict(weight=torch.ones(2, 4), more=torch.ones(1), _extra_state=describe('a', 'b'))
    with pytest.raises(ValueError, match='has 1 weights that the model has not, among them more: it is of another model'):
        check_weights(dict(state_dict=state), model_of(0, 4), 'x.pth')


def test_states_of_schedules_are_needed_where_there_are_schedules():
    checkpoint = dict(
        meta=dict(epoch=1, iter=3),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[]),
    )
    check_training_state(checkpoint, None, 'x.pth', 0)
    with pytest.raises(ValueError, match='its param_schedulers is missing'):
        check_training_state(checkpoint, None, 'x.pth')
    with pytest.raises(ValueError, match='it has the states of 1 schedules, but the run has 2'):
        check_training_state({**checkpoint, 'param_schedulers': [{}]}, None, 'x.pth', 2)


def test_an_empty_axis_that_is_not_of_the_classes_comes_with_the_checkpoint(tmp_path):
    """TAC has as many centres as clusters, whatever the number of classes."""
    architecture = save_tiny_clip(tmp_path / 'clip', text=dict(width=16, heads=2, layers=2))
    build = functools.partial(TACClassifier, architecture, None, num_clusters=2, num_prompts=1)
    trained = build(class_names=NAMES)
    trained.cluster_centers = torch.ones(2, 8)
    state = check_weights(dict(state_dict=trained.state_dict()), build(), 'file.pth')
    assert len(state['cluster_centers']) == 2 and len(state['token_ids']) == 3
    state['token_ids'] = state['token_ids'][:2]
    with pytest.raises(ValueError, match=r'token_ids has the shape \(2, 77\), expected \(3, 77\)'):
        check_weights(dict(state_dict=state), build(), 'file.pth')
