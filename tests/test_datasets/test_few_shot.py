import random

import numpy as np
import pytest
import torch
from few_shot_animals import (
    NAMES,
    TRAIN,
    VAL,
    Animals,
    assert_same,
    batches,
    differ,
    random_pipeline,
    spoil_random_state,
    write_folder,
)
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from mmpretrain_mps.datasets import FewShotDataset, FewShotSampler, few_shot, few_shot_picks, index_file
from mmpretrain_mps.datasets.seeding import seeded


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


class TestPicks:
    def test_train_picks_follow_the_rule_in_content_and_order(self):
        dataset = FewShotDataset(Animals(), num_shots=3, seed=2)
        expected = few_shot_picks([label for _, label in TRAIN], 3, 2).train
        assert [dataset.get_data_info(i)['item'] for i in range(len(dataset))] == expected
        assert dataset.get_gt_labels().tolist() == [TRAIN[i][1] for i in expected]
        assert [dataset.get_data_info(i)['sample_idx'] for i in range(3)] == [0, 1, 2]

    def test_val_picks_continue_the_stream_and_are_at_most_four_per_class(self):
        dataset = FewShotDataset(Animals(subset='val'), num_shots=6, seed=2, subset='val')
        picks = few_shot_picks([label for _, label in TRAIN], 6, 2, [label for _, label in VAL]).val
        assert [dataset.get_data_info(i)['item'] - len(TRAIN) for i in range(len(dataset))] == picks
        assert len(dataset) == 20

    @pytest.mark.parametrize('subset', ['train', 'val'])
    def test_base_and_new_are_parts_of_the_picks_from_all_classes(self, subset):
        arguments = dict(num_shots=3, seed=1, subset=subset)
        whole, base, new = (
            FewShotDataset(Animals(subset=subset, class_subset=part), **arguments) for part in ('all', 'base', 'new')
        )
        items = [[data.get_data_info(i)['item'] for i in range(len(data))] for data in (whole, base, new)]
        labels = dict(zip(items[0], whole.get_gt_labels().tolist()))
        assert items[1] == [item for item in items[0] if labels[item] < 3]
        assert items[2] == [item for item in items[0] if labels[item] >= 3]
        assert new.get_gt_labels().tolist() == [labels[item] - 3 for item in items[2]]
        assert new.metainfo['classes'] == NAMES[3:]

    def test_global_random_state_is_neither_read_nor_changed(self):
        np.random.seed(1), random.seed(1), torch.manual_seed(1)
        dataset = FewShotDataset(Animals(pipeline=random_pipeline()), num_shots=2, seed=5)
        sample = dataset[3]['inputs']
        after = random.random(), np.random.rand(), torch.rand(()).item()
        np.random.seed(1), random.seed(1), torch.manual_seed(1)
        assert after == (random.random(), np.random.rand(), torch.rand(()).item())
        assert torch.equal(dataset[3]['inputs'][0], sample[0])

    def test_metainfo_adds_shots_seed_and_the_hash_of_the_picks(self):
        dataset = FewShotDataset(Animals(), num_shots=3, seed=2)
        metainfo = dataset.metainfo
        assert {key: metainfo[key] for key in ('classes', 'templates', 'dataset_name', 'num_shots', 'seed')} == dict(
            classes=NAMES, templates=('a {}.',), dataset_name='Animals', num_shots=3, seed=2
        )
        assert metainfo['split_id'] == Animals(subset='val').metainfo['split_id']
        assert metainfo['picks_id'] == FewShotDataset(Animals(), num_shots=3, seed=2).metainfo['picks_id']
        assert metainfo['picks_id'] != FewShotDataset(Animals(), num_shots=3, seed=3).metainfo['picks_id']
        assert FewShotDataset(Animals(), 3, 2, templates='my {}').metainfo['templates'] == ('my {}',)
        assert dataset.CLASSES == NAMES

    def test_classes_with_too_few_pictures_are_named_in_a_warning(self, monkeypatch):
        messages = []
        monkeypatch.setattr(few_shot, 'print_log', lambda message, **_: messages.append(message))
        assert len(FewShotDataset(Animals(), num_shots=7, seed=1)) == 34
        assert messages == ['Animals: 1 of 5 classes have fewer than 7 pictures in "train" and give all they have: "elk" (6).']
        messages.clear()
        assert len(FewShotDataset(Animals(subset='val'), num_shots=7, seed=1, subset='val')) == 20
        FewShotDataset(Animals(class_subset='base'), num_shots=7, seed=1)
        assert not messages

    def test_pictures_that_were_not_drawn_are_let_go(self):
        dataset = FewShotDataset(dict(type=Animals), num_shots=1, seed=1)
        assert dataset._dataset is None and len(dataset._records) == 5

    def test_nothing_is_read_before_it_is_needed_when_asked_for(self):
        assert 'not initialized' in repr(FewShotDataset(dict(type='NoSuchDataset'), 1, 1, lazy_init=True))
        dataset = FewShotDataset(dict(type=Animals), 1, 1, lazy_init=True)
        assert len(dataset) == 5
        assert 'Animals, subset=train, num_shots=1, seed=1, 5 pictures of 5 classes' in repr(dataset)

    def test_positions_count_from_the_end_too_and_stop_at_the_end(self):
        dataset = FewShotDataset(Animals(pipeline=random_pipeline()), num_shots=2, seed=5)
        assert torch.equal(dataset[-1]['inputs'][0], dataset[9]['inputs'][0])
        with pytest.raises(IndexError):
            dataset[10]

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (dict(), 'num_shots is None and seed is None, expected whole numbers, or an index_file'),
            (dict(num_shots=1), 'num_shots is 1 and seed is None'),
            (dict(num_shots=0, seed=1), 'num_shots is 0, expected a whole number of at least 1'),
            (dict(num_shots=1, seed=1, subset='test'), "subset is 'test', expected train or val"),
            (dict(num_shots=1, seed=1, subset='val'), 'subset is "val", but Animals shows "train", expected the same'),
            (dict(num_shots=1, seed=1, cache_images='yes'), "cache_images is 'yes', expected True, False or 'auto'"),
            (dict(num_shots=1, seed=1, cache_limit_mb=0), 'cache_limit_mb is 0, expected a number above 0'),
            (dict(num_shots=1, seed=1, templates='no place'), "template 'no place' was found, expected text with one"),
        ],
    )
    def test_arguments_that_do_not_fit_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            FewShotDataset(Animals(), **arguments)

    def test_a_data_set_that_shows_only_some_of_its_pictures_is_refused(self):
        with pytest.raises(ValueError, match='Animals shows 9 pictures, which is not its whole subset "train"'):
            FewShotDataset(Animals(indices=9), num_shots=1, seed=1)


