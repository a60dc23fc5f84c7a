import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from PIL import Image
from torch.utils.data import DataLoader

from mmpretrain_mps.datasets import CLIPTrainTransform, FewShotDataset, FewShotSampler, PictureFolder
from mmpretrain_mps.models.caches.picture_bank import PictureBank
from mmpretrain_mps.models.data_preprocessor import CLIPDataPreprocessor


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Pictures in files of several sizes and kinds: colour, grey, transparent, palette, one column wide."""
    root, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
    modes = ('RGB', 'L', 'RGBA', 'P', 'RGB', 'RGB')
    for name in ('ant', 'bee'):
        (root / 'train' / name).mkdir(parents=True)
        for index, mode in enumerate(modes):
            height, width = rng.integers(1, 120, 2) if index < 4 else (90, 1 + index)
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)
            image.save(root / 'train' / name / f'{index}.png')
    return root


def augmentation(**arguments):
    return dict(type='CLIPTrainTransform', architecture='mps-mini', pretrained='embedded', **arguments)


def pipeline(*views, load='LoadRGBImage', **more):
    return [dict(type=load), *(views or [dict(type='DualView', transforms=[augmentation()], **more)]), dict(type='PackInputs')]


def build(folder, steps, **arguments):
    source = PictureFolder(data_root=str(folder), subset='train', pipeline=steps)
    return FewShotDataset(source, num_shots=6, seed=1, **arguments)


def batches(dataset, num_workers=0, epochs=2):
    sampler = FewShotSampler(dataset, seed=3)
    loader = DataLoader(
        dataset, 5, sampler=sampler, num_workers=num_workers, collate_fn=default_collate, persistent_workers=num_workers > 0
    )
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += list(loader)
    return found


def on_device(dataset):
    """Have a data set show boxes, and return a preprocessor that holds its pictures."""
    pictures = dataset.keep_decoded()
    boxes = dataset.set_view_boxes([picture.shape[:2] for picture in pictures])
    preprocessor = CLIPDataPreprocessor(mean=[120, 115, 100], std=[60, 60, 70])
    preprocessor.picture_bank = PictureBank(pictures, boxes.size, boxes.interpolation, 'cpu')
    return preprocessor


SQUASHED = [dict(type='CLIPTestTransform', architecture='mps-mini', pretrained='embedded', resize_mode='squash')]


@pytest.mark.parametrize(
    'steps',
    [
        pipeline(),
        pipeline(num_views=3),
        pipeline(reference=SQUASHED),
        pipeline(augmentation(scale=(0.05, 0.2))),
        pipeline(load='LoadImageFromFile'),
        pipeline(dict(type='DualView', transforms=[augmentation(flip_prob=0, aspect_ratio=(1, 1))])),
    ],
    ids=['two views', 'three', 'reference', 'one, without a list', 'loaded by mmcv', 'no flip'],
)
def test_views_cut_out_later_are_those_of_the_pipeline(folder, steps):
    plain, dataset = build(folder, steps), build(folder, steps)
    preprocessor = on_device(dataset)
    for expected, batch in zip(batches(plain), batches(dataset), strict=True):
        found, expected = preprocessor(batch, True), preprocessor(expected, True)
        assert type(found['inputs']) is type(expected['inputs'])
        views = zip(found['inputs'], expected['inputs'], strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in views)
        for ours, theirs in zip(found['data_samples'], expected['data_samples'], strict=True):
            assert ours.metainfo == theirs.metainfo and torch.equal(ours.gt_label, theirs.gt_label)


def test_worker_processes_change_no_box(folder):
    dataset = build(folder, pipeline())
    on_device(dataset)
    alone, shared = batches(dataset), batches(dataset, num_workers=3)
    assert all(torch.equal(a['inputs']['boxes'], b['inputs']['boxes']) for a, b in zip(alone, shared, strict=True))
    boxes = torch.cat([batch['inputs']['boxes'].flatten(0, 1) for batch in alone])
    assert boxes.shape == (2 * 2 * 12, 5) and len(boxes.unique(dim=0)) > 20


def test_a_transform_draws_what_it_would_do():
    transform = CLIPTrainTransform('mps-mini', 'embedded')
    img = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    for seed in range(8):
        np.random.seed(seed)
        view = transform(dict(img=img))
        state = np.random.get_state()[2]
        np.random.seed(seed)
        (top, left, height, width, flip), noted = transform.draw((50, 40))
        assert np.random.get_state()[2] == state and bool(flip) == view['flip'] == noted['flip']
        crop = Image.fromarray(img[top : top + height, left : left + width])
        pixels = np.asarray(crop.resize(transform.size[::-1], Image.Resampling.BICUBIC))
        assert np.array_equal(pixels[:, ::-1] if flip else pixels, view['img'])


def test_the_data_set_shows_views_again(folder):
    dataset = build(folder, pipeline())
    before = dataset[3]['inputs']
    on_device(dataset)
    assert set(dataset[3]['inputs']) == {'pictures', 'boxes'} and dataset[-1]['inputs']['pictures'] == 11
    assert dataset.set_view_boxes(None) is None
    assert all(map(torch.equal, dataset[3]['inputs'], before))


def test_pictures_that_are_not_kept(folder):
    assert build(folder, pipeline(), cache_images=False).keep_decoded() is None
    assert build(folder, pipeline(), cache_limit_mb=0.001).keep_decoded() is None
    assert build(folder, pipeline()[1:]).keep_decoded() is None
    assert len(build(folder, pipeline()).keep_decoded()) == 12


@pytest.mark.parametrize(
    'steps, found',
    [
        (pipeline()[:2], r"\['LoadRGBImage', 'DualView'\]"),
        (pipeline(dict(type='RandomFlip', prob=0.5)), r"\['LoadRGBImage', 'RandomFlip', 'PackInputs'\]"),
        (pipeline(dict(type='DualView', transforms=[augmentation(), dict(type='ColorJitter')])), "'ColorJitter'"),
        (pipeline(reference=[dict(SQUASHED[0], resize_mode='shortest')]), 'resize_mode=squash'),
        (pipeline(reference=[augmentation()]), 'resize_mode=squash'),
    ],
)
def test_a_pipeline_with_other_steps_is_refused(folder, steps, found):
    with pytest.raises(ValueError, match=rf'views on the device need a .*{found}'):
        build(folder, steps).set_view_boxes([(4, 4)] * 12)


def test_a_preprocessor_without_the_pictures_says_so(folder):
    dataset = build(folder, pipeline())
    on_device(dataset)
    batch = default_collate([dataset[0], dataset[1]])
    with pytest.raises(ValueError, match=r'crop boxes, .*decoded pictures: DeviceViewsHook .*set_view_boxes\(None\)'):
        CLIPDataPreprocessor()(batch)
    numbers = dict(inputs=dict(pictures=torch.tensor([0]), views=torch.tensor([[0, 1]])), data_samples=None)
    with pytest.raises(ValueError, match=r'numbers of views, .*view bank: ViewBankHook'):
        CLIPDataPreprocessor()(numbers)
