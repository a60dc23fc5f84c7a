import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mmpretrain_mps.datasets import FewShotSampler


@pytest.fixture
def build():
    """Build the digits' training set: one picture per class, two views."""
    init_default_scope('mmpretrain')

    def build_dataset(num_views=2, seed=1, **changes):
        transform = dict(type='CLIPTrainTransform', architecture='mps-mini', pretrained='embedded', flip_prob=0)
        pipeline = [
            dict(type='LoadRGBImage'),
            dict(type='DualView', num_views=num_views, transforms=[transform]),
            dict(type='PackInputs'),
        ]
        return DATASETS.build(
            dict(
                type='FewShotDataset',
                num_shots=1,
                seed=seed,
                dataset=dict(type='Digits', subset='train', pipeline=changes.get('pipeline', pipeline)),
            )
        )

    return build_dataset


def test_each_epoch_shows_different_views_of_the_bank_and_the_same_ones_again_when_asked_again(build):
    views, again = build(num_views=3).set_view_bank(5), build(num_views=3).set_view_bank(5)
    shown = [views.shown(epoch) for epoch in range(40)]
    assert all(numbers.shape == (10, 3) and numbers.min() >= 0 and numbers.max() <= 4 for numbers in shown)
    assert all(len(set(row)) == 3 for numbers in shown for row in numbers.tolist())
    assert torch.equal(again.shown(7), shown[7])  # no epoch needs the ones before
    counts = torch.stack(shown).flatten().bincount(minlength=5)
    assert (counts - 240).abs().max() < 60  # 1,200 draws of 5, within 4 standard deviations
    assert not torch.equal(build(num_views=3, seed=2).set_view_bank(5).shown(0), shown[0])


def test_views_follow_from_the_seed_and_a_small_bank_is_the_start_of_a_large_one(build):
    dataset = build()
    entry = dataset.get_data_info(3)
    large, small = dataset.set_view_bank(6).load(entry), build().set_view_bank(2).load(entry)
    assert large.shape == (6, 3, 32, 32) and large.dtype == torch.uint8
    assert torch.equal(large[:2], small)
    assert len({view.numpy().tobytes() for view in large}) > 3  # of 8x8 pixels, some crops are equal
    other = build(seed=2)
    assert not torch.equal(other.set_view_bank(2).load(other.get_data_info(3)), small)


def test_samples_name_views_until_pictures_are_wanted_again(build):
    dataset = build()
    pictures = dataset[3]['inputs']
    views = dataset.set_view_bank(4)
    FewShotSampler(dataset, seed=1).set_epoch(5)
    batch = default_collate([dataset[3], dataset[-1]])
    assert batch['inputs']['pictures'].tolist() == [3, 9]
    assert torch.equal(batch['inputs']['views'], views.shown(5)[[3, 9]])
    assert [sample.sample_idx for sample in batch['data_samples']] == [3, 9]
    assert [int(sample.gt_label) for sample in batch['data_samples']] == dataset.get_gt_labels()[[3, 9]].tolist()
    dataset.set_view_bank(None)
    dataset.set_epoch(0)
    assert all(torch.equal(a, b) for a, b in zip(dataset[3]['inputs'], pictures))


def test_a_bank_that_cannot_be_is_refused(build):
    with pytest.raises(ValueError, match='view_bank is 1, expected at least num_views=2 of DualView'):
        build().set_view_bank(1)
    pipeline = [dict(type='LoadRGBImage'), dict(type='PackInputs')]
    with pytest.raises(ValueError, match=r"one DualView, .* found 0 among \['LoadRGBImage', 'PackInputs'\]"):
        build(pipeline=pipeline).set_view_bank(4)


def test_a_bank_has_no_place_for_the_picture_without_augmentation(build):
    transform = dict(type='CLIPTrainTransform', architecture='mps-mini', pretrained='embedded')
    plain = dict(type='CLIPTestTransform', architecture='mps-mini', pretrained='embedded')
    pipeline = [
        dict(type='LoadRGBImage'),
        dict(type='DualView', transforms=[transform], reference=[plain]),
        dict(type='PackInputs'),
    ]
    dataset = build(pipeline=pipeline)
    with pytest.raises(ValueError, match='view_bank=4 draws views of one kind, but DualView also has a reference'):
        dataset.set_view_bank(4)
    first = dataset[0]['inputs']
    dataset.set_epoch(1)
    second = dataset[0]['inputs']
    assert len(first) == 3 and torch.equal(first[2], second[2]) and not torch.equal(first[0], second[0])
