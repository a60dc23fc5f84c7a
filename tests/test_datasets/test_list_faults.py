"""Lists of pictures that hide a picture twice, lead elsewhere, or would never end."""

import json
import os
import time

import pytest
from benchmark_trees import put

from mmpretrain_mps.datasets import few_shot, folder_listing, index_file
from mmpretrain_mps.datasets.few_shot import FewShotDataset
from mmpretrain_mps.datasets.folder_listing import CACHE_VERSION, list_class_folders
from mmpretrain_mps.datasets.split import Split, check_files, check_split, plain_path
from mmpretrain_mps.datasets.split_readers import load_json_split, read_json_split

ROW = ['a/0.png', 0, 'cat']


def write(folder, text=None, **subsets):
    content = {'train': [ROW], 'val': [], 'test': [['a/1.png', 0, 'cat']], **subsets}
    return put(str(folder / 'split.json'), json.dumps(content) if text is None else text)


@pytest.mark.parametrize('path', ['./a/0.png', 'a//0.png', 'a/./0.png', 'a/b/../0.png'])
def test_a_test_picture_does_not_hide_among_the_training_pictures(tmp_path, path):
    split = read_json_split(write(tmp_path, test=[[path, 0, 'cat']]), ('a {}.',))
    assert split.test == [('a/0.png', 0)]
    with pytest.raises(ValueError, match='row 0 of "test" repeats .a/0.png. of row 0 of "train"'):
        check_split(split)


@pytest.mark.parametrize('path', ['../a.png', 'a/../../b.png', '/etc/passwd', '..'])
def test_a_path_that_leads_out_of_the_image_folder_is_refused(tmp_path, path):
    with pytest.raises(ValueError, match='row 0 of "train" has the path .*, expected one below the image folder'):
        load_json_split(write(tmp_path, train=[[path, 0, 'cat']]))
    # Data sets in Python get no further than lists in JSON.
    with pytest.raises(ValueError, match='row 0 of "train" has the path'):
        check_split(Split(('cat',), ('{}',), [(path, 0)]))
    assert check_split(Split(('cat',), ('{}',), [(plain_path(path, '', True), 0)]), allow_outside=True) is None


@pytest.mark.parametrize('path', ['./a.png', 'a//b.png', 'a/./b.png', 'a/', '', 'a\0b'])
def test_rows_have_their_paths_in_one_form(path):
    with pytest.raises(ValueError, match='row 0 of "train" has the path'):
        check_split(Split(('cat',), ('{}',), [(path, 0)]))


