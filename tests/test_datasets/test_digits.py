import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmpretrain_mps.datasets import Digits

COUNTS = dict(
    train=[72, 73, 72, 74, 73, 73, 73, 73, 70, 72],
    val=[17, 18, 17, 18, 18, 18, 18, 17, 17, 18],
    test=[89, 91, 88, 91, 90, 91, 90, 89, 87, 90])
FIRST_ITEMS = [2, 5, 6, 14, 19, 34, 0, 1, 3]  # of train, val and test
SPLIT_ID = '1943760ff73885615ac7ed866dbc5548f6eedaff050fc96c98cd9ab27a2b0434'


def test_each_subset_is_stratified_as_the_docstring_says():
    total = np.bincount(load_digits().target)
    assert COUNTS['test'] == (total // 2).tolist() and COUNTS['val'] == (total // 10).tolist()
    for subset, counts in COUNTS.items():
        assert np.bincount(Digits(subset=subset).get_gt_labels()).tolist() == counts


def test_subsets_are_disjoint_and_hold_every_picture():
    items = [{entry['item'] for entry in map(data.get_data_info, range(len(data)))}
             for data in (Digits(subset=subset) for subset in COUNTS)]
    assert sum(map(len, items)) == 1797
    assert set.union(*items) == set(range(1797))


def test_the_split_is_fixed():
    data_sets = [Digits(subset=subset) for subset in COUNTS]
    assert [data.get_data_info(i)['item'] for data in data_sets for i in range(3)] == FIRST_ITEMS
    assert Digits().metainfo['split_id'] == SPLIT_ID


def test_names_and_templates():
    metainfo = Digits(subset='test').metainfo
    assert metainfo['classes'] == ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
    assert metainfo['dataset_name'] == 'Digits'
    assert all(template.count('{}') == 1 for template in metainfo['templates'])


@pytest.mark.parametrize('subset', COUNTS)
def test_pictures_and_labels_are_scikit_learns(subset):
    bunch = load_digits()
    data = Digits(subset=subset)
    for i in range(0, len(data), 25):
        entry = data.get_data_info(i)
        assert entry['gt_label'] == bunch.target[entry['item']]
        assert entry['img'].shape == (8, 8, 3) and entry['img'].dtype == np.uint8
        for channel in range(3):
            np.testing.assert_array_equal(entry['img'][..., channel], np.rint(bunch.images[entry['item']] * 15.9375))


def test_levels_use_the_whole_range():
    data = Digits(subset='val')
    pictures = np.stack([data.get_data_info(i)['img'] for i in range(20)])
    assert pictures.min() == 0 and pictures.max() == 255
