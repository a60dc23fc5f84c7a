import os
import unicodedata
from functools import partial

import pytest
from benchmark_trees import JPEG, put

from mmpretrain_mps.datasets import FewShotDataset, base, pictures
from mmpretrain_mps.datasets.picture_lists import read_class_file, read_table
from mmpretrain_mps.datasets.pictures import divide_class

# Serialized entries make no difference to these tests, but every serialization collects garbage.
PictureFolder = partial(pictures.PictureFolder, serialize_data=False)
PictureTable = partial(pictures.PictureTable, serialize_data=False)


def fill(root, **counts):
    """Put numbered pictures into folders; ``train__cat=3`` stands for three pictures in train/cat."""
    for name, count in counts.items():
        for number in range(count):
            put(os.path.join(root, *name.split('__'), f'{number}.jpg'))
    return str(root)


def items(dataset):
    return [dataset.get_data_info(i)['item'] for i in range(len(dataset))]


class TestFolders:
    def test_subsets_are_read_from_their_folders(self, tmp_path):
        root = fill(tmp_path, train__tabby_cat=3, train__dog=2, val__dog=1, test__dog=2, test__tabby_cat=1)
        train, val, test = (PictureFolder(data_root=root, subset=subset) for subset in ('train', 'val', 'test'))
        assert train.metainfo['classes'] == ('dog', 'tabby cat')
        assert train.metainfo['templates'] == ('a photo of a {}.',)
        assert items(train) == ['train/dog/0.jpg', 'train/dog/1.jpg'] + [f'train/tabby_cat/{i}.jpg' for i in range(3)]
        assert items(val) == ['val/dog/0.jpg']
        assert test.get_gt_labels().tolist() == [0, 0, 1]
        assert train.metainfo['split_id'] == test.metainfo['split_id']

    def test_a_folder_without_test_pictures_is_pointed_out_before_the_training(self, tmp_path, monkeypatch):
        told = []
        monkeypatch.setattr(base, 'print_log', lambda text, *_: told.append(text))
        PictureFolder(data_root=fill(tmp_path, train__cat=2, train__dog=2), subset='train')
        assert len(told) == 1 and 'there are pictures to train on but none to test on' in told[0]

    def test_one_tree_is_divided_by_class_without_overlap(self, tmp_path):
        root = fill(tmp_path, cat=10, dog=20)
        parts = {
            subset: PictureFolder(data_root=root, subset=subset, test_fraction=0.3, val_fraction=0.2)
            for subset in ('train', 'val', 'test')
        }
        counts = {subset: [part.get_gt_labels().tolist().count(label) for label in (0, 1)] for subset, part in parts.items()}
        assert counts == dict(train=[5, 10], val=[2, 4], test=[3, 6])
        everything = [item for part in parts.values() for item in items(part)]
        assert len(set(everything)) == len(everything) == 30

    def test_the_division_follows_its_own_seed_and_no_other_class(self, tmp_path):
        root = fill(tmp_path / 'a', cat=10, dog=10)
        first = items(PictureFolder(data_root=root, subset='test'))
        assert first == items(PictureFolder(data_root=root, subset='test'))
        assert first != items(PictureFolder(data_root=root, subset='test', split_seed=1))
        alone = items(PictureFolder(data_root=fill(tmp_path / 'b', cat=10, zebra=4), subset='test'))
        assert [item for item in alone if item.startswith('cat')] == [item for item in first if item.startswith('cat')]

    def test_few_shot_seeds_never_reach_the_test_pictures(self, tmp_path):
        root = fill(tmp_path, cat=9, dog=9)
        test = set(items(PictureFolder(data_root=root, subset='test')))
        for seed in (1, 2, 3):
            picks = FewShotDataset(dict(type='PictureFolder', data_root=root), num_shots=4, seed=seed)
            assert len(picks) == 8 and not test & set(items(picks))

    def test_nested_folders_upper_case_endings_links_and_other_scripts_are_read(self, tmp_path):
        root = fill(tmp_path / 'tree', train__cat=1, test__cat=1)
        put(os.path.join(root, 'train', 'cat', 'siamese', 'deep', 'B.JPG'))
        outside = put(str(tmp_path / 'outside' / 'linked.PNG'))
        os.symlink(outside, os.path.join(root, 'train', 'cat', 'link.png'))
        os.symlink(os.path.dirname(put(str(tmp_path / 'folder' / 'linked.PNG'))), os.path.join(root, 'train', 'cat', 'folder'))
        os.symlink(os.path.join(root, 'train'), os.path.join(root, 'train', 'cat', 'loop'))
        for path in ('犬/写真.jpg', 'été/à.jpeg'):
            put(os.path.join(root, 'train', path))
        dataset = PictureFolder(data_root=root, allow_outside=True)
        assert dataset.metainfo['classes'] == ('cat', 'été', '犬')
        assert [item for item in items(dataset) if item.startswith('train/cat')] == [
            'train/cat/0.jpg',
            'train/cat/folder/linked.PNG',
            'train/cat/link.png',
            'train/cat/siamese/deep/B.JPG',
        ]
        assert 'train/犬/写真.jpg' in items(dataset)

    def test_hidden_files_and_clutter_are_passed_over(self, tmp_path):
        root = fill(tmp_path, train__cat=1, test__cat=1)
        for path in (
            '.DS_Store',
            'train/.DS_Store',
            'train/cat/.DS_Store',
            'train/cat/Thumbs.db',
            'train/cat/._0.jpg',
            'train/.cache/x.jpg',
            '__MACOSX/train/x.jpg',
            'train/cat/desktop.ini',
            'README.md',
        ):
            put(os.path.join(root, path), 'x')
        assert items(PictureFolder(data_root=root)) == ['train/cat/0.jpg']

    def test_what_is_no_picture_is_listed_and_left_out_only_when_asked(self, tmp_path, monkeypatch):
        root = fill(tmp_path, train__cat=2, test__cat=1)
        put(os.path.join(root, 'train', 'cat', 'notes.txt'), 'text')
        put(os.path.join(root, 'train', 'cat', 'page.jpg'), '<html>')
        put(os.path.join(root, 'train', 'cat', 'void.jpg'), '')
        os.symlink('nowhere', os.path.join(root, 'train', 'cat', 'gone.jpg'))
        with pytest.raises(ValueError) as info:
            PictureFolder(data_root=root)
        assert '4 of 6 files are no pictures: train/cat/gone.jpg (broken link), train/cat/notes.txt (ending of no p' in str(
            info.value
        )
        assert 'train/cat/page.jpg (content of no picture), train/cat/void.jpg (empty file)' in str(info.value)
        assert str(info.value).endswith('skip_invalid=True.')
        messages = []
        monkeypatch.setattr(pictures, 'print_log', lambda message, *args: messages.append(message))
        assert len(PictureFolder(data_root=root, skip_invalid=True)) == 2
        assert 'left out 4 of 6 files, which are no pictures: train/cat/gone.jpg (broken link)' in messages[0]

    def test_an_empty_class_folder_is_an_error(self, tmp_path):
        root = fill(tmp_path, train__cat=1, test__cat=1)
        os.mkdir(os.path.join(root, 'train', 'dog'))
        with pytest.raises(ValueError, match='train: the class folders dog hold no pictures'):
            PictureFolder(data_root=root)

    def test_empty_folders_are_errors(self, tmp_path):
        with pytest.raises(ValueError, match='there is no class folder'):
            PictureFolder(data_root=str(tmp_path))
        os.mkdir(tmp_path / 'train')
        with pytest.raises(ValueError, match='train: there is no class folder'):
            PictureFolder(data_root=str(tmp_path))

    def test_a_class_to_test_on_that_was_never_seen_is_an_error(self, tmp_path):
        root = fill(tmp_path, train__cat=1, test__cat=1, test__dog=1)
        with pytest.raises(ValueError, match='the classes dog of "test" are not in "train"'):
            PictureFolder(data_root=root)

    def test_pictures_beside_the_class_folders_are_an_error(self, tmp_path):
        root = fill(tmp_path, train__cat=1, test__cat=1)
        put(os.path.join(root, 'train', 'stray.jpg'))
        with pytest.raises(ValueError, match='1 pictures lie beside the class folders: train/stray.jpg'):
            PictureFolder(data_root=root)

    def test_subset_folders_of_other_names_are_not_passed_over_in_silence(self, tmp_path):
        root = fill(tmp_path, train__cat=1, validation__cat=1)
        with pytest.raises(ValueError, match='holds validation beside train; expected no other folders than train'):
            PictureFolder(data_root=root)

    def test_a_test_folder_without_a_training_folder_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match='holds test but no train'):
            PictureFolder(data_root=fill(tmp_path, test__cat=1))

    def test_train_may_be_a_class_of_vehicles(self, tmp_path):
        root = fill(tmp_path, bus=3, train=3)
        assert PictureFolder(data_root=root).metainfo['classes'] == ('bus', 'train')

    def test_a_missing_test_set_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match='subset "test"'):
            PictureFolder(data_root=fill(tmp_path, train__cat=1), subset='test')

    def test_a_missing_root_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="data_root='.*nowhere' does not exist; expected a folder with"):
            PictureFolder(data_root=str(tmp_path / 'nowhere'))
        with pytest.raises(FileNotFoundError, match='No picture folder is named; .* --cfg-options data_root=DIR'):
            PictureFolder()

    @pytest.mark.parametrize(
        'fractions',
        [dict(test_fraction=0), dict(test_fraction=1.0), dict(val_fraction=-0.1), dict(test_fraction=0.6, val_fraction=0.4)],
    )
    def test_fractions_that_leave_nothing_are_refused(self, tmp_path, fractions):
        with pytest.raises(ValueError, match='expected shares from 0 to 1 that leave something to train on'):
            PictureFolder(data_root=fill(tmp_path, cat=3), **fractions)


