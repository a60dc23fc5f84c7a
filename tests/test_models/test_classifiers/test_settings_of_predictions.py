"""What decides predictions beside the weights is stated in checkpoints, and another value is refused."""

import json

import pytest
import torch
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.classifiers.description import DESCRIPTION_KEY


@pytest.fixture(scope='module')
def build(tmp_path_factory):
    architecture = save_tiny_clip(tmp_path_factory.mktemp('clip'))
    return lambda **changes: MPSCLIPClassifier(architecture, None, class_names=NAMES, **changes)


def changed(state, **changes):
    """Return a state dict whose description says something else of predictions; None takes all of that away."""
    description = json.loads(bytes(state[DESCRIPTION_KEY].tolist()))
    description['prediction'].update(changes)
    if None in changes.values():
        del description['prediction']
    return {**state, DESCRIPTION_KEY: torch.frombuffer(bytearray(json.dumps(description).encode()), dtype=torch.uint8)}


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(head=dict(alpha=0.7)), 'model.head.alpha=0.3, but this model has 0.7; leave it at 0.3'),
        (dict(head=dict(fusion='additive')), 'model.head.fusion=convex, but this model has additive'),
        (dict(logit_scale=50.0), 'but this model has 50.0'),
        (dict(normalize_templates=False), 'model.normalize_templates=True, but this model has False'),
        (
            dict(data_preprocessor=dict(type='CLIPDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255])),
            'model.data_preprocessor.mean',
        ),
    ],
)
def test_another_setting_is_refused_unless_it_is_meant(build, changes, message):
    state = build(head=dict(alpha=0.3)).state_dict()
    with pytest.raises(ValueError, match=message):
        build(**changes).load_state_dict(state)
    meant = build(**changes, allow_other_prediction=True)
    meant.load_state_dict(state)
    if 'head' in changes:
        assert meant.head.alpha == changes['head'].get('alpha', 0.3)


def test_checkpoints_from_before_load_and_last_digits_do_not_count(build):
    state = build().state_dict()
    build(head=dict(alpha=0.9)).load_state_dict(changed(state, none=None))
    build().load_state_dict(changed(state, **{'model.logit_scale': build().logit_scale * (1 + 1e-7)}))
    with pytest.raises(ValueError, match='model.logit_scale'):
        build().load_state_dict(changed(state, **{'model.logit_scale': build().logit_scale * (1 + 1e-4)}))