class TestIndexFiles:
    @pytest.mark.parametrize('subset', ['train', 'val'])
    @pytest.mark.parametrize('class_subset', ['all', 'base', 'new'])
    def test_an_index_file_gives_the_picks_it_was_made_from(self, tmp_path, subset, class_subset):
        path = str(tmp_path / 'picks.json')
        index_file.write(path, FewShotDataset(Animals(subset=subset), 3, 9, subset).index)
        drawn = FewShotDataset(Animals(subset=subset, class_subset=class_subset), 3, 9, subset)
        read = FewShotDataset(Animals(subset=subset, class_subset=class_subset), subset=subset, index_file=path)
        assert read.metainfo == drawn.metainfo
        assert len(read) == len(drawn) and read.augment_seed == 9
        assert all(read.get_data_info(i)['item'] == drawn.get_data_info(i)['item'] for i in range(len(read)))

    def test_shots_or_seed_that_contradict_the_file_are_refused(self, tmp_path):
        path = str(tmp_path / 'picks.json')
        index_file.write(path, FewShotDataset(Animals(), 3, 9).index)
        assert len(FewShotDataset(Animals(), 3, 9, index_file=path)) == 15
        with pytest.raises(ValueError, match='picks.json has num_shots 3, but the config says 4'):
            FewShotDataset(Animals(), 4, 9, index_file=path)
        with pytest.raises(ValueError, match='picks.json has seed 9, but the config says 1'):
            FewShotDataset(Animals(), seed=1, index_file=path)

    def test_a_file_from_another_subset_is_refused(self, tmp_path):
        path = str(tmp_path / 'picks.json')
        index_file.write(path, FewShotDataset(Animals(), 3, 9).index)
        with pytest.raises(ValueError, match="is for the subset 'train', expected 'val'"):
            FewShotDataset(Animals(subset='val'), subset='val', index_file=path)