def test_hidden_and_dotted_names_are_names():
    check_split(Split(('cat',), ('{}',), [('.a.png', 0), ('a/.b.png', 0), ('a/..b.png', 0), ('a/b..png', 0)]))


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"train": [], "train": [["a.png", 0, "cat"]], "val": [], "test": []}', "the key 'train' occurs more than once"),
        ('[' * 100000, 'nested too deeply'),
        ('{"train": [["a.png", ' + '1' * 5000 + ', "cat"]]}', 'is no JSON'),
        ('{"train"', 'is no JSON'),
    ],
)
def test_a_split_file_says_one_thing(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_json_split(write(tmp_path, text))


@pytest.mark.parametrize('read', [load_json_split, index_file.read])
def test_nobody_waits_for_a_pipe_or_a_device(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe')
    start = time.monotonic()
    for path in (tmp_path / 'pipe', tmp_path, '/dev/zero'):
        with pytest.raises(ValueError, match='expected a file'):
            read(str(path))
    assert time.monotonic() - start < 5


class TestLinks:
    def test_links_out_of_the_image_folder_are_followed_only_when_asked(self, tmp_path):
        put(str(tmp_path / 'elsewhere' / 'a.png'))
        put(str(tmp_path / 'root' / 'x' / 'b.png'))
        os.symlink(tmp_path / 'elsewhere' / 'a.png', tmp_path / 'root' / 'x' / 'link.png')
        os.symlink(tmp_path / 'elsewhere', tmp_path / 'root' / 'folder')
        os.symlink('b.png', tmp_path / 'root' / 'x' / 'inside.png')
        root = str(tmp_path / 'root')
        check_files(['x/b.png', 'x/inside.png'], root, 'list')  # the links beside them are not named
        for path in ('x/link.png', 'folder/a.png'):
            with pytest.raises(ValueError, match=f'list: 1 pictures lie outside of .*: {path}; .* leads to .*elsewhere'):
                check_files(['x/b.png', path], root, 'list')
        check_files(['x/link.png', 'folder/a.png'], root, 'list', allow_outside=True)

    def test_the_image_folder_itself_may_be_a_link(self, tmp_path):
        put(str(tmp_path / 'elsewhere' / 'a.png'))
        os.symlink(tmp_path / 'elsewhere', tmp_path / 'root')
        check_files(['a.png'], str(tmp_path / 'root'), 'list')


class TestIndexFiles:
    INDEX = index_file.IndexFile('Animals', 'train', 1, 7, 'a' * 64, ('dog', 'cat'), (('x/0.png', 0), ('x/0.png', 0)))

    def test_a_picture_that_is_picked_twice_is_refused_even_with_a_fresh_hash(self, tmp_path):
        index_file.write(str(tmp_path / 'picks.json'), self.INDEX)
        with pytest.raises(ValueError, match='names x/0.png more than once, expected every picture once'):
            index_file.read(str(tmp_path / 'picks.json'))

    def test_paths_that_several_pictures_have_are_no_way_to_find_them(self):
        with pytest.raises(ValueError, match='has several pictures of one path and label'):
            index_file.locate(self.INDEX, (('x/0.png', 0), ('x/0.png', 0)), 'Animals', 'train', 'a' * 64, 2)

    def test_class_names_that_moved_are_pointed_out(self, tmp_path, monkeypatch):
        for name in ('cat', 'dog'):
            for number in range(3):
                put(str(tmp_path / 'tree' / name / f'{number}.jpg'))
        source = dict(type='PictureFolder', data_root=str(tmp_path / 'tree'))
        drawn = FewShotDataset(source, num_shots=1, seed=1)
        index_file.write(str(tmp_path / 'picks.json'), drawn.index._replace(classes=('dog', 'cat')))
        told = []
        monkeypatch.setattr(few_shot, 'print_log', lambda text, **_: told.append(text))
        read = FewShotDataset(source, index_file=str(tmp_path / 'picks.json'))
        assert read.metainfo['picks_id'] == drawn.metainfo['picks_id']
        assert any(
            "2 of 2 class names are not those of PictureFolder, class 0 is 'dog' there and 'cat' here" in text for text in told
        )


@pytest.mark.parametrize('names', [['../../../etc/passwd.jpg'], ['/etc/x.jpg'], ['x/y.jpg'], [5], 'a.jpg', ['passwd']])
def test_a_forged_listing_leads_nowhere_else(tmp_path, names):
    put(str(tmp_path / 'tree' / 'a' / '0.jpg'))
    os.utime(tmp_path / 'tree' / 'a', (1_000_000_000, 1_000_000_000))
    list_class_folders(str(tmp_path / 'tree'), str(tmp_path / 'cache'))
    (cache,) = (tmp_path / 'cache').iterdir()
    stamp = os.stat(tmp_path / 'tree' / 'a').st_mtime_ns
    for body in (json.dumps({'a': [stamp, names]}), '[' * 200000, '[]', '5'):
        header = dict(version=CACHE_VERSION, root='', sha256=folder_listing._digest(body))
        cache.write_text(json.dumps(header) + '\n' + body)
        assert list_class_folders(str(tmp_path / 'tree'), str(tmp_path / 'cache')) == {'a': ['0.jpg']}


def test_a_listing_that_is_a_pipe_is_not_waited_for(tmp_path):
    put(str(tmp_path / 'tree' / 'a' / '0.jpg'))
    list_class_folders(str(tmp_path / 'tree'), str(tmp_path / 'cache'))
    (cache,) = (tmp_path / 'cache').iterdir()
    cache.unlink()
    os.mkfifo(cache)
    assert list_class_folders(str(tmp_path / 'tree'), str(tmp_path / 'cache')) == {'a': ['0.jpg']}
