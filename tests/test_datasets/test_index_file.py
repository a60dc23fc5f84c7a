import hashlib
import json
import os

import pytest

from mmpretrain_mps.datasets import index_file
from mmpretrain_mps.datasets.index_file import IndexFile

ROWS = (('katzen/größe.jpg', 1), ('dogs/1.jpg', 0))
INDEX = IndexFile('Animals', 'train', 1, 7, 'a' * 64, ('dog', 'cat'), ROWS)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'new folder' / 'picks.json'
    index_file.write(str(path), INDEX)
    return path


def change(path, **changes):
    content = json.loads(path.read_text(encoding='utf-8'))
    content.update(changes)
    path.write_text(json.dumps(content), encoding='utf-8')


def locate(index, rows=ROWS, **changes):
    arguments = dict(dataset='Animals', subset='train', split_id='a' * 64, num_classes=2)
    return index_file.locate(index, rows, **{**arguments, **changes})


def test_what_was_written_is_read(path):
    index = index_file.read(str(path))
    assert index == INDEX._replace(path=str(path), classes=['dog', 'cat'])
    assert [file.name for file in path.parent.iterdir()] == ['picks.json']  # nothing unfinished is left


@pytest.mark.parametrize('place', ['.', '', 'there', 'new/'])
def test_a_folder_is_refused_and_nothing_is_left(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there').mkdir()
    with pytest.raises(IsADirectoryError):
        index_file.write(place, INDEX)
    assert [file.name for file in tmp_path.rglob('*')] == ['there']


def test_the_file_has_the_documented_form(path):
    content = json.loads(path.read_text(encoding='utf-8'))
    text = '[["katzen/größe.jpg",1,"cat"],["dogs/1.jpg",0,"dog"]]'
    assert content == dict(
        format='mmpretrain_mps-picks',
        version=1,
        dataset='Animals',
        subset='train',
        num_shots=1,
        seed=7,
        rule='coop-1',
        split_id='a' * 64,
        sha256=hashlib.sha256(text.encode('utf-8')).hexdigest(),
        classes=['dog', 'cat'],
        items=[dict(path='katzen/größe.jpg', label=1, classname='cat'), dict(path='dogs/1.jpg', label=0, classname='dog')],
    )


def test_a_name_that_is_no_utf_8_survives(tmp_path):
    name = os.fsdecode(b'dogs/\xff.jpg')
    index_file.write(str(tmp_path / 'a.json'), INDEX._replace(rows=((name, 0),)))
    assert index_file.read(str(tmp_path / 'a.json')).rows == ((name, 0),)


def test_an_empty_list_of_picks_is_still_json(tmp_path):
    index_file.write(str(tmp_path / 'a.json'), INDEX._replace(rows=()))
    assert index_file.read(str(tmp_path / 'a.json')).rows == ()


def test_picks_are_found_in_their_order(path):
    rows = [('dogs/0.jpg', 0), ('dogs/1.jpg', 0), ('katzen/größe.jpg', 1)]
    assert locate(index_file.read(str(path)), rows) == [2, 1]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(items=[dict(path='dogs/2.jpg', label=0, classname='dog')]), 'states the SHA-256 .* but they have .*changed'),
        (dict(sha256='0' * 64), 'states the SHA-256 0{64} of its items, but they have'),
        (dict(format='other'), "has the format 'other', expected 'mmpretrain_mps-picks'"),
        (dict(version=2), 'has version 2, expected 1'),
        (dict(rule='other-1'), "follows the sampling rule 'other-1', expected 'coop-1'"),
        (dict(num_shots='16'), "'num_shots' is '16', expected int"),
        (dict(items=None), "'items' is None, expected list"),
        (dict(classes=['dog', '']), "the name of class 1 is ''"),
        (dict(items=[['dogs/1.jpg', 0]]), 'item 0 is .*, expected the keys path, label, classname'),
        (dict(items=[dict(path='dogs/1.jpg', label=2, classname='dog')]), r'item 0 has the label 2, expected 0\.\.1'),
        (dict(items=[dict(path='dogs/1.jpg', label=1, classname='dog')]), "item 0 calls class 1 'dog', expected 'cat'"),
        (dict(items=[dict(path='/dogs/1.jpg', label=0, classname='dog')]), "path '/dogs/1.jpg', expected a relative"),
    ],
)
def test_a_damaged_file_is_refused_and_named(path, changes, message):
    change(path, **changes)
    with pytest.raises(ValueError, match=f'picks.json.*{message}'):
        index_file.read(str(path))


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'path,label\n')
    with pytest.raises(ValueError, match='a.json is no index file: it does not hold JSON'):
        index_file.read(str(tmp_path / 'a.json'))
    (tmp_path / 'b.json').write_text('[]')
    with pytest.raises(ValueError, match="b.json has the format 'list'"):
        index_file.read(str(tmp_path / 'b.json'))
    with pytest.raises(FileNotFoundError, match='Index file .*c.json does not exist'):
        index_file.read(str(tmp_path / 'c.json'))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(dataset='Plants'), "is for the data set 'Animals', expected 'Plants'"),
        (dict(subset='val'), "is for the subset 'train', expected 'val'"),
        (dict(num_classes=3), 'is for the number of classes 2, expected 3'),
        (dict(split_id='b' * 64), 'was drawn from the split a{64} of Animals, but this data set has the split b{64}'),
        (dict(rows=[('dogs/1.jpg', 0)]), r"names 2 pictures, of which 1 are not among the 1 .*'katzen/größe.jpg', 1"),
        (dict(rows=[('dogs/1.jpg', 1), ROWS[0]]), r"names .* not among the 2 .* with the same label: \('dogs/1.jpg', 0"),
    ],
)
def test_a_file_for_another_data_set_is_refused(path, changes, message):
    with pytest.raises(ValueError, match=f'picks.json {message}'):
        locate(index_file.read(str(path)), **changes)


def test_as_many_pictures_as_the_shots_say_or_all_that_there_are():
    rows = [(f'a/{number}', 0) for number in range(5)] + [('b/0', 1)]
    for shots, subset, picks in ((2, 'train', [0, 3, 5]), (16, 'train', [0, 1, 2, 3, 4, 5]), (16, 'val', [0, 1, 2, 4, 5])):
        index = INDEX._replace(num_shots=shots, subset=subset, rows=tuple(rows[pick] for pick in picks))
        assert locate(index, rows, subset=subset) == picks
        asked = min(shots, 4) if subset == 'val' else shots
        with pytest.raises(ValueError, match=f'has {len(picks) - 2} of class 0, expected {asked} of each'):
            locate(index._replace(rows=index.rows[1:]), rows, subset=subset)
