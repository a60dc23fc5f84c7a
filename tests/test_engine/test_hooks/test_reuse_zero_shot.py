import functools
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from safetensors.torch import load_file, save_file
from six_pictures import Pictures, build_classifier
from tiny_digits import write_config
from torch.utils.data import Subset

from mmpretrain_mps.engine.hooks import ReuseZeroShotHook
from mmpretrain_mps.engine.hooks.reuse_zero_shot_hook import CachedFeatures
from mmpretrain_mps.models import DualBranchViT
from mmpretrain_mps.models.caches.fingerprint import fingerprint
from mmpretrain_mps.models.caches.tensor_cache import VARIABLE

PICTURES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Silent(Pictures):
    """The same without saying what they are."""

    def __init__(self):
        super().__init__()
        for entry in self.entries:
            entry['img'] = None


class Part(BaseDataset):
    """Three pictures with mmengine's numbers; ``places`` are theirs in ``PICTURES``."""

    def __init__(self, first=0, indices=None):
        self.first = first
        super().__init__(metainfo=dict(classes=('a', 'b')), indices=indices)

    def load_data_list(self):
        return [
            dict(img=np.full((2, 2, 3), index, np.uint8), place=index, gt_label=int(index == self.first))
            for index in range(self.first, self.first + 3)
        ]

    def get_cat_ids(self, index):
        return [self.get_data_info(index)['gt_label']]


@pytest.fixture
def build(tmp_path):
    return functools.partial(build_classifier, tmp_path)


@pytest.fixture
def model(build):
    return build()


@pytest.fixture
def zero_shot_runs(monkeypatch):
    """How often the frozen branch was run, by any model."""
    runs, original = [], DualBranchViT._run_zero_shot
    monkeypatch.setattr(DualBranchViT, '_run_zero_shot', lambda *args: runs.append(1) or original(*args))
    return runs


@torch.no_grad()
def predict(model, indices, named=True):
    samples = [DataSample(metainfo=dict(sample_idx=index) if named else {}) for index in indices]
    return torch.stack([sample.zero_shot_logits for sample in model(PICTURES[indices], samples, mode='predict')])


def look(hook, model, dataset, batches=([0, 1, 2], [3, 4, 5]), stage='val', named=True, fp16=False):
    """Predict as a loop does that calls the hook."""
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset), fp16=fp16)
    runner, outputs = SimpleNamespace(model=model, val_loop=loop, test_loop=loop), []
    getattr(hook, f'before_{stage}_epoch')(runner)
    for index, indices in enumerate(batches):
        getattr(hook, f'before_{stage}_iter')(runner, index, None)
        outputs.append(predict(model, indices, named))
        getattr(hook, f'after_{stage}_iter')(runner, index, None, None)
    getattr(hook, f'after_{stage}_epoch')(runner, {})
    return torch.cat(outputs)


def test_later_validations_run_the_tuned_branch_alone_with_equal_results(model, zero_shot_runs):
    hook, dataset = ReuseZeroShotHook(), Silent()
    first = look(hook, model, dataset)
    assert len(zero_shot_runs) == 2
    assert torch.equal(look(hook, model, dataset), first)
    assert torch.equal(look(hook, model, dataset, ([5, 0], [2, 1, 4, 3]))[[1, 3, 2, 5, 4, 0]], first)
    assert len(zero_shot_runs) == 2
    assert torch.equal(first, torch.cat([predict(model, [0, 1, 2]), predict(model, [3, 4, 5])]))


def test_the_test_set_finds_what_the_validation_of_the_same_pictures_left(model, zero_shot_runs):
    hook = ReuseZeroShotHook()
    first = look(hook, model, Pictures())
    assert torch.equal(look(hook, model, Pictures(), stage='test'), first)
    assert len(zero_shot_runs) == 2


def test_other_pictures_pipelines_precisions_and_unknown_data_sets_have_features_of_their_own(model, zero_shot_runs):
    hook = ReuseZeroShotHook()
    views = [
        (Pictures(), False),
        (Pictures(first=1), False),
        (Pictures(pipeline=[np.flip]), False),
        (Pictures(), True),
        (Silent(), False),
        (Silent(), False),
    ]
    for dataset, fp16 in views:
        look(hook, model, dataset, fp16=fp16)
    assert len(zero_shot_runs) == 2 * len(views)


