"""Files that are not what their name says neither hang the reader, nor fill the memory, nor run code."""

import os
import socket
import time

import pytest

from mmpretrain_mps.utils.files import MAX_DEPTH, list_folder, open_regular, read_json, read_text, read_yaml


def put(folder, content, name='file'):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'loop').symlink_to('loop')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / 'socket'))
        start = time.monotonic()
        for name, kind in (
            ('pipe', 'is a named pipe, expected a file'),
            ('folder', 'is a folder, expected a file'),
            ('socket', 'cannot be read: it is a socket'),
            ('loop', 'leads back to itself'),
        ):
            with pytest.raises(ValueError, match=f'{name} {kind}|{name} cannot be read: .*{kind}'):
                open_regular(tmp_path / name)
    for name in ('/dev/zero', '/dev/null'):
        with pytest.raises(ValueError, match=f'{name} is a device, expected a file'):
            read_json(name)
    with pytest.raises(ValueError, match='cannot be read'):
        open_regular('a\0b')
    assert time.monotonic() - start < 5


def test_a_missing_file_is_answered_with_where_it_is_published(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere does not exist. Published: there'):
        read_text(tmp_path / 'nowhere', 'there')
    with pytest.raises(FileNotFoundError, match='x does not exist'):
        read_text(put(tmp_path, '') / 'x')
    with pytest.raises(FileNotFoundError, match='the folder .*nowhere does not exist'):
        list_folder(tmp_path / 'nowhere')


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='nothing is forbidden to root')
def test_what_may_not_be_read_is_told_from_what_is_broken(tmp_path):
    path = put(tmp_path, '{}')
    path.chmod(0)
    with pytest.raises(ValueError, match='it may not be read by this user'):
        read_text(path)


def test_a_file_without_end_is_cut_off(tmp_path):
    from mmpretrain_mps.utils.files import read_bytes

    assert read_bytes(put(tmp_path, b'12345'), limit=5) == b'12345'
    with pytest.raises(ValueError, match='is longer than 4 bytes'):
        read_bytes(put(tmp_path, b'12345'), limit=4)


@pytest.mark.parametrize('content, found', [('ä\n', 'ä\n'), ('\ufeffä', 'ä'), ('a\r\nb\rc', 'a\nb\nc'), ('', '')])
def test_utf_8_is_read_with_and_without_its_mark(tmp_path, content, found):
    assert read_text(put(tmp_path, content)) == found


@pytest.mark.parametrize(
    'content, message',
    [
        ('grün'.encode('utf-16'), 'mark of UTF-16. Save it as UTF-8'),
        ('grün'.encode('utf-32'), 'mark of UTF-32'),
        ('a\nb\ngrün'.encode('latin-1'), 'line 3 has the byte 0xfc, as Latin-1 and Windows-1252'),
    ],
)
def test_other_encodings_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_text(put(tmp_path, content))


@pytest.mark.parametrize(
    'content, message',
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs more than once"),
        ('[' * 200000, 'nested too deeply'),
        ('[' + '9' * 5000 + ']', 'is no JSON: .*digits'),
        ('{"a": 1', 'is no JSON: Expecting'),
        ('', 'is no JSON'),
    ],
)
def test_json_that_cannot_be_trusted_is_one_message(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_json(put(tmp_path, content))


BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{name}: &{name} [{", ".join([f"*{before}"] * 9)}]\n' for before, name in zip('abcdefgh', 'bcdefghi')
)


@pytest.mark.parametrize('as_text', [True, False])
@pytest.mark.parametrize(
    'content, message',
    [
        ('a: 1\nb: 2\na: 3', "line 3 has the key 'a' for the second time"),
        ('x: {a: 1, "a": 2}', "the key 'a' for the second time"),
        (BOMB, 'holds more than 1000000 values, with its aliases written out'),
        ('a: &a [*a]', 'line 1 holds itself'),
        ('[' * 100000, f'nested more than {MAX_DEPTH} levels deep'),
        ('{a: ' * 2000, f'nested more than {MAX_DEPTH} levels deep'),
        ('a: [', 'is no YAML: '),
    ],
)
def test_yaml_that_multiplies_or_contradicts_itself_is_refused_at_once(tmp_path, content, message, as_text):
    start = time.monotonic()
    with pytest.raises(ValueError, match=message):
        read_yaml(put(tmp_path, content), as_text)
    assert time.monotonic() - start < 5


def test_yaml_builds_plain_data_alone(tmp_path):
    mark = tmp_path / 'mark'
    content = f'a: !!python/object/apply:os.system ["touch {mark}"]'
    with pytest.raises(ValueError, match='is no YAML of plain data: could not determine a constructor'):
        read_yaml(put(tmp_path, content))
    # Where all is text, a tag is passed over.
    assert read_yaml(put(tmp_path, content), as_text=True) == {'a': [f'touch {mark}']}
    assert not mark.exists()


def test_aliases_and_merged_keys_do_what_they_are_for(tmp_path):
    content = 'base: &base {lr: 0.1, on: 2}\none: {<<: *base, lr: 0.2}\ntwo: *base\n'
    found = read_yaml(put(tmp_path, content))
    assert found['one'] == {'lr': 0.2, True: 2} and found['two'] == found['base']
    assert read_yaml(put(tmp_path, 'no: 007'), as_text=True) == {'no': '007'}
