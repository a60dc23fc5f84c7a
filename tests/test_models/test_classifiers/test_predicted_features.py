import copy

import pytest
import torch
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.engine.hooks.reuse_zero_shot_hook import CachedFeatures
from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.classifiers.test_features import NO_FEATURES, TestFeatures

PICTURES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FIELDS = {'tuned_features', 'zero_shot_features', 'tuned_layers', 'zero_shot_layers', 'local_gram_distances'}


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    return MPSCLIPClassifier(
        save_tiny_clip(tmp_path_factory.mktemp('clip') / 'clip'), None, class_names=NAMES, backbone=dict(group_depths=(1, 2, 3))
    ).eval()


@pytest.fixture
def model(untouched):
    return shake(copy.deepcopy(untouched))


@torch.no_grad()
def predict(model, names, indices=range(5)):
    model.test_features = TestFeatures.of(names)
    samples = [DataSample(metainfo=dict(sample_idx=index)) for index in indices]
    return model(PICTURES[list(indices)], samples, mode='predict')


def stack(samples, name):
    return torch.stack([sample.get(name) for sample in samples])


def test_names_are_read_joined_and_refused():
    assert TestFeatures.of(()) == TestFeatures.of(None) == NO_FEATURES
    assert TestFeatures.of('cls') == TestFeatures(cls=True)
    both = TestFeatures.of(['layers', 'local']) | TestFeatures.of(['local:2', 'local:1'])
    assert both == TestFeatures(layers=True, local=(1.0, 2.0))
    assert both.beyond_cls and not TestFeatures.of(['cls']).beyond_cls
    for name in ('patches', 'local:0.5', 'local:x', 'local:', 'cls:2'):
        with pytest.raises(ValueError, match=f"test_features holds '{name}'; expected 'cls', 'layers'"):
            TestFeatures.of(['cls', name])


def test_by_default_nothing_is_computed_or_carried(model, monkeypatch):
    calls, original = [], model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda *args, **kwargs: calls.append(kwargs) or original(*args, **kwargs))
    samples = predict(model, ())
    assert not FIELDS & set(samples[0].keys())
    assert not calls[0]['patch_tokens'] and not calls[0]['intermediate_starts'] and not calls[0]['zero_shot_starts']


def test_features_are_those_of_the_backbone_and_logits_stay(model):
    samples, plain = predict(model, ('cls', 'layers', 'local', 'local:2')), predict(model, ())
    with torch.no_grad():
        features = model.backbone(PICTURES, patch_tokens=True, intermediate_starts=(1, 2, 3))
    assert torch.allclose(stack(samples, 'tuned_features'), features.tuned[:, 0], atol=1e-6)
    assert torch.allclose(stack(samples, 'zero_shot_features'), features.zero_shot[:, 0], atol=1e-6)
    assert torch.allclose(stack(samples, 'tuned_layers'), torch.stack(features.intermediate, 1), atol=1e-6)
    for index, sample in enumerate(samples):
        u, z = features.tuned[index].double(), features.zero_shot[index].double()
        entries = [abs(u[i] @ u[j] - z[i] @ z[j]).item() for i in range(len(u)) for j in range(len(u))]
        assert sample.local_gram_distances[1.0] == pytest.approx(sum(entries) / len(entries), rel=1e-3)
        assert sample.local_gram_distances[2.0] == pytest.approx(sum(x**2 for x in entries) / len(entries), rel=1e-3)
    for name in ('tuned_logits', 'zero_shot_logits', 'pred_score'):
        assert torch.allclose(stack(samples, name), stack(plain, name), atol=1e-4)
    assert all(sample.tuned_features.device.type == 'cpu' for sample in samples)


def test_frozen_layers_are_what_the_tuned_ones_were_before_tuning(model, untouched):
    before, after = predict(untouched, ('layers',)), predict(model, ('layers',))
    assert torch.allclose(stack(before, 'tuned_layers'), stack(before, 'zero_shot_layers'), atol=1e-6)
    assert torch.allclose(stack(after, 'zero_shot_layers'), stack(before, 'zero_shot_layers'), atol=1e-6)
    assert not torch.allclose(stack(after, 'tuned_layers'), stack(before, 'tuned_layers'), atol=1e-2)
    assert stack(after, 'tuned_layers').shape == (5, 3, 8)


@pytest.mark.parametrize('names, runs', [(('cls',), 1), (('cls', 'layers'), 2), (('local',), 2)])
def test_kept_frozen_features_are_used_where_they_suffice(model, monkeypatch, names, runs):
    fresh = predict(model, names)
    counted, original = [], model.backbone._run_zero_shot
    monkeypatch.setattr(model.backbone, '_run_zero_shot', lambda *args: counted.append(1) or original(*args))
    model.cached_zero_shot = CachedFeatures(limit_mb=1)
    predict(model, names)
    kept = predict(model, names)
    assert len(counted) == runs
    for name in FIELDS & set(fresh[0].keys()) - {'local_gram_distances'}:
        assert torch.equal(stack(kept, name), stack(fresh, name))


def test_a_config_can_ask_for_features(tmp_path):
    model = MPSCLIPClassifier(save_tiny_clip(tmp_path), None, class_names=NAMES, test_features='cls').eval()
    with torch.no_grad():
        samples = model(PICTURES, mode='predict')
    assert FIELDS & set(samples[0].keys()) == {'tuned_features', 'zero_shot_features'}


def test_a_start_before_the_tuned_blocks_is_refused_for_the_frozen_branch_too(model):
    with pytest.raises(ValueError, match=r'1 to 3 blocks before the end .* got \(4,\)'):
        model.backbone(PICTURES, zero_shot_starts=(4,))