def look_at_all(hook, model, dataset):
    """Predict one picture after the other, each under the number that its data set gives it."""
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset), fp16=False)
    runner, outputs = SimpleNamespace(model=model, val_loop=loop), []
    hook.before_val_epoch(runner)
    for index in range(len(dataset)):
        entry = dataset[index]
        hook.before_val_iter(runner, index, None)
        sample = DataSample(metainfo=dict(sample_idx=entry['sample_idx']))
        with torch.no_grad():
            outputs.append(model(PICTURES[entry['place']][None], [sample], mode='predict')[0].zero_shot_logits)
        hook.after_val_iter(runner, index, None, None)
    hook.after_val_epoch(runner, {})
    return torch.stack(outputs)


@pytest.mark.parametrize(
    'make, places, runs',
    [
        (lambda: ConcatDataset([Part(0), Part(3)]), [0, 1, 2, 3, 4, 5], 12),
        (lambda: ConcatDataset([Part(3)]), [3, 4, 5], 3),
        (lambda: RepeatDataset(Part(3), 2), [3, 4, 5, 3, 4, 5], 12),
        (lambda: ClassBalancedDataset(Part(0), 0.9), [0, 0, 1, 2], None),
        (lambda: Part(0, indices=[2, 0]), [2, 0], 2),
        (lambda: Subset(Part(0), [2, 0]), [2, 0], 4),
    ],
    ids=['parts', 'one part', 'repeated', 'balanced', 'own indices', 'subset'],
)
def test_wrapped_data_sets_never_get_the_features_of_other_pictures(model, zero_shot_runs, make, places, runs):
    hook, dataset = ReuseZeroShotHook(), make()
    expected = torch.cat([predict(model, [index]) for index in range(6)])
    zero_shot_runs.clear()
    for _ in range(2):
        shown = [dataset[index]['place'] for index in range(len(dataset))]
        assert sorted(set(shown)) == sorted(set(places)) and len(shown) >= len(places)
        assert torch.equal(look_at_all(hook, model, dataset), expected[shown])
    # Where a number names one picture alone, the second look runs nothing; elsewhere both looks run everything.
    assert len(zero_shot_runs) == (2 * len(dataset) if runs is None else runs)


def test_subsets_of_one_data_set_have_features_of_their_own(model):
    hook, whole = ReuseZeroShotHook(), Part(0)
    for indices in ([0, 1], [1, 2]):
        assert torch.equal(
            look_at_all(hook, model, whole.get_subset(indices)), torch.cat([predict(model, [index]) for index in indices])
        )


def test_a_test_of_its_own_keeps_nothing(model, zero_shot_runs):
    hook = ReuseZeroShotHook()
    look(hook, model, Pictures(), stage='test')
    look(hook, model, Pictures(), stage='test')
    assert len(zero_shot_runs) == 4


def test_outside_of_a_validation_nothing_is_kept_or_used(model, zero_shot_runs):
    look(ReuseZeroShotHook(), model, Silent())
    predict(model, [0, 1, 2])
    assert len(zero_shot_runs) == 3 and model.cached_zero_shot is None


def test_the_limit_holds_and_unknown_samples_are_computed(model, zero_shot_runs):
    hook, dataset = ReuseZeroShotHook(limit_mb=3 * 8 * 4 / 2**20), Silent()
    look(hook, model, dataset)
    look(hook, model, dataset)
    assert len(zero_shot_runs) == 3  # the first three pictures were kept
    look(hook, model, dataset, ([0, 1, 2],), named=False)
    assert len(zero_shot_runs) == 4
    with pytest.raises(ValueError, match='not be negative, but are -1 and 2048'):
        ReuseZeroShotHook(limit_mb=-1)


def test_samples_that_come_again_count_once():
    kept, features = CachedFeatures(limit_mb=3 * 8 * 4 / 2**20), torch.arange(24.0).view(3, 8)
    kept.put([0, 1, 0], features[[0, 1, 0]])
    kept.changed = False
    kept.put([1, 0], features[[1, 0]])
    assert not kept.changed and len(kept) == 2
    kept.put([1, 2], features[1:])
    assert kept.changed and torch.equal(kept.get([0, 1, 2], 'cpu'), features)
    kept.put([3], features[:1])
    assert len(kept) == 3 and kept.get([3], 'cpu') is None