class TestNames:
    def test_readable_names_and_templates_come_from_the_class_file(self, tmp_path):
        root = fill(tmp_path, n01=3, no=3)
        put(
            os.path.join(root, 'classes.yaml'),
            'classes:\n  no: no entry sign\n  n01: Stop_sign\ntemplates: ["a traffic sign: {}."]\n',
        )
        dataset = PictureFolder(data_root=root)
        assert dataset.metainfo['classes'] == ('Stop_sign', 'no entry sign')
        assert dataset.metainfo['templates'] == ('a traffic sign: {}.',)

    def test_names_do_not_change_the_identity_of_the_split(self, tmp_path):
        root = fill(tmp_path, a=3, b=3)
        plain = PictureFolder(data_root=root)
        path = put(str(tmp_path / 'other.yml'), 'classes: {a: same, b: same}')
        named = PictureFolder(data_root=root, class_file=path)
        assert named.metainfo['classes'] == ('same', 'same')
        assert named.metainfo['split_id'] == plain.metainfo['split_id']

    def test_accents_may_be_composed_in_one_place_and_not_in_the_other(self, tmp_path):
        root = fill(tmp_path, **{unicodedata.normalize('NFD', 'café'): 2, 'bar': 2})
        text = unicodedata.normalize('NFC', 'classes: {café: coffee house, bar: bar}')
        path = put(str(tmp_path / 'names.yaml'), text)
        assert PictureFolder(data_root=root, class_file=path).metainfo['classes'] == ('bar', 'coffee house')
        assert PictureFolder(data_root=root).metainfo['classes'] == ('bar', unicodedata.normalize('NFC', 'café'))

    @pytest.mark.parametrize(
        'text, message',
        [
            ('classes: {a: x}', 'does not fit the classes of here: it does not name b'),
            ('classes: {a: x, b: y, c: z}', 'it names c, which is no class there'),
            ('classes: {a: x, c: z}', 'it does not name b and names c, which'),
            ('names: {a: x, b: y}', "holds names, expected 'classes' and 'templates'"),
            ('- a', "holds list, expected 'classes' and 'templates'"),
            ('classes: [a, b]', "'classes' is .*, expected a mapping of folder or label to readable name"),
            ('classes: {a: [x], b: y}', 'expected a mapping'),
            ('classes: {a', 'is no YAML'),
        ],
    )
    def test_a_class_file_that_does_not_fit_is_one_clear_error(self, tmp_path, text, message):
        path = put(str(tmp_path / 'classes.yaml'), text)
        with pytest.raises(ValueError, match=message) as info:
            read_class_file(path, ['a', 'b'], 'here')
        assert path in str(info.value)

    def test_a_template_without_a_place_for_the_name_is_an_error(self, tmp_path):
        root = fill(tmp_path, a=2, b=2)
        put(os.path.join(root, 'classes.yaml'), 'templates: [a photo]')
        with pytest.raises(ValueError, match="template 'a photo'"):
            PictureFolder(data_root=root)

    def test_what_only_looks_like_a_class_file_is_no_reason_to_go_without(self, tmp_path):
        root = fill(tmp_path, a=2, b=2)
        os.symlink('classes.yaml', os.path.join(root, 'classes.yaml'))
        with pytest.raises(ValueError, match='classes.yaml cannot be read: it is a link that leads back to itself'):
            PictureFolder(data_root=root)
        os.unlink(os.path.join(root, 'classes.yaml'))
        os.mkdir(os.path.join(root, 'classes.yaml'))
        with pytest.raises(ValueError, match='classes.yaml is a folder, expected a file'):
            PictureFolder(data_root=root)

    def test_no_name_is_no_class_called_null(self, tmp_path):
        path = put(str(tmp_path / 'classes.yaml'), 'classes: {a: null, null: b}')
        with pytest.raises(ValueError, match="'classes' is {'a': None, 'null': 'b'}, expected a mapping of folder"):
            read_class_file(path, ['a', 'null'], 'here')
        path = put(str(tmp_path / 'classes.yaml'), "classes: {a: 'null', null: b}")
        assert read_class_file(path, ['a', 'null'], 'here')[0] == ['null', 'b']

    def test_a_class_file_that_was_named_must_exist(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='names.yaml does not exist'):
            PictureFolder(data_root=fill(tmp_path, a=2, b=2), class_file='names.yaml')


