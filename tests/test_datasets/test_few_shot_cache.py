"""Pictures that are decoded once and kept."""

import pytest
import torch
from few_shot_animals import (
    Animals,
    assert_same,
    batches,
    random_pipeline,
    write_folder,
)
from mmpretrain.datasets import CustomDataset
from PIL import Image

from mmpretrain_mps.datasets import FewShotDataset, FewShotSampler


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


class TestCache:
    @pytest.fixture
    def opened(self, monkeypatch):
        opened = []
        real = Image.open
        monkeypatch.setattr(Image, 'open', lambda file, **formats: opened.append(file) or real(file, **formats))
        return opened

    def run(self, folder, epochs=range(2), **arguments):
        config = dict(type='CustomDataset', data_root=str(folder), serialize_data=False, pipeline=random_pipeline())
        return batches(FewShotDataset(config, 3, 1, **arguments), epochs)

    @pytest.mark.parametrize('arguments, times', [
        (dict(cache_images=False), [18]),
        (dict(cache_images=True), [9]),
        (dict(cache_images='auto'), [18]),  # 9 as a probe, 9 to keep them
        (dict(cache_images='auto', cache_limit_mb=1e-3), [27]),  # the probe says that 1,944 bytes do not fit
        # 4 of 9 pictures of 216 bytes fit into 1,048; how many the threads read ahead of the fifth is theirs.
        (dict(cache_images=True, cache_limit_mb=1e-3), range(5 + 2 * 5, 9 + 2 * 5 + 1)),
    ])  # yapf: disable
    def test_pixels_are_the_same_and_pictures_are_decoded_less_often(self, folder, opened, arguments, times):
        plain = self.run(folder, cache_images=False)
        opened.clear()
        cached = self.run(folder, **arguments)
        assert len(opened) in times
        for epoch in range(2):
            assert_same(plain[epoch], cached[epoch])

    def test_workers_that_live_on_share_what_the_main_process_decoded(self, folder, opened):
        config = dict(type='CustomDataset', data_root=str(folder), serialize_data=False, pipeline=random_pipeline())
        dataset = FewShotDataset(config, 3, 1, cache_images=True)
        plain = self.run(folder, cache_images=False)
        shared = batches(dataset, range(2), num_workers=2)
        for epoch in range(2):
            assert_same(plain[epoch], shared[epoch])
        assert len(dataset._cache.samples) == 9

    def test_a_transform_that_writes_into_the_picture_does_not_reach_the_kept_one(self, folder):

        def darken(results):
            results['img'] //= 2
            return results

        pipeline = [dict(type='LoadRGBImage'), darken, dict(type='PackInputs')]
        source = CustomDataset(data_root=str(folder), serialize_data=False, pipeline=pipeline)
        dataset = FewShotDataset(source, 3, 1, cache_images=True)
        before = dataset[0]['inputs'].clone()
        dataset.set_epoch(0)
        for _ in range(2):
            assert torch.equal(dataset[0]['inputs'], before)

    def test_nothing_is_decoded_before_the_first_epoch_is_announced(self, folder, opened):
        dataset = FewShotDataset(CustomDataset(data_root=str(folder), pipeline=random_pipeline()), 3, 1)
        FewShotSampler(dataset)
        assert not opened
        dataset.set_epoch(0)
        assert len(opened) == 18
        dataset.set_epoch(1)
        assert len(opened) == 18

    def test_pictures_in_memory_are_not_kept_twice(self):
        dataset = FewShotDataset(Animals(pipeline=random_pipeline()), 3, 1, cache_images=True)
        dataset.set_epoch(0)
        assert not dataset._cache.samples

    def test_a_pipeline_that_a_tool_puts_in_is_run_whole(self, folder):
        source = CustomDataset(data_root=str(folder), serialize_data=False, pipeline=random_pipeline())
        dataset = FewShotDataset(source, 3, 1, cache_images=True)
        dataset.set_epoch(0)

        class Inspect:
            transforms = dataset.pipeline.transforms

            def __call__(self, results):
                return results

        dataset.pipeline = Inspect()
        assert dataset[2]['img_path'].endswith('.png') and 'img' not in dataset[2]

    def test_an_unreadable_picture_stops_the_filling_with_its_name(self, folder):
        for file in folder.glob('bee/*.png'):
            file.write_bytes(b'no picture')
        with pytest.raises(ValueError, match=r'bee/\d.png cannot be read as a picture'):
            self.run(folder, cache_images=True)
