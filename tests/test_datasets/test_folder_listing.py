import os
import stat

import pytest
from benchmark_trees import put

from mmpretrain_mps.datasets import folder_listing
from mmpretrain_mps.datasets.folder_listing import default_cache_dir, list_class_folders


@pytest.fixture
def tree(tmp_path):
    """Two class folders that were last changed long ago."""
    for name in ('b/2.jpg', 'b/10.JPEG', 'a/é.PNG', 'a/.hidden.jpg', 'a/notes.txt', '.git/x.jpg', 'loose.jpg'):
        put(str(tmp_path / 'tree' / name))
    age(tmp_path / 'tree')
    return tmp_path / 'tree'


def age(tree, seconds=1_000_000_000):
    for name in ('a', 'b'):
        os.utime(tree / name, (seconds, seconds))


def refuse_to_list(folder):
    raise AssertionError(f'{folder} was listed again')


EXPECTED = {'a': ['é.PNG'], 'b': ['10.JPEG', '2.jpg']}


def test_folders_and_pictures_are_sorted_and_other_files_passed_over(tree, tmp_path):
    listing = list_class_folders(str(tree), str(tmp_path / 'cache'))
    assert listing == EXPECTED
    assert list(listing) == ['a', 'b']


def test_the_second_listing_comes_from_the_cache(tree, tmp_path, monkeypatch):
    list_class_folders(str(tree), str(tmp_path / 'cache'))
    monkeypatch.setattr(folder_listing, '_list_pictures', refuse_to_list)
    assert list_class_folders(str(tree), str(tmp_path / 'cache')) == EXPECTED


def test_a_changed_folder_alone_is_listed_again(tree, tmp_path, monkeypatch):
    list_class_folders(str(tree), str(tmp_path / 'cache'))
    put(str(tree / 'b' / '3.jpg'))
    listed, real = [], folder_listing._list_pictures
    monkeypatch.setattr(folder_listing, '_list_pictures', lambda folder: listed.append(folder) or real(folder))
    assert list_class_folders(str(tree), str(tmp_path / 'cache'))['b'] == ['10.JPEG', '2.jpg', '3.jpg']
    assert listed == [str(tree / 'b')]


def test_a_folder_that_was_just_changed_is_not_trusted(tree, tmp_path):
    os.utime(tree / 'b')
    cache = str(tmp_path / 'cache')
    list_class_folders(str(tree), cache)
    stamp = os.stat(tree / 'b').st_mtime_ns
    put(str(tree / 'b' / '3.jpg'))
    os.utime(tree / 'b', ns=(stamp, stamp))  # as on a file system with coarse time stamps
    assert '3.jpg' in list_class_folders(str(tree), cache)['b']


def test_new_and_removed_folders_are_noticed(tree, tmp_path):
    cache = str(tmp_path / 'cache')
    list_class_folders(str(tree), cache)
    os.rename(tree / 'a', tree / 'c')
    assert list(list_class_folders(str(tree), cache)) == ['b', 'c']


@pytest.mark.parametrize(
    'damage',
    [
        lambda text: text[:-20],
        lambda text: '',
        lambda text: 'no json\n{}',
        lambda text: '[]\n{}',
        lambda text: text.replace('10.JPEG', '11.JPEG'),
        lambda text: text.replace('"version": 1', '"version": 0'),
    ],
)
def test_a_damaged_cache_is_rebuilt(tree, tmp_path, damage):
    cache = tmp_path / 'cache'
    list_class_folders(str(tree), str(cache))
    (file,) = cache.iterdir()
    sound = file.read_text(encoding='utf-8')
    damaged = damage(sound)
    assert damaged != sound
    file.write_text(damaged, encoding='utf-8')
    assert list_class_folders(str(tree), str(cache)) == EXPECTED
    assert file.read_text(encoding='utf-8') == sound


def test_a_cache_that_cannot_be_written_is_done_without(tree, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(folder_listing, 'print_log', lambda message, *args: messages.append(message))
    blocked = put(str(tmp_path / 'file'))
    assert list_class_folders(str(tree), os.path.join(blocked, 'cache')) == EXPECTED
    assert 'is not cached' in messages[-1]


def test_nothing_is_written_when_the_cache_is_off_nor_into_the_tree(tree, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    before = sorted(os.listdir(tree))
    mode = stat.S_IMODE(os.stat(tree).st_mode)
    os.chmod(tree, 0o555)
    try:
        assert list_class_folders(str(tree), '') == EXPECTED
        assert not os.path.exists(tmp_path / 'home')
        list_class_folders(str(tree))
    finally:
        os.chmod(tree, mode)
    assert sorted(os.listdir(tree)) == before
    assert len(os.listdir(tmp_path / 'home' / 'mmpretrain_mps' / 'listings')) == 1


def test_the_cache_lies_below_the_home_folder_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert default_cache_dir() == os.path.expanduser('~/.cache/mmpretrain_mps/listings')


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere does not exist; it must hold one folder per class'):
        list_class_folders(str(tmp_path / 'nowhere'), '')
