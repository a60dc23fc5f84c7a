"""A process that was stopped, or never came, is named by the others within a minute."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from mmpretrain_mps.engine import heartbeat
from mmpretrain_mps.engine.heartbeat import Heartbeat, meet

MEMBER = """
import importlib.util, sys, time
import torch.distributed as dist
spec = importlib.util.spec_from_file_location('heartbeat', sys.argv[4])  # without the package, which takes time
heartbeat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(heartbeat)
rank, size, silence = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store = heartbeat.meet(rank, size)
dist.init_process_group('gloo', store=dist.PrefixStore('group', store), rank=rank, world_size=size)
beat = heartbeat.Heartbeat(dist.PrefixStore('x', heartbeat.connect()), rank, size, .1, silence)
beat.start()
print('together', flush=True)
sys.stdin.readline()
time.sleep(3 * rank)
beat.stop()
dist.barrier()
dist.destroy_process_group()
print('apart', flush=True)
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def start(port, rank, size, silence=1.5):
    ours = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    command = [sys.executable, '-c', MEMBER, str(rank), str(size), str(silence), heartbeat.__file__]
    return subprocess.Popen(
        command, env={**os.environ, **ours}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def first_line(member):
    # Gloo itself speaks there with some releases of PyTorch.
    return next(line for line in member.stdout if not line.startswith('[Gloo]'))


@pytest.mark.parametrize('stopped', [0, 1])  # the first keeps the store
def test_a_stopped_process_is_named_by_the_other(port, stopped):
    members = [start(port, rank, 2) for rank in range(2)]
    try:
        assert [first_line(member) for member in members] == ['together\n'] * 2
        time.sleep(1)
        members[stopped].send_signal(signal.SIGSTOP)
        other = members[1 - stopped]
        assert other.wait(30) == 2
        message = other.stderr.read()
        assert f'[process {1 - stopped}] error: process {stopped} has given no sign of life for' in message
        assert '--resume goes on' in message and 'Traceback' not in message
    finally:
        for member in members:
            member.kill()
            member.communicate()


@pytest.mark.slow
def test_processes_that_were_all_stopped_for_a_while_and_those_that_end_are_no_reason(port):
    members = [start(port, rank, 2) for rank in range(2)]
    try:
        assert [first_line(member) for member in members] == ['together\n'] * 2
        for member in members:
            member.send_signal(signal.SIGSTOP)
        time.sleep(3)
        for member in members:
            member.send_signal(signal.SIGCONT)
        time.sleep(1)
        for member in members:
            member.stdin.write('\n')
            member.stdin.flush()
        for member in members:
            output, errors = member.communicate(timeout=30)
            assert (member.returncode, output, errors) == (0, 'apart\n', '')
    finally:
        for member in members:
            member.kill()
            member.communicate()


def test_who_did_not_come_is_named(port, monkeypatch):
    monkeypatch.setattr(heartbeat, 'START', 2)
    for name, value in dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK='1', WORLD_SIZE='2').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f'process 1 does not find the 1 others at 127.0.0.1:{port} within 2 seconds: .*started'):
        meet(1, 2)
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(
        ValueError, match=f'of 2 processes, number 1 did not come to 127.0.0.1:{port} within 2 seconds|find the 1'
    ):
        meet(0, 2)


def test_one_process_alone_meets_itself(port, monkeypatch):
    for name, value in dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK='0', WORLD_SIZE='1').items():
        monkeypatch.setenv(name, value)
    assert meet(0, 1).check(['here-0'])


def test_a_store_that_is_gone_ends_the_watch_in_silence(capfd):
    class Gone(dist.HashStore):
        def set(self, *_):
            raise RuntimeError('Connection reset by peer')

    beat = Heartbeat(Gone(), 0, 2, interval=0.01)
    beat.start()
    beat._threads[1].join(5)
    assert not beat._threads[1].is_alive() and capfd.readouterr().err == ''
