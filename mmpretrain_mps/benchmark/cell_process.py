"""A cell as the whole of what a process does, and a grid as something that one program looks after."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from ..engine.work_folder import check_writable
from ..utils.errors import user_message
from ..utils.files import AnyPath
from ..utils.locking import leased, locked
from .cell_run import LOG_FILE, RESULT_FILE, clear, result_in, run_cell
from .grid import Cell

# Takes lines for the user.
Report = Callable[[str], None]
TAIL_LINES = 15
HEARTBEAT_SECONDS = 60


class Failure(NamedTuple):
    """A cell that gave no result."""

    cell: Cell
    reason: str
    log_tail: str


class GridInterrupted(Exception):
    """The grid was told to stop; what is done is done."""


def run_logged(folder: AnyPath, cell: Cell, threads: int, resume: bool = True, keep_checkpoints: bool = False) -> None:
    """Run a cell; everything that this process prints from now on, and why the cell fails, goes to its log.

    No two processes run a cell at a time, on whichever machines that share the folder: the second one waits, and takes the
    first one's result. A cell that fails, or is told to end, ends the process by SystemExit.
    """
    torch.set_num_threads(threads)
    work_dir = Path(folder, cell.folder)
    work_dir.mkdir(parents=True, exist_ok=True)
    log = os.open(work_dir / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # Not within the folder, which may be cleared.
    with leased(work_dir.with_name(f'{work_dir.name}.lease')):
        done = result_in(work_dir / RESULT_FILE)
        if done is not None and done['hash'] == cell.key:
            return
        if not resume:
            clear(folder, cell)
        try:
            run_cell(folder, cell, resume=True, keep_checkpoints=keep_checkpoints)
        except SystemExit:  # it was told to end, and has said so
            raise
        except BaseException as error:
            message = user_message(error)
            if message is None:
                traceback.print_exc()
            else:  # what the user can mend needs no way through the code
                print(f'{type(error).__name__}: {message}', file=sys.stderr, flush=True)
            sys.exit(1)


def log_tail(folder: AnyPath, cell: Cell, lines: int = TAIL_LINES) -> str:
    """Return the last lines that a cell logged, '' if there is no log."""
    try:
        text = Path(folder, cell.folder, LOG_FILE).read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
    return '\n'.join(text.splitlines()[-lines:])


@contextlib.contextmanager
def looked_after(folder: AnyPath, shard: str = '') -> Iterator[None]:
    """Hold a grid, or the named shard of it, as the only program that starts its cells; SIGTERM counts as Ctrl-C meanwhile.

    Raises ValueError if the folder cannot be written to, or another program starts the same cells.
    """
    folder = Path(folder)
    check_writable(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / (f'.lock-{shard}' if shard else '.lock'), wait=False))
        except BlockingIOError:
            what = f'the shard {shard} of a grid' if shard else 'another grid'
            raise ValueError(f'{what} runs in {folder}; wait for it or name another --work-dir') from None
        if threading.current_thread() is threading.main_thread():  # no other may ask for signals
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
