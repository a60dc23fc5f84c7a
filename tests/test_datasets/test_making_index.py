import json
import os

import pytest
from benchmark_trees import make_tree, put

from mmpretrain_mps.datasets import FewShotDataset, index_file, making_index
from mmpretrain_mps.datasets.making_index import find_dataset, index_of_dataset, index_of_split_file

# Labels appear in the order 1, 0. random.Random(3) draws, in this order, sample(range(4), 2) = [1, 2] for label 1 and
# sample(range(3), 2) = [2, 0] for label 0; for validation it goes on to [1, 2] of the three of label 0, and the single
# picture of label 1 is taken as it is.
ROWS = dict(
    train=[
        ['a0', 1, 'b_c'],
        ['b0', 0, 'A_a'],
        ['a1', 1, 'b_c'],
        ['a2', 1, 'b_c'],
        ['b1', 0, 'A_a'],
        ['b2', 0, 'A_a'],
        ['a3', 1, 'b_c'],
    ],
    val=[['v0', 0, 'A_a'], ['v1', 0, 'A_a'], ['w0', 1, 'b_c'], ['v2', 0, 'A_a']],
    test=[['t0', 0, 'A_a'], ['t1', 1, 'b_c']],
)


@pytest.fixture
def split_file(tmp_path):
    return put(str(tmp_path / 'split_zhou_OxfordPets.json'), json.dumps(ROWS))


def test_picks_of_a_split_file_equal_those_computed_by_hand(split_file):
    train = index_of_split_file(split_file, 2, 3)
    assert train.rows == [('a1', 1), ('a2', 1), ('b2', 0), ('b0', 0)]
    val = index_of_split_file(split_file, 2, 3, 'val')
    assert val.rows == [('v1', 0), ('v2', 0), ('w0', 1)]
    assert train.dataset == 'OxfordPets' and train.classes == ['A_a', 'b_c']
    assert train.split_id == val.split_id


def test_classes_with_too_few_pictures_give_all_and_are_reported(split_file, monkeypatch):
    messages = []
    monkeypatch.setattr(making_index, 'print_log', lambda message, *args: messages.append(message))
    assert len(index_of_split_file(split_file, 4, 1).rows) == 7
    assert '1 of 2 classes have too few pictures in "train" and give all they have: "A_a" (3).' in messages[0]


def test_a_split_file_without_validation_rows_has_no_such_picks(tmp_path):
    path = put(str(tmp_path / 'mine.json'), json.dumps(dict(ROWS, val=[])))
    assert index_of_split_file(path, 1, 1).dataset == 'mine'
    with pytest.raises(ValueError, match='mine.json: "val" is empty, expected pictures to draw from'):
        index_of_split_file(path, 1, 1, 'val')


@pytest.mark.parametrize('subset', ['train', 'val'])
@pytest.mark.parametrize('name', ['OxfordPets', 'StanfordCars'])
def test_the_data_set_on_disk_gives_the_same_index_as_its_split_file(tmp_path, name, subset):
    folder = make_tree(tmp_path, name)
    split = next(os.path.join(folder, file) for file in os.listdir(folder) if file.startswith('split_zhou'))
    paths = [str(tmp_path / 'a.json'), str(tmp_path / 'b.json')]
    index_file.write(paths[0], index_of_split_file(split, 4, 2, subset))
    index_file.write(paths[1], index_of_dataset(name, str(tmp_path), 4, 2, subset))
    with open(paths[0]) as first, open(paths[1]) as second:
        assert first.read() == second.read()


def test_an_index_file_of_a_split_file_can_stand_for_shots_and_seed(tmp_path):
    folder = make_tree(tmp_path, 'DTD')
    path = str(tmp_path / 'index.json')
    index_file.write(path, index_of_split_file(os.path.join(folder, 'split_zhou_DescribableTextures.json'), 3, 7))
    dataset = dict(type='CLIPDTD', data_root=str(tmp_path))
    by_file, by_seed = FewShotDataset(dataset, index_file=path), FewShotDataset(dataset, num_shots=3, seed=7)
    assert by_file.metainfo == by_seed.metainfo
    assert by_file.metainfo['classes'][0] == 'Class 0 of Ünits'


def test_a_changed_split_is_noticed_by_the_index_file(tmp_path):
    folder = make_tree(tmp_path, 'DTD')
    split = os.path.join(folder, 'split_zhou_DescribableTextures.json')
    path = str(tmp_path / 'index.json')
    index_file.write(path, index_of_split_file(split, 3, 7))
    with open(split) as file:
        content = json.load(file)
    content['test'].pop()
    put(split, json.dumps(content))
    with pytest.raises(ValueError, match='index.json was drawn from the split'):
        FewShotDataset(dict(type='CLIPDTD', data_root=str(tmp_path)), index_file=path)


@pytest.mark.parametrize('name', ['ImageNet', 'FGVCAircraft'])
def test_data_sets_without_a_split_file_are_indexed_from_disk(tmp_path, name, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    make_tree(tmp_path, name)
    index = index_of_dataset(name, str(tmp_path), 2, 1)
    assert len(index.rows) == 2 * len(index.classes)
    assert index.dataset == name


def test_own_pictures_are_indexed_by_their_registered_name(tmp_path):
    for i in range(8):
        put(str(tmp_path / ('cat', 'dog')[i % 2] / f'{i}.jpg'))
    index = index_of_dataset('PictureFolder', str(tmp_path), 2, 1)
    assert index.dataset == 'PictureFolder' and len(index.rows) == 4


def test_data_sets_are_found_by_catalog_name_and_by_registered_name():
    assert find_dataset('oxford_pets')[0] == find_dataset('CLIPOxfordPets')[0] == 'CLIPOxfordPets'
    assert find_dataset('DTD')[0] == 'CLIPDTD'  # not mmpretrain's own, which has other labels
    assert find_dataset('Digits') == ('Digits', None)
    with pytest.raises(KeyError, match="no benchmark data set is named 'CIFAR10'"):
        find_dataset('CIFAR10')
