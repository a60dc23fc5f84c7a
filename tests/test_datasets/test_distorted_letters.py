import numpy as np
import pytest

from mmpretrain_mps import mini_clip
from mmpretrain_mps.datasets import DistortedLetters
from mmpretrain_mps.datasets.distorted_letters import LETTER_NAMES, PER_CLASS


def pictures(**arguments):
    data = DistortedLetters(serialize_data=False, **arguments)
    return np.stack([data.get_data_info(i)['img'] for i in range(90)])


def test_every_subset_is_balanced_and_no_picture_is_in_two():
    items = []
    for subset, count in PER_CLASS.items():
        data = DistortedLetters(subset=subset)
        assert np.bincount(data.get_gt_labels()).tolist() == [count] * 45
        items += [data.get_data_info(i)['item'] for i in range(len(data))]
    assert len(items) == len(set(items))


def test_pictures_are_the_same_every_time_and_others_with_another_seed():
    first = pictures(subset='val')
    assert first.shape == (90, 32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, pictures(subset='val'))
    other = pictures(subset='val', render_seed=1)
    assert not any(np.array_equal(a, b) for a, b in zip(first, other))
    assert len({image.tobytes() for image in first}) == 90
    assert DistortedLetters().metainfo['split_id'] != DistortedLetters(render_seed=1).metainfo['split_id']


def test_the_embedded_model_knows_every_name():
    metainfo = DistortedLetters(subset='val').metainfo
    assert metainfo['classes'] == LETTER_NAMES and len(set(LETTER_NAMES)) == 45
    mini_clip.check_vocabulary([t.format(name) for t in metainfo['templates'] for name in LETTER_NAMES])


@pytest.mark.parametrize('seed', [-1, 1.5, True, 'a'])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match='render_seed is .*expected a whole number from 0 on'):
        DistortedLetters(render_seed=seed)
