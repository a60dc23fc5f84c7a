"""A small data set with pictures in memory, the same in a folder, and batches of few-shot pictures of it."""

import random

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from mmpretrain_mps.datasets import FewShotSampler, Split, SplitDataset

NAMES = ('ant', 'bee', 'cat', 'dog', 'elk')
# labels first appear in another order than that of the classes, and base and new ones mixed
TRAIN = [(f'{label}/{i}.png', label) for i in range(7) for label in (3, 0, 4, 1, 2) if (i, label) != (6, 4)]
VAL = [(f'val/{label}_{i}.png', label) for label in (4, 2, 0, 1, 3) for i in range(5)]


class Animals(SplitDataset):
    """Five classes with pictures in memory."""

    def __init__(self, serialize_data=False, **arguments):
        super().__init__(serialize_data=serialize_data, **arguments)  # which costs a garbage collection each time

    def read_split(self):
        items = {row: i for i, row in enumerate(TRAIN + VAL)}
        train, val = ([(items[row], row[1]) for row in rows] for rows in (TRAIN, VAL))
        return Split(NAMES, ('a {}.',), train, val, source='animals')

    def read_image(self, index):
        return np.random.default_rng(index).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def random_pipeline():
    crop = dict(type='RandomResizedCrop', scale=6, backend='pillow')
    views = dict(type='DualView', transforms=[crop, dict(type='RandomFlip', prob=0.5), jitter])
    return [dict(type='LoadRGBImage'), views, dict(type='PackInputs')]


def jitter(results):
    """Use all three generators that transforms of other libraries draw from."""
    shift = random.randrange(50) + np.random.randint(50) + torch.randint(50, ()).item()
    return dict(results, img=results['img'] // 2 + np.uint8(shift))


def write_folder(folder):
    """Write a tree of real files, ``<name>/<i>.png``; return the folder."""
    for label, name in enumerate(NAMES[:3]):
        for i in range(6):
            path = folder / name / f'{i}.png'
            path.parent.mkdir(exist_ok=True)
            img = np.random.default_rng(10 * label + i).integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(img).save(path)
    return folder


def batches(dataset, epochs, num_workers=0, seed=3):
    """All tensors and labels of the epochs, by a loader that is set up as the Runner does it."""
    sampler = FewShotSampler(dataset, seed=seed)
    loader = DataLoader(
        dataset,
        4,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=default_collate_samples,
        persistent_workers=num_workers > 0,
        worker_init_fn=spoil_random_state,
    )
    found = {}
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found[epoch] = list(loader)
    return found


def default_collate_samples(samples):
    return (
        default_collate([sample['inputs'] for sample in samples]),
        [(sample['data_samples'].sample_idx, sample['data_samples'].gt_label.item()) for sample in samples],
    )


def spoil_random_state(worker):
    random.seed(worker)
    np.random.seed(worker)
    torch.manual_seed(worker)


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for (views, samples), (other_views, other_samples) in zip(first, second):
        assert samples == other_samples
        assert len(views) == len(other_views) == 2
        assert all(torch.equal(view, other) for view, other in zip(views, other_views))


def differ(first, second):
    return any(not torch.equal(a[0][0], b[0][0]) for a, b in zip(first, second))
