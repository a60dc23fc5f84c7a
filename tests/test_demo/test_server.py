"""The program as somebody starts it."""

import os
import signal
import socket
import sys
import threading
import time
import urllib.request

import pytest

from mmpretrain_mps import cli
from mmpretrain_mps.demo import Server, server

CLIP = dict(architecture='mps-mini', pretrained='embedded')


@pytest.fixture(autouse=True)
def online_again(monkeypatch):
    """Starting takes the whole process offline."""
    monkeypatch.setattr(server.hub, 'HF_HUB_OFFLINE', False)
    monkeypatch.setenv('HF_HUB_OFFLINE', '0')


def start_page(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(['demo', '--architecture', 'mps-mini', '--device', 'cpu', *map(str, arguments)])
    return end.value.code


def test_it_listens_on_this_machine_alone_and_ends_cleanly():
    page = Server(CLIP, 'cpu')
    thread = threading.Thread(target=page.run)
    thread.start()
    try:
        assert page.address.startswith('http://127.0.0.1:') and page._server.socket.getsockname()[0] == '127.0.0.1'
        with urllib.request.urlopen(page.address, timeout=60) as answer:
            assert b'mps-mini' in answer.read()
        with urllib.request.urlopen(urllib.request.Request(f'{page.address}tabs', method='POST'), timeout=60):
            (tab,) = page._tabs._tabs.values()
        assert server.hub.HF_HUB_OFFLINE and tab._folder.is_dir()
    finally:
        page.close()
        thread.join(60)
    assert not tab._folder.exists()
    with pytest.raises(OSError):
        urllib.request.urlopen(page.address, timeout=5)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_removes_its_files_when_it_is_stopped(monkeypatch, capsys, number):
    before, ended = signal.getsignal(signal.SIGTERM), []
    monkeypatch.setattr('mmpretrain_mps.demo.tabs.Tabs.end_all', lambda self: ended.append(self))
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]

    def interrupt(self):
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr('werkzeug.serving.BaseWSGIServer.serve_forever', interrupt)
    try:
        assert start_page('--port', port) == 0 and len(ended) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().out == f'http://127.0.0.1:{port}/\nCtrl-C ends it\n'


def test_a_port_that_cannot_be_had_is_named(capsys):
    with socket.create_server(('127.0.0.1', 0)) as other:
        assert start_page('--port', other.getsockname()[1]) == 2
        assert f'port {other.getsockname()[1]} cannot be had: Address already in use. Name another one' in capsys.readouterr().err
    assert start_page('--port', 70000) == 2 and 'port 70000 is none, expected 1 to 65535' in capsys.readouterr().err


def test_without_flask_it_says_what_to_install(monkeypatch, capsys):
    for name in ('flask', 'mmpretrain_mps.demo.app'):
        monkeypatch.setitem(sys.modules, name, None)
    assert start_page() == 2 and 'pip install "mmpretrain_mps[demo]"' in capsys.readouterr().err


def test_missing_weights_are_named_before_there_is_a_page(monkeypatch, capsys):
    monkeypatch.setattr('mmpretrain_mps.models.loading.clip_loader.reachable', lambda host: False)
    assert start_page('--architecture', 'ViT-B-32', '--pretrained', 'no/such.safetensors') == 2
    assert 'does not exist' in capsys.readouterr().err