class TestDataSetsFromElsewhere:
    def test_a_folder_read_by_mmpretrain_is_drawn_from(self, folder):
        config = dict(type='CustomDataset', data_root=str(folder), serialize_data=False, pipeline=random_pipeline())
        dataset = DATASETS.build(dict(type='FewShotDataset', dataset=config, num_shots=2, seed=4))
        picks = few_shot_picks([0] * 6 + [1] * 6 + [2] * 6, 2, 4).train
        expected = [str(folder / NAMES[i // 6] / f'{i % 6}.png') for i in picks]
        assert [dataset.get_data_info(i)['img_path'] for i in range(6)] == expected
        assert dataset.metainfo['classes'] == NAMES[:3]
        assert dataset.metainfo['dataset_name'] == 'CustomDataset'
        assert dataset.metainfo['templates'] == ('a photo of a {}.',)
        assert dataset.index.rows[0] == (f'{NAMES[picks[0] // 6]}/{picks[0] % 6}.png', picks[0] // 6)
        assert dataset[0]['inputs'][0].shape == (3, 6, 6)

    def test_its_index_file_does_not_depend_on_where_the_folder_lies(self, folder, tmp_path_factory):
        path = str(folder / 'picks.json')
        first = FewShotDataset(CustomDataset(data_root=str(folder)), num_shots=2, seed=4)
        index_file.write(path, first.index)
        moved = tmp_path_factory.mktemp('moved')
        for name in NAMES[:3]:
            (folder / name).rename(moved / name)
        second = FewShotDataset(CustomDataset(data_root=str(moved)), index_file=path)
        assert second.metainfo == first.metainfo

    def test_val_picks_need_the_training_set_that_comes_first(self, folder):
        whole = dict(type='CustomDataset', data_root=str(folder))
        arguments = dict(num_shots=2, seed=4, subset='val')
        dataset = FewShotDataset(whole, train_dataset=Pairs(), **arguments)
        picks = few_shot_picks([0, 1, 0, 1, 0, 1], 2, 4, [0] * 6 + [1] * 6 + [2] * 6).val
        assert [dataset.get_data_info(i)['gt_label'] for i in range(6)] == [i // 6 for i in picks]
        with pytest.raises(ValueError, match='"val" of CustomDataset needs train_dataset, whose picks come first'):
            FewShotDataset(whole, **arguments)

    def test_labels_beyond_the_names_are_refused(self):
        with pytest.raises(ValueError, match=r'Pairs: picture 1 has the label 1, expected 0\.\.0 for 1 class names'):
            FewShotDataset(Pairs(('ant',)), num_shots=1, seed=1)

    def test_a_data_set_without_names_is_refused(self):
        with pytest.raises(ValueError, match=r'Pairs has no class names in metainfo\["classes"\]'):
            FewShotDataset(Pairs(None), num_shots=1, seed=1)


class Pairs(CustomDataset):
    """A data set of mmpretrain's kind with six pictures in memory, labels 0 1 0 1 0 1."""

    def __init__(self, classes=('ant', 'bee', 'cat')):
        metainfo = None if classes is None else dict(classes=classes)
        super().__init__(data_root='.', serialize_data=False, metainfo=metainfo)

    def load_data_list(self):
        return [dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=i % 2) for i in range(6)]


class TestDeterminism:
    def test_batches_do_not_depend_on_the_workers(self):
        first = batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), range(3))
        second = batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), range(3), num_workers=2)
        for epoch in range(3):
            assert_same(first[epoch], second[epoch])
        assert differ(first[0], first[1]) and differ(first[1], first[2])

    def test_batches_of_an_epoch_do_not_depend_on_the_epochs_before(self):
        through = batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), range(3), num_workers=2)
        resumed = batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), [2])
        assert_same(through[2], resumed[2])

    def test_batches_do_not_depend_on_global_random_state(self):
        spoil_random_state(1)
        first = batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), [0])
        spoil_random_state(2)
        assert_same(first[0], batches(FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1), [0])[0])

    def test_views_of_a_sample_and_samples_of_a_picture_differ_by_view_epoch_and_seed(self):
        dataset = FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1)
        views = dataset[0]['inputs']
        assert not torch.equal(*views)
        dataset.set_epoch(1)
        assert not torch.equal(dataset[0]['inputs'][0], views[0])
        other = FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1, augment_seed=2)
        assert other.metainfo == dataset.metainfo and not torch.equal(other[0]['inputs'][0], views[0])

    def test_every_generator_is_seeded_and_put_back(self):
        state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        draws = []
        for keys in ((1, 0, 5), (1, 0, 5), (1, 0, 6), (1, 1, 5), (2, 0, 5), (-1, 0, 5)):
            with seeded(*keys):
                draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
        assert draws[0] == draws[1]
        for values in zip(*draws[1:]):
            assert len(set(values)) == 5
        assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        with pytest.raises(KeyError):
            with seeded(1):
                random.random()
                raise KeyError
        assert random.getstate() == state[0]


