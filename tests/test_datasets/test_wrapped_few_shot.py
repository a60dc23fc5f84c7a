"""Few shots inside of mmengine's wrappers, and out of them."""

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader, Subset

from mmpretrain_mps.datasets import FewShotDataset, FewShotSampler

PIPELINE = [dict(type='LoadRGBImage'), dict(type='RandomResizedCrop', scale=6, backend='pillow'), dict(type='PackInputs')]


@pytest.fixture(autouse=True)
def scope():
    """mmengine's wrappers find data sets of mmpretrain as they do within a run."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def folder(tmp_path):
    """Two trees ``<a or b>/<class>/<i>.png`` of noise, four pictures in each class."""
    for part in 'ab':
        for label, name in enumerate(('ant', 'bee', 'cat')):
            for i in range(4):
                path = tmp_path / part / name / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = 100 * (part == 'b') + 10 * label + i
                Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path


def config(folder, part='a', pipeline=PIPELINE):
    return dict(type='CustomDataset', data_root=str(folder / part), serialize_data=False, pipeline=pipeline)


def few_shot(folder):
    return dict(type='FewShotDataset', dataset=config(folder), num_shots=2, seed=1)


def epochs_of(dataset, num_workers=0):
    """Show two epochs and return the pictures of each."""
    sampler = FewShotSampler(dataset, shuffle=False)
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=lambda samples: samples,
    )
    found = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found.append(torch.stack([sample['inputs'] for batch in loader for sample in batch]))
    return found


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.parametrize(
    'wrap',
    [
        DATASETS.build,
        lambda few: ConcatDataset([few]),
        lambda few: ClassBalancedDataset(few, 1e-3),
        lambda few: Subset(DATASETS.build(few), range(4)),
        lambda few: ConcatDataset([dict(type='ClassBalancedDataset', dataset=few, oversample_thr=1e-3)]),
    ],
)
def test_every_epoch_has_views_of_its_own_through_every_wrapper(folder, wrap, num_workers):
    if num_workers and not isinstance(wrap(few_shot(folder)), ConcatDataset):
        pytest.skip('one wrapper is enough to see that workers hear of it')
    first, second = epochs_of(wrap(few_shot(folder)), num_workers)
    again, _ = epochs_of(wrap(few_shot(folder)), num_workers)
    assert not torch.equal(first, second) and torch.equal(first, again)


def test_repetitions_that_would_be_equal_are_refused(folder):
    repeated = dict(type='RepeatDataset', dataset=few_shot(folder), times=3)
    for dataset in (DATASETS.build(repeated), ConcatDataset([repeated])):
        with pytest.raises(ValueError, match=r'RepeatDataset\(times=3\) would show every picture 3 times in an epoch'):
            FewShotSampler(dataset)
    FewShotSampler(RepeatDataset(config(folder), 3))  # its views do not depend on the epoch


def test_few_shots_are_drawn_out_of_concatenated_sets(folder):
    both = dict(type='ConcatDataset', datasets=[config(folder, 'a'), config(folder, 'b')])
    dataset = FewShotDataset(both, num_shots=6, seed=1)
    assert len(dataset) == 18 and dataset.metainfo['classes'] == ('ant', 'bee', 'cat')
    paths = [dataset.get_data_info(i)['img_path'] for i in range(18)]
    assert len(set(paths)) == 18 and {path.split('/')[-3] for path in paths} == {'a', 'b'}
    assert dataset[0]['inputs'].shape == (3, 6, 6)


def test_concatenated_sets_with_different_pipelines_are_refused(folder):
    both = dict(type='ConcatDataset', datasets=[config(folder, 'a'), config(folder, 'b', PIPELINE[:1])])
    with pytest.raises(ValueError, match='ConcatDataset has no one pipeline for all its pictures'):
        FewShotDataset(both, num_shots=2, seed=1)
    repeated = dict(type='RepeatDataset', times=2, dataset=config(folder))
    with pytest.raises(ValueError, match='RepeatDataset has no one pipeline'):
        FewShotDataset(repeated, num_shots=2, seed=1)
