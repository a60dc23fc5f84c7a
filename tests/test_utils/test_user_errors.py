"""Refused input ends as one message, a fault in the program with its traceback."""

import os
import re

import pytest
import torch
from mmpretrain.registry import MODELS
from tiny_run import run_python

from mmpretrain_mps.utils import check_checkpoint, user_errors, user_message


def test_what_the_package_refuses_ends_with_its_message_and_status_2(capsys):
    with pytest.raises(SystemExit) as exit_, user_errors():
        check_checkpoint('nowhere/x.pth')
    output = capsys.readouterr().err
    assert exit_.value.code == 2
    assert output.startswith('error: checkpoint nowhere/x.pth does not exist\n') and 'Traceback' not in output


def test_in_a_distributed_run_the_message_names_the_process(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit), user_errors():
        check_checkpoint('nowhere/x.pth')
    assert capsys.readouterr().err.startswith('[process 1] error: ')


class Reads(torch.utils.data.Dataset):
    """Reads a missing file, or fails on its own, in whatever process it is asked."""

    def __init__(self, function):
        self.function = function

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.function()


def test_what_is_refused_in_a_worker_ends_with_its_message_too(capsys):
    loader = torch.utils.data.DataLoader(Reads(lambda: check_checkpoint('nowhere/x.pth')), num_workers=1)
    with pytest.raises(SystemExit), user_errors():
        next(iter(loader))
    assert capsys.readouterr().err.startswith('error: checkpoint nowhere/x.pth does not exist\n(--traceback')
    faulty = torch.utils.data.DataLoader(Reads(lambda: int('x')), num_workers=1)
    with pytest.raises(ValueError, match='Caught ValueError in DataLoader worker'), user_errors():
        next(iter(faulty))


def test_errors_from_inside_a_library_pass_through():
    with pytest.raises(ValueError, match='optimizer got an empty parameter list'), user_errors():
        torch.optim.SGD([], lr=1)
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0


def test_an_argument_that_a_class_of_the_config_does_not_take_is_named(capsys):
    with pytest.raises(SystemExit), user_errors():
        MODELS.build(dict(type='LogitsFusionHead', alhpa=0.1))
    assert capsys.readouterr().err.startswith("error: LogitsFusionHead takes no 'alhpa'; look for it in the config and")
    with pytest.raises(TypeError, match="unexpected keyword argument 'bases'"), user_errors():
        (lambda base: base)(bases=3)


@pytest.mark.parametrize('by_variable', [True, False])
def test_the_traceback_can_be_asked_for(monkeypatch, by_variable):
    if by_variable:
        monkeypatch.setenv('MMPRETRAIN_MPS_TRACEBACK', '1')
    with pytest.raises(FileNotFoundError), user_errors(show_traceback=not by_variable):
        check_checkpoint('nowhere/x.pth')


@pytest.mark.parametrize(
    'error, expected',
    [
        (MemoryError(), 'the memory is not enough: MemoryError. A smaller batch_size'),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
            'memory is not',
        ),
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'), r'not enough: CUDA out of memory\. .*--amp'),
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '),
            'was ended from outside: .* use fewer num_workers',
        ),
        (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), 'was ended from outside'),
        (
            RuntimeError('[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer. GLHF!'),
            'another process of this run has ended, .*--resume goes on',
        ),
        (RuntimeError('DataLoader timed out after 60 seconds'), 'has not answered: .*train_dataloader.timeout=SECONDS'),
    ],
)
def test_what_the_machine_does_to_a_run_names_the_setting_to_turn(error, expected):
    assert re.search(expected, user_message(error))


def test_memory_that_is_really_not_there():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**60)
    assert 'the memory is not enough' in user_message(caught.value)


STOPPED = """
import multiprocessing, os, signal, time
from mmpretrain_mps.utils import check_checkpoint, user_errors
child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600, ), daemon=True)
child.start()
os.kill(child.pid, signal.SIGSTOP)
with user_errors():
    check_checkpoint('nowhere/x.pth')
"""


@pytest.mark.skipif(os.name != 'posix', reason='needs signals')
def test_a_worker_that_was_stopped_does_not_keep_the_program_from_ending():
    process = run_python('-c', STOPPED)
    assert process.returncode == 2 and 'nowhere/x.pth does not exist' in process.stderr