class TestFewShotSampler:
    def test_the_order_is_that_of_mmengines_sampler(self):
        dataset = FewShotDataset(Animals(), 3, 1)
        sampler = FewShotSampler(dataset, seed=4)
        sampler.set_epoch(2)
        generator = torch.Generator()
        generator.manual_seed(4 + 2)
        assert list(sampler) == torch.randperm(15, generator=generator).tolist()
        assert list(FewShotSampler(dataset, shuffle=False)) == list(range(15))

    def test_ranks_share_one_order_between_them(self, monkeypatch):
        dataset = FewShotDataset(Animals(), 3, 1)
        orders = []
        for rank in range(2):
            monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, 2))
            orders.append(list(FewShotSampler(dataset, seed=4)))
        assert [len(order) for order in orders] == [8, 8]  # 15 pictures, rounded up
        assert set(orders[0]) | set(orders[1]) == set(range(15))
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (1, 2))
        assert len(FewShotSampler(dataset, seed=4, round_up=False)) == 7

    def test_without_a_seed_it_takes_the_data_sets(self):
        dataset = FewShotDataset(Animals(), 3, 6)
        assert list(FewShotSampler(dataset)) == list(FewShotSampler(dataset, seed=6))

    def test_a_data_set_without_epochs_is_taken_as_well(self):
        sampler = FewShotSampler([1, 2, 3], seed=0)
        sampler.set_epoch(3)
        assert sorted(sampler) == [0, 1, 2]

    def test_the_runner_builds_it_from_a_config(self):
        config = dict(
            batch_size=4,
            num_workers=0,
            persistent_workers=False,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='FewShotSampler', shuffle=True),
            dataset=dict(type='FewShotDataset', num_shots=2, seed=1, dataset=dict(type=Animals, pipeline=random_pipeline())),
        )
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            loader = Runner.build_dataloader(config, seed=0)
        batch = next(iter(loader))
        assert [view.shape for view in batch['inputs']] == [(4, 3, 6, 6)] * 2
        assert batch['inputs'][0].dtype == torch.uint8
        assert len(batch['data_samples']) == 4


class TestViews:
    """Other views than those of the pipeline of the data set."""

    @staticmethod
    def config(**crops):
        augmentation = dict(
            type='CLIPTrainTransform', architecture='mps-mini', pretrained='embedded', flip_prob=0, scale=(0.9, 1.0), **crops
        )
        pipeline = [
            dict(type='LoadRGBImage'),
            dict(type='DualView', num_views=2, transforms=[augmentation]),
            dict(type='PackInputs'),
        ]
        return dict(type='Digits', subset='train', pipeline=pipeline)

    def test_they_are_those_of_a_pipeline_with_the_same_arguments(self):
        changed = self.config()
        changed['pipeline'][1]['num_views'] = 3
        changed['pipeline'][1]['transforms'][0]['scale'] = (0.2, 0.3)
        expected = FewShotDataset(changed, num_shots=1, seed=1)[0]['inputs']
        dataset = self.config()
        views = FewShotDataset(dataset, num_shots=1, seed=1, views=dict(num_views=3, scale=(0.2, 0.3)))[0]['inputs']
        assert len(views) == 3 and all(map(torch.equal, views, expected))
        assert dataset == self.config()  # which may be used elsewhere
        two = FewShotDataset(dataset, num_shots=1, seed=1, views=dict(scale=(0.2, 0.3)))[0]['inputs']
        assert len(two) == 2 and all(map(torch.equal, two, expected))

    def test_what_has_no_views_is_refused(self):
        flat = dict(self.config(), pipeline=[dict(type='LoadRGBImage'), dict(type='PackInputs')])
        with pytest.raises(ValueError, match=r"views need a DualView in the pipeline, but it has \['LoadRGBImage', 'Pack"):
            FewShotDataset(flat, num_shots=1, seed=1, views=dict(num_views=1))
        others = self.config()
        others['pipeline'][1]['transforms'] = [dict(type='RandomFlip', prob=0.5)]
        with pytest.raises(ValueError, match=r"a DualView of CLIPTrainTransform in the pipeline, but it has \['RandomFl"):
            FewShotDataset(others, num_shots=1, seed=1, views=dict(scale=(0.2, 0.3)))
        assert len(FewShotDataset(others, num_shots=1, seed=1, views=dict(num_views=3))[0]['inputs']) == 3
        with pytest.raises(ValueError, match='needs the config of a data set, but it got a Digits'):
            FewShotDataset(DATASETS.build(self.config()), num_shots=1, seed=1, views=dict(num_views=1))