def test_on_disk_they_outlive_the_run(build, zero_shot_runs, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'cache'))
    first = look(ReuseZeroShotHook(cache=True), build(), Pictures(), stage='test')
    assert len(zero_shot_runs) == 2
    (file,) = (tmp_path / 'cache' / 'zero_shot').iterdir()
    assert torch.equal(look(ReuseZeroShotHook(cache=True), build(), Pictures(), stage='test'), first)
    assert len(zero_shot_runs) == 2
    look(ReuseZeroShotHook(cache=True), build(seed=1), Pictures())  # another base model
    look(ReuseZeroShotHook(), build(), Pictures())  # off by default
    assert len(zero_shot_runs) == 6
    file.write_bytes(file.read_bytes()[:-1])
    assert torch.equal(look(ReuseZeroShotHook(cache=True), build(), Pictures()), first)
    assert len(zero_shot_runs) == 8
    kept = load_file(file)
    forged = dict(kept, features=2 * kept['features'])
    save_file(forged, file, metadata={'sha256': fingerprint(forged)})
    assert torch.equal(look(ReuseZeroShotHook(cache=True), build(), Pictures()), first)
    assert len(zero_shot_runs) == 10


def test_a_file_that_changed_is_another_picture(model, zero_shot_runs, tmp_path):
    look(ReuseZeroShotHook(cache=str(tmp_path / 'kept')), model, Pictures(folder=tmp_path))
    pictures = Pictures(folder=tmp_path)
    for index in range(6):
        os.utime(tmp_path / f'{index}.png', (index, index))
    look(ReuseZeroShotHook(cache=str(tmp_path / 'kept')), model, pictures)
    assert len(zero_shot_runs) == 4 and len(list((tmp_path / 'kept').iterdir())) == 2
    look(ReuseZeroShotHook(cache=str(tmp_path / 'kept')), model, pictures)
    assert len(zero_shot_runs) == 4


@pytest.mark.parametrize(
    'dataset', [object(), Silent(), Pictures(pipeline=[lambda results: results])], ids=['no data set', 'data', 'pipeline']
)
def test_what_has_no_identity_is_not_written(model, dataset, tmp_path):
    look(ReuseZeroShotHook(cache=str(tmp_path / 'kept')), model, dataset)
    assert not (tmp_path / 'kept').exists()


def test_the_folder_stays_below_its_limit_without_what_was_used_longest_ago(model, tmp_path):
    hook = ReuseZeroShotHook(cache=str(tmp_path), cache_limit_mb=1100 / 2**20)  # two files of 6 x (8 x 4 + 8) bytes
    names = []
    for first in range(3):
        look(hook, model, Pictures(first=first))
        (new,) = {path.name for path in tmp_path.glob('*.safetensors')} - set(names)
        names.append(new)
        os.utime(tmp_path / new, (first, first))
    kept = {path.name for path in tmp_path.glob('*.safetensors')}
    assert kept == set(names[1:]) and sum(path.stat().st_size for path in tmp_path.glob('*.safetensors')) <= 1100


def test_a_second_run_with_targets_does_not_run_the_frozen_branch(tmp_path, zero_shot_runs):
    config = write_config(
        tmp_path,
        more="test_cfg = dict(type='DomainGeneralizationLoop', targets=dict("
        "again=dict(type='Digits', subset='val'), blur=dict(type='CorruptedDigits', corruption='blur')))",
    )

    def test():
        cfg = Config.fromfile(config)
        cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path / 'run'), 'ERROR', os.urandom(8).hex()
        hook = next(hook for hook in cfg.custom_hooks if hook.type == 'ReuseZeroShotHook')
        hook.cache = str(tmp_path / 'kept')
        for key in (
            'train_dataloader',
            'train_cfg',
            'optim_wrapper',
            'param_scheduler',
            'val_dataloader',
            'val_cfg',
            'val_evaluator',
        ):
            cfg[key] = None
        return Runner.from_cfg(cfg).test()

    first = test()
    assert len(zero_shot_runs) == 9 + 4 + 9 and len(list((tmp_path / 'kept').iterdir())) == 3
    assert test() == first
    assert len(zero_shot_runs) == 22
