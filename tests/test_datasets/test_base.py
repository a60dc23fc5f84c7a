import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from mmpretrain_mps.datasets import Split, SplitDataset

CLASSES = ('ant', 'bee', 'crane', 'crane', 'dog')  # a machine and a bird: names may repeat


class Pictures(SplitDataset):
    """Five classes in files, or whatever split a test gives."""

    FOLDER = 'pictures'
    IMAGE_FOLDER = 'images'
    split = Split(
        CLASSES,
        ('a photo of a {}.',),
        train=[(f'train/{label}.png', label) for label in range(5)],
        val=[('val/a.png', 0)],
        test=[('test/c.png', 2), ('test/d.png', 3), ('test/e.png', 4)],
        source='split.json',
    )

    def read_split(self):
        return self.split


class Arrays(SplitDataset):
    def read_split(self):
        return Split(('dark', 'light'), ('{}',), train=[(0, 0), (1, 1)], test=[(2, 1)])

    def read_image(self, index):
        return np.full((2, 3, 3), 100 * index, np.uint8)


@pytest.fixture
def root(tmp_path):
    for rows in Pictures.split[2:5]:
        for path, _ in rows:
            file = tmp_path / 'pictures' / 'images' / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (4, 4)).save(file)
    return tmp_path


def with_split(**changes):
    kind = type('Changed', (Pictures,), {})
    kind.split = Pictures.split._replace(**changes)
    return kind


def test_entries_and_metainfo_of_a_data_set_in_files(root):
    dataset = Pictures(str(root), 'test')
    assert len(dataset) == 3
    entry = dataset.get_data_info(1)
    assert entry == dict(
        img_path=str(root / 'pictures' / 'images' / 'test' / 'd.png'), gt_label=3, item='test/d.png', sample_idx=1
    )
    metainfo = dataset.metainfo
    assert metainfo.pop('split_id')
    assert metainfo == dict(classes=CLASSES, templates=('a photo of a {}.',), dataset_name='Pictures')
    assert dataset.get_gt_labels().tolist() == [2, 3, 4]


def test_entries_of_a_data_set_in_memory_hold_the_picture():
    entry = Arrays(subset='test').get_data_info(0)
    assert entry['item'] == 2 and entry['gt_label'] == 1 and 'img_path' not in entry
    assert (entry['img'] == 200).all()


def test_the_split_id_is_the_hash_of_all_rows_whatever_is_shown(root):
    text = '{"num_classes":2,"test":[[2,1]],"train":[[0,0],[1,1]],"val":[]}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert Arrays().metainfo['split_id'] == Arrays(subset='test').metainfo['split_id'] == expected
    shown = [dict(), dict(subset='val'), dict(class_subset='new'), dict(class_names=list('abcde'))]
    ids = {Pictures(str(root), **arguments).metainfo['split_id'] for arguments in shown}
    assert len(ids) == 1
    other = with_split(val=[('val/b.png', 0)])
    assert other(str(root), files_checked=False).metainfo['split_id'] not in ids


def test_metainfo_is_there_before_the_data_set_was_read(root):
    assert Pictures(str(root), lazy_init=True).metainfo['classes'] == CLASSES


def test_base_classes_are_the_first_half_rounded_up_and_new_ones_count_from_zero(root):
    base = Pictures(str(root), class_subset='base')
    new = Pictures(str(root), class_subset='new')
    assert base.metainfo['classes'] == CLASSES[:3] and base.get_gt_labels().tolist() == [0, 1, 2]
    assert new.metainfo['classes'] == CLASSES[3:] and new.get_gt_labels().tolist() == [0, 1]
    assert new.get_data_info(0)['img_path'].endswith('train/3.png')
    assert new.split_labels['train'].tolist() == [0, 1, 2, 3, 4] and list(new.label_range) == [3, 4]


def test_names_and_templates_can_be_overridden(root):
    dataset = Pictures(str(root), class_names=list('abcde'), templates='the {}')
    assert dataset.metainfo['classes'] == tuple('abcde')
    assert dataset.metainfo['templates'] == ('the {}',)


def test_an_override_with_another_number_of_names_is_refused(root):
    with pytest.raises(ValueError, match='class_names has 2 names, expected 5, one per class of split.json'):
        Pictures(str(root), class_names=['a', 'b'])


@pytest.mark.parametrize('template', ['a photo', '{} and {}', '{name}', '{0}'])
def test_a_template_needs_one_place_for_the_name(root, template):
    with pytest.raises(ValueError, match='template .* was found, expected text with one'):
        Pictures(str(root), templates=[template])


