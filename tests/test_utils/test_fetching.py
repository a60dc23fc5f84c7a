"""Checkpoints by address become files of their own, whole or not at all."""

import os
import threading

import pytest
import torch
from payloads import _Quiet, serving

from mmpretrain_mps.utils import fetching
from mmpretrain_mps.utils.fetching import local_checkpoint


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MMPRETRAIN_MPS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(fetching, 'TIMEOUT', 1)
    return tmp_path / 'cache' / 'checkpoints'


def put(folder, number, name='epoch_1.pth'):
    folder.mkdir(exist_ok=True)
    torch.save(dict(number=number), folder / name)
    return folder


def number_of(path):
    return torch.load(path, weights_only=True)['number']


def test_two_addresses_are_two_files_whatever_they_end_in(tmp_path):
    put(tmp_path / 'served', 0)
    for name, number in (('a', 1), ('b', 2)):
        put(tmp_path / 'served' / name, number)
    with serving(tmp_path / 'served') as address:
        paths = [local_checkpoint(f'{address}/{part}epoch_1.pth') for part in ('a/', 'b/', '')]
    assert [number_of(path) for path in paths] == [1, 2, 0] and len(set(paths)) == 3


def test_a_file_is_fetched_again_only_when_it_has_changed(tmp_path, monkeypatch):
    folder, written = put(tmp_path / 'served', 1), []
    real = fetching._write
    monkeypatch.setattr(fetching, '_write', lambda *arguments: written.append(1) or real(*arguments))
    with serving(folder) as address:
        first = local_checkpoint(f'{address}/epoch_1.pth')
        assert local_checkpoint(f'{address}/epoch_1.pth') == first and len(written) == 1
        put(folder, 2)
        os.utime(folder / 'epoch_1.pth', (2e9, 2e9))
        assert number_of(local_checkpoint(f'{address}/epoch_1.pth')) == 2 and len(written) == 2
    # Without the server, what is there has to do.
    assert number_of(local_checkpoint(f'{address}/epoch_1.pth')) == 2


class Breaks(_Quiet):
    """Says more than it sends, or nothing for a long time, or something else."""

    wait = threading.Event()

    def do_GET(self):
        if 'broken' in self.path:
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(b'x' * 10)
        elif 'stalled' in self.path:
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wait.wait(20)
        elif 'silent' in self.path:
            self.wait.wait(20)
        elif 'elsewhere' in self.path:
            self.send_response(302)
            self.send_header('Location', 'file:///etc/passwd')
            self.end_headers()
        else:
            super().do_GET()


@pytest.mark.parametrize(
    'path, message',
    [
        ('broken.pth', 'cannot be fetched whole: the server broke off after 10 of 1000 bytes|IncompleteRead'),
        ('stalled.pth', 'cannot be fetched whole: .*timed out'),
        ('silent.pth', 'cannot be fetched: .*timed out'),
        ('none.pth', 'the server answers 404'),
        ('elsewhere.pth', 'cannot be fetched: .*'),
    ],
)
def test_what_does_not_come_whole_is_one_message_and_leaves_nothing(tmp_path, cache, path, message):
    with serving(put(tmp_path / 'served', 1), Breaks) as address:
        with pytest.raises(ValueError, match=message):
            local_checkpoint(f'{address}/{path}')
        Breaks.wait.set()
    Breaks.wait.clear()
    assert not [file for file in cache.glob('*') if file.suffix != '.lock']


@pytest.mark.parametrize('address', ['http://127.0.0.1:1/x.pth', 'https://nohost.invalid/x.pth', 'http://', 'http://[/x'])
def test_a_server_that_is_none_is_one_message(address):
    with pytest.raises(ValueError, match='cannot be fetched'):
        local_checkpoint(address)


@pytest.mark.parametrize('name', ['s3://bucket/x.pth', 'foo://x', 'open-mmlab://resnet50', 'file:///etc/passwd', 'ftp://a/b'])
def test_other_addresses_are_refused(name):
    with pytest.raises(ValueError, match='expected a file, or an address of http or https'):
        local_checkpoint(name)


def test_files_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_checkpoint('a/b.pth') == 'a/b.pth' and '~' not in local_checkpoint('~/b.pth')
    (tmp_path / 'http:' / 'x').mkdir(parents=True)
    put(tmp_path / 'http:' / 'x', 1)
    assert local_checkpoint('http://x/epoch_1.pth') == str(tmp_path / 'http:' / 'x' / 'epoch_1.pth')


def test_without_a_cache_files_last_as_long_as_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv('MMPRETRAIN_MPS_CACHE', 'off')
    with serving(put(tmp_path / 'served', 1)) as address:
        path = local_checkpoint(f'{address}/epoch_1.pth')
    assert number_of(path) == 1 and str(fetching._own_folder()) in path
    assert fetching._own_folder().stat().st_mode & 0o077 == 0