class TestTables:
    def write(self, root, *lines):
        return put(os.path.join(str(root), 'pictures.csv'), '\n'.join(lines) + '\n')

    def test_a_table_with_a_split_column_is_taken_as_it_is(self, tmp_path):
        fill(tmp_path, images=4)
        self.write(
            tmp_path,
            'label,split,path,comment',
            '"dog, big",train,images/0.jpg,"a, b"',
            'tabby_cat,train,images/1.jpg,',
            '',
            'tabby_cat,test,images/2.jpg,x',
            'tabby_cat,val,images/3.jpg,',
        )
        train, test = (PictureTable(data_root=str(tmp_path), subset=subset) for subset in ('train', 'test'))
        assert train.metainfo['classes'] == ('dog, big', 'tabby cat')
        assert (items(train), items(test)) == (['images/0.jpg', 'images/1.jpg'], ['images/2.jpg'])
        assert test.get_gt_labels().tolist() == [1]
        assert train.get_data_info(0)['img_path'] == str(tmp_path / 'images' / '0.jpg')

    def test_a_table_without_it_is_divided_by_class(self, tmp_path):
        fill(tmp_path, x=10)
        path = self.write(tmp_path, 'path,label', *(f'x/{i}.jpg,{"odd" if i % 2 else "even"}' for i in range(10)))
        train, test = (PictureTable(table=path, subset=subset, test_fraction=0.4) for subset in ('train', 'test'))
        assert train.get_gt_labels().tolist() == [0, 0, 0, 1, 1, 1]
        assert test.get_gt_labels().tolist() == [0, 0, 1, 1]
        assert not set(items(train)) & set(items(test))

    def test_excel_byte_order_marks_and_line_ends_are_read(self, tmp_path):
        path = put(str(tmp_path / 'pictures.csv'), '\ufeffPath,Label\r\na.jpg,x\r\n')
        assert read_table(path) == [('a.jpg', 'x', None)]

    @pytest.mark.parametrize(
        'lines, message',
        [
            (['a.jpg,cat', 'b.jpg,dog'], "begins with 'a.jpg,cat', expected the header path,label or path,label,split"),
            (['path;label', 'a.jpg;cat'], "begins with 'path;label', expected the header"),
            ([''], "begins with '', expected the header"),
            (['path,label'], 'has a header but no rows'),
            (['path,label', 'a.jpg'], 'line 2 has 1 values, expected 2: path,label'),
            (['path,label', 'a.jpg,cat', '', ',cat'], r"line 4 is \['', 'cat'\], expected a path and a label"),
            (['path,label', 'a.jpg, '], r'line 2 is .*, expected a path and a label'),
            (['path,label,split', 'a.jpg,cat,dev'], "line 2 has the split 'dev', expected one of train, val, test"),
        ],
    )
    def test_a_table_that_cannot_be_read_is_one_clear_error(self, tmp_path, lines, message):
        path = self.write(tmp_path, *lines)
        with pytest.raises(ValueError, match=message) as info:
            read_table(path)
        assert str(info.value).startswith(path)

    def test_bytes_that_are_no_text_are_an_error(self, tmp_path):
        path = put(str(tmp_path / 'pictures.csv'), JPEG)
        with pytest.raises(ValueError, match='is no UTF-8 text'):
            read_table(path)

    def test_one_picture_under_two_spellings_is_a_duplicate(self, tmp_path):
        fill(tmp_path, x=1)
        self.write(tmp_path, 'path,label,split', 'x/0.jpg,a,train', './x/0.jpg,a,test')
        with pytest.raises(ValueError, match="repeats 'x/0.jpg'"):
            PictureTable(data_root=str(tmp_path))

    def test_missing_files_duplicates_and_absolute_paths_are_errors(self, tmp_path):
        fill(tmp_path, x=4)
        self.write(tmp_path, 'path,label', 'x/0.jpg,a', 'x/1.jpg,a', 'x/7.jpg,b', 'x/8.jpg,b')
        with pytest.raises(FileNotFoundError, match='of which 2 are missing under .*: x/7.jpg, x/8.jpg'):
            PictureTable(data_root=str(tmp_path))
        self.write(tmp_path, 'path,label', 'x/0.jpg,a', 'x/0.jpg,b')
        with pytest.raises(ValueError, match="repeats 'x/0.jpg'"):
            PictureTable(data_root=str(tmp_path))
        self.write(tmp_path, 'path,label', f'{tmp_path}/x/0.jpg,a', f'{tmp_path}/x/1.jpg,a')
        with pytest.raises(ValueError, match='line 2 has the path .*, expected one below the image folder'):
            PictureTable(data_root=str(tmp_path))

    def test_a_class_only_to_test_on_is_an_error(self, tmp_path):
        fill(tmp_path, x=2)
        self.write(tmp_path, 'path,label,split', 'x/0.jpg,a,train', 'x/1.jpg,b,test')
        with pytest.raises(ValueError, match='the classes b of "test" are not in "train"'):
            PictureTable(data_root=str(tmp_path))

    def test_what_is_no_picture_is_left_out_only_when_asked(self, tmp_path):
        fill(tmp_path, x=3)
        put(str(tmp_path / 'x' / '3.jpg'), 'text')
        lines = [f'x/{i}.jpg,a,{"test" if i == 2 else "train"}' for i in range(4)]
        self.write(tmp_path, 'path,label,split', *lines)
        with pytest.raises(ValueError, match=r'1 of 4 files are no pictures: x/3.jpg \(content of no picture\)'):
            PictureTable(data_root=str(tmp_path))
        assert items(PictureTable(data_root=str(tmp_path), skip_invalid=True)) == ['x/0.jpg', 'x/1.jpg']
        put(str(tmp_path / 'x' / '4.jpg'), 'text')
        self.write(tmp_path, 'path,label,split', *lines, 'x/4.jpg,b,train')
        with pytest.raises(ValueError, match='no picture is left of the classes b'):
            PictureTable(data_root=str(tmp_path), skip_invalid=True)

    def test_a_missing_table_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='pictures.csv does not exist; expected a CSV file with the'):
            PictureTable(data_root=str(tmp_path))


@pytest.mark.parametrize('count, expected', [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (5, 2, 3))])
def test_a_class_always_keeps_a_picture_to_train_on(count, expected):
    parts = divide_class([f'{i:02}' for i in range(count)], 0.3, 0.2, '0/cat')
    assert tuple(map(len, parts)) == expected
    assert all(part == sorted(part) for part in parts)
