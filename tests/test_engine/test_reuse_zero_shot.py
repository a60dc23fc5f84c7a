from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.engine.hooks import ReuseZeroShotHook
from mmpretrain_mps.models import MPSCLIPClassifier

PICTURES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(tmp_path):
    return shake(MPSCLIPClassifier(save_tiny_clip(tmp_path / 'clip'), None, class_names=NAMES)).eval()


@pytest.fixture
def zero_shot_runs(model, monkeypatch):
    """How often the frozen branch was run."""
    runs, original = [], model.backbone._run_zero_shot
    monkeypatch.setattr(model.backbone, '_run_zero_shot', lambda *args: runs.append(1) or original(*args))
    return runs


@torch.no_grad()
def predict(model, indices, named=True):
    samples = [DataSample(metainfo=dict(sample_idx=index) if named else {}) for index in indices]
    return torch.stack([sample.zero_shot_logits for sample in model(PICTURES[indices], samples, mode='predict')])


def validate(hook, model, dataset, batches=([0, 1, 2], [3, 4, 5])):
    runner = SimpleNamespace(model=model, val_dataloader=SimpleNamespace(dataset=dataset))
    hook.before_val_epoch(runner)
    outputs = [predict(model, indices) for indices in batches]
    hook.after_val_epoch(runner)
    return torch.cat(outputs)


def test_later_validations_run_the_tuned_branch_alone_with_equal_results(model, zero_shot_runs):
    hook, dataset = ReuseZeroShotHook(), object()
    first = validate(hook, model, dataset)
    assert len(zero_shot_runs) == 2
    assert torch.equal(validate(hook, model, dataset), first)
    assert torch.equal(validate(hook, model, dataset, ([5, 0], [2, 1, 4, 3]))[[1, 3, 2, 5, 4, 0]], first)
    assert len(zero_shot_runs) == 2
    assert torch.equal(first, torch.cat([predict(model, [0, 1, 2]), predict(model, [3, 4, 5])]))


def test_another_data_set_has_features_of_its_own(model, zero_shot_runs):
    hook = ReuseZeroShotHook()
    validate(hook, model, object())
    validate(hook, model, object())
    assert len(zero_shot_runs) == 4


def test_outside_of_a_validation_nothing_is_kept_or_used(model, zero_shot_runs):
    validate(ReuseZeroShotHook(), model, object())
    predict(model, [0, 1, 2])
    assert len(zero_shot_runs) == 3 and model.kept_zero_shot is None


def test_the_limit_holds_and_unknown_samples_are_computed(model, zero_shot_runs):
    hook, dataset = ReuseZeroShotHook(limit_mb=3 * 8 * 4 / 2**20), object()
    validate(hook, model, dataset)
    validate(hook, model, dataset)
    assert len(zero_shot_runs) == 3  # the first three pictures were kept
    hook.before_val_epoch(SimpleNamespace(model=model, val_dataloader=SimpleNamespace(dataset=dataset)))
    predict(model, [0, 1, 2], named=False)
    assert len(zero_shot_runs) == 4
    with pytest.raises(ValueError, match='not be negative, but is -1'):
        ReuseZeroShotHook(limit_mb=-1)