def test_an_unknown_subset_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="subset is 'trainval', expected one of train, val, test"):
        Pictures('/nowhere', 'trainval')
    with pytest.raises(ValueError, match="class_subset is 'old', expected one of all, base, new"):
        Pictures('/nowhere', class_subset='old')


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(classes=CLASSES + ('elk',)), r'split.json: 5 of the labels 0..5 have no picture .* without gaps'),
        (dict(classes=CLASSES[:4]), r'split.json: row 4 of "train" has the label 4, expected 0..3 for 4 class names'),
        (dict(val=[('val/a.png', -1)]), r'row 0 of "val" has the label -1'),
        (dict(val=[('val/a.png', '0')]), r"row 0 of \"val\" has the label '0', expected a whole number"),
        (dict(val=[('train/1.png', 1)]), r'row 0 of "val" repeats \'train/1.png\' of row 1 of "train"'),
        (dict(val=[('val/a.png', 1), ('val/a.png', 1)]), r'row 1 of "val" repeats \'val/a.png\' of row 0 of "val"'),
        (dict(val=[('val/a.png',)]), r'row 0 of "val" is \(\'val/a.png\',\), expected \(path, label\)'),
        (dict(val=[('/data/a.png', 0)]), r"has the path '/data/a.png', expected a path relative to the image folder"),
        (dict(val=[(1.5, 0)]), r'has the path 1.5, expected a relative path or an index'),
        (dict(train=[], val=[], test=[]), 'split.json holds no pictures'),
        (dict(classes=()), 'class names are .*, expected a list with at least one name'),
        (dict(classes=CLASSES[:4] + ('',)), "the name of class 4 is '', expected a non-empty string"),
        (dict(templates=()), 'templates are .*, expected a list with at least one template'),
        (dict(templates='{}'), 'templates are .*, expected a list with at least one template'),
    ],
)
def test_a_split_that_does_not_hold_together_is_refused(root, changes, message):
    with pytest.raises(ValueError, match=message):
        with_split(**changes)(str(root))


def test_doubled_rows_are_taken_when_asked_for(root):
    doubled = with_split(val=[('train/1.png', 1), ('train/1.png', 1)])
    assert len(doubled(str(root), 'val', allow_duplicates=True)) == 2


def test_a_subset_without_pictures_is_refused(root):
    with pytest.raises(ValueError, match='split.json: subset "val" with class_subset "all" holds no pictures'):
        with_split(val=[])(str(root), 'val')
    with pytest.raises(ValueError, match='subset "val" with class_subset "new" holds no pictures'):
        Pictures(str(root), 'val', class_subset='new')


def test_missing_files_are_counted_and_named(root):
    (root / 'pictures' / 'images' / 'train' / '1.png').unlink()
    with pytest.raises(FileNotFoundError, match='split.json names 9 files, of which 1 are missing under .*train/1.png'):
        Pictures(str(root))
    assert len(Pictures(str(root), files_checked=False)) == 5
    assert len(Pictures(str(root), 'test')) == 3  # whoever only tests needs no more


@pytest.mark.parametrize('path', ['val/a.png', 'test/e.png'])
def test_a_missing_picture_to_validate_or_test_on_is_known_before_the_training(root, path):
    (root / 'pictures' / 'images' / path).unlink()
    with pytest.raises(FileNotFoundError, match=f'names 9 files, of which 1 are missing under .*{path}'):
        Pictures(str(root), class_subset='base')


def test_a_missing_image_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='split.json needs the image folder .*images, which does not exist'):
        Pictures(str(tmp_path))


def test_a_missing_class_folder_counts_as_missing_files(root):
    for file in (root / 'pictures' / 'images' / 'val').iterdir():
        file.unlink()
    (root / 'pictures' / 'images' / 'val').rmdir()
    with pytest.raises(FileNotFoundError, match='val/a.png'):
        Pictures(str(root), 'val')


def test_folders_are_listed_once_instead_of_asking_for_every_file(root, monkeypatch):
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: listed.append(path) or real(path))
    Pictures(str(root))
    assert [os.path.basename(folder) for folder in listed] == ['train', 'val', 'test']


def test_the_home_folder_may_be_written_as_a_tilde(root, monkeypatch):
    monkeypatch.setenv('HOME', str(root))
    assert len(Pictures('~')) == 5


def test_pictures_named_by_index_need_read_image():
    kind = type('Lazy', (SplitDataset,), dict(read_split=lambda self: Split(('a',), ('{}',), [(0, 0)])))
    with pytest.raises(NotImplementedError, match='Lazy names pictures by index but does not implement read_image'):
        kind()
