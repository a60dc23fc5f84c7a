"""A cell as the whole of what a process does, and a grid as something that one program looks after."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NamedTuple

import torch

from ..engine.work_folder import check_writable
from ..utils.errors import user_message
from ..utils.locking import leased, locked
from .cell_run import LOG_FILE, RESULT_FILE, clear, result_in, run_cell

TAIL_LINES = 15
HEARTBEAT_SECONDS = 60


class Failure(NamedTuple):
    """A cell that gave no result."""

    cell: object
    reason: str
    log_tail: str


class GridInterrupted(Exception):
    """The grid was told to stop; what is done is done."""


def run_logged(folder, cell, threads, resume=True, keep_checkpoints=False):
    """Run a cell; everything that this process prints from now on, and why the cell fails, goes to its log.

    No two processes run a cell at a time, on whichever machines that share the folder: the second one waits, and takes the
    first one's result.

    Args:
        folder (str | Path): Of the grid.
        cell (Cell): Of the grid.
        threads (int): To compute with.
        resume (bool): Go on from the checkpoint of a run that was cut off.
        keep_checkpoints (bool): Keep the checkpoints of a finished cell.

    Raises:
        SystemExit: If the cell fails, or was told to end.
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


def log_tail(folder, cell, lines=TAIL_LINES):
    """Return the last lines that a cell logged.

    Args:
        folder (str | Path): Of the grid.
        cell (Cell): Of the grid.
        lines (int): How many.

    Returns:
        str: '' if there is no log.
    """
    try:
        text = Path(folder, cell.folder, LOG_FILE).read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
    return '\n'.join(text.splitlines()[-lines:])


@contextlib.contextmanager
def looked_after(folder, share=''):
    """Hold a grid, or a share of it, as the only program that starts its cells; SIGTERM counts as Ctrl-C meanwhile.

    Args:
        folder (str | Path): Of the grid; made where it is missing.
        share (str): Name of the share; '' for the whole grid.

    Raises:
        ValueError: If the folder cannot be written to, or another program starts the same cells.
    """
    folder = Path(folder)
    check_writable(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / (f'.lock-{share}' if share else '.lock'), wait=False))
        except BlockingIOError:
            what = f'the share {share} of a grid' if share else 'another grid'
            raise ValueError(f'{what} runs in {folder}; wait for it or name another --work-dir') from None
        stack.enter_context(_interruptible())
        yield


@contextlib.contextmanager
def _interruptible():
    """Treat SIGTERM as Ctrl-C; only the main thread may ask for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
