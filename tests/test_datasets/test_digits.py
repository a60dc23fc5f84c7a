import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmpretrain_mps.datasets import Digits
from mmpretrain_mps.mini_clip.zero_shot import digits_halves

COUNTS = dict(
    train=[54, 55, 54, 55, 54, 55, 54, 55, 53, 54],
    val=[35, 36, 35, 36, 36, 36, 36, 35, 34, 36],
    test=[89, 91, 88, 92, 91, 91, 91, 89, 87, 90],
)
FIRST_ITEMS = [5, 7, 14, 3, 8, 9, 0, 1, 2]  # of train, val and test
SPLIT_ID = 'cd3b589e0d40cc24a8c4e72295b8f5475df5358b6646fbfe904d945724848867'


def test_each_subset_is_stratified_as_the_docstring_says():
    total = np.bincount(load_digits().target)
    assert COUNTS['val'] == (total // 5).tolist()
    for subset, counts in COUNTS.items():
        assert np.bincount(Digits(subset=subset).get_gt_labels()).tolist() == counts


def test_subsets_are_disjoint_and_hold_every_picture():
    items = [
        {entry['item'] for entry in map(data.get_data_info, range(len(data)))}
        for data in (Digits(subset=subset) for subset in COUNTS)
    ]
    assert sum(map(len, items)) == 1797
    assert set.union(*items) == set(range(1797))


def test_the_split_is_fixed():
    data_sets = [Digits(subset=subset) for subset in COUNTS]
    assert [data.get_data_info(i)['item'] for data in data_sets for i in range(3)] == FIRST_ITEMS
    assert Digits().metainfo['split_id'] == SPLIT_ID


def test_no_test_picture_lies_in_the_half_that_choices_about_the_embedded_model_were_made_on():
    data = Digits(subset='test')
    assert [data.get_data_info(i)['item'] for i in range(len(data))] == digits_halves()['test'].tolist()


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
