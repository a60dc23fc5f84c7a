"""Features and predictions of pictures that were not trained on, and every reason not to have them."""

import copy

import numpy as np
import pytest
import torch
from tiny_run import TinyClassifier

from mmpretrain_mps.analysis.held_out import even_choice, extract, load_model
from mmpretrain_mps.analysis.work_dir import read_work_dir


@pytest.fixture(scope='module')
def found(digits_work_dir):
    return read_work_dir(digits_work_dir)


@pytest.fixture(scope='module')
def loaded(found):
    return load_model(found.config, found.checkpoint)


@pytest.fixture
def change(found, tmp_path):
    """Returns a function that saves a changed copy of the checkpoint and returns its path."""

    def save(**changes):
        content = torch.load(found.checkpoint, weights_only=True)
        for name, value in changes.items():
            content[name] = value(content[name])
        torch.save(content, tmp_path / 'changed.pth')
        return tmp_path / 'changed.pth'

    return save


def without(*names):
    """Return a function that leaves entries out of a dict."""
    return lambda entries: {name: value for name, value in entries.items() if name not in names}


def test_pictures_are_chosen_evenly_and_sorted_by_class():
    indices, labels = np.arange(12), np.array([2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    assert even_choice(indices, labels).tolist() == [*range(1, 9), 9, 10, 11, 0]
    chosen = even_choice(indices, labels, 7)
    assert labels[chosen].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert (np.diff(chosen[:3]) > 0).all() and np.array_equal(chosen, even_choice(indices, labels, 7))
    assert any(not np.array_equal(chosen, even_choice(indices, labels, 7, seed)) for seed in range(1, 5))


def test_the_predictions_are_those_that_the_test_counted(found, loaded):
    model, origin = loaded
    assert not model.training and origin['dataset_name'] == 'Digits'
    held_out = extract(found.config, model, origin)
    assert held_out.dataset == 'Digits' and held_out.total == len(held_out.labels) == 899
    for branch in ('fused', 'tuned', 'zero_shot'):
        assert held_out.accuracy(branch) == pytest.approx(found.test_metrics[f'accuracy/{branch}'], abs=1e-3)
    assert not np.allclose(held_out.tuned, held_out.zero_shot)
    for features in (held_out.tuned, held_out.zero_shot, held_out.texts):
        assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_of_a_bounded_number_each_class_has_as_many(found, loaded):
    held_out = extract(found.config, *loaded, split='val', max_pictures=20)
    assert held_out.labels.tolist() == np.repeat(np.arange(10), 2).tolist() and held_out.total == 355
    everything = extract(found.config, *loaded, split='val')
    # The same pictures give the same features, whichever are beside them in a batch.
    for own in held_out.tuned:
        assert np.abs(everything.tuned - own).max(1).min() < 1e-5
    few = held_out.rows(np.array([3, 1]))
    assert few.labels.tolist() == [1, 0] and np.array_equal(few.logits['fused'], held_out.logits['fused'][[3, 1]])
    assert few.class_names == held_out.class_names and np.array_equal(few.texts, held_out.texts)


def test_another_split_is_refused_since_its_pictures_may_have_been_trained_on(found, loaded):
    model, origin = loaded
    with pytest.raises(
        ValueError,
        match=r'Digits is split otherwise than it was for the training \(split_id '
        r'cd3b589e0d40, the checkpoint says ffffffffffff\)',
    ):
        extract(found.config, model, {**origin, 'split_id': 'f' * 64})
    # Another data set is transfer, and a checkpoint that does not say cannot be compared.
    for other in ({**origin, 'split_id': 'f' * 64, 'dataset_name': 'Letters'}, {}):
        assert len(extract(found.config, model, other, max_pictures=10).labels) == 10


def test_a_split_that_the_config_does_not_have_is_named(found, loaded):
    cfg = copy.deepcopy(found.config)
    cfg.val_dataloader = None
    with pytest.raises(ValueError, match='the config has no val_dataloader'):
        extract(cfg, *loaded, split='val')


def test_other_classes_than_those_of_the_checkpoint_are_named(found, loaded):
    cfg = copy.deepcopy(found.config)
    cfg.test_dataloader.dataset.class_names = [*loaded[0].class_names[:9], 'ten']
    with pytest.raises(ValueError, match="class 9 is 'ten' in the data set, but 'nine' in the checkpoint"):
        extract(cfg, *loaded)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(state_dict=lambda state: None), r'checkpoint changed\.pth has no state_dict'),
        (dict(state_dict=without('_extra_state')), 'does not say which base model it belongs to'),
        (
            dict(state_dict=without('backbone.tuned.proj')),
            r'checkpoint changed\.pth lacks 1 of the 31 weights of the model, among them backbone\.tuned\.proj',
        ),
        (
            dict(state_dict=lambda state: {**state, 'backbone.tuned.proj': torch.zeros(3, 3)}),
            r'checkpoint changed\.pth: backbone\.tuned\.proj has the shape \(3, 3\), expected \(16, 8\)',
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason(found, change, changes, message):
    with pytest.raises(ValueError, match=message):
        load_model(found.config, change(**changes))


def test_a_checkpoint_without_origin_is_taken(found, change):
    assert load_model(found.config, change(meta=without('origin')))[1] == {}


def test_a_checkpoint_that_is_broken_or_not_there_is_told(found, tmp_path):
    (tmp_path / 'broken.pth').write_bytes(found.checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r'broken\.pth \(1000 bytes\) cannot be read'):
        load_model(found.config, tmp_path / 'broken.pth')
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth does not exist'):
        load_model(found.config, tmp_path / 'nowhere.pth')


def test_a_model_without_two_branches_is_told(found):
    cfg = copy.deepcopy(found.config)
    cfg.model = dict(type=TinyClassifier.__name__)
    with pytest.raises(ValueError, match="no features before and after tuning: the model is 'TinyClassifier'"):
        load_model(cfg, found.checkpoint)


def test_a_config_of_something_else_is_told(found, monkeypatch):
    cfg = copy.deepcopy(found.config)
    cfg.model = None
    with pytest.raises(ValueError, match='the config has no model'):
        load_model(cfg, found.checkpoint)
    cfg.custom_imports = dict(imports=['no_such_module'])
    with pytest.raises(ValueError, match="imports 'no_such_module', which is no part of mmpretrain_mps"):
        load_model(cfg, found.checkpoint)
    monkeypatch.setenv('MMPRETRAIN_MPS_TRUST', '1')
    with pytest.raises(ImportError, match='what the config imports is not to be found: .*no_such_module'):
        load_model(cfg, found.checkpoint)


def test_missing_weights_of_the_base_model_are_told(found, tmp_path):
    cfg = copy.deepcopy(found.config)
    cfg.model.update(architecture='ViT-B-16', pretrained=str(tmp_path / 'gone.pt'))
    with pytest.raises(FileNotFoundError, match=r'gone\.pt'):
        load_model(cfg, found.checkpoint)
