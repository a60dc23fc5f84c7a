"""Processes for the cells of a grid: as many at a time as asked for, each on its own, none able to harm another."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from multiprocessing import connection

import torch

from ..utils.cores import RUNS_VARIABLE, available_cores
from .cell_process import HEARTBEAT_SECONDS, Failure, GridInterrupted, log_tail, looked_after, run_logged
from .cell_run import read_result
from .progress import Progress

PRELOADED = ['mmpretrain_mps.benchmark.pool', 'sklearn.datasets']  # the latter brings the digits, and is slow to import
GRACE_SECONDS = 5


def run_cells(folder, cells, devices=('cpu',), jobs=1, resume=True, keep_checkpoints=False, report=None, share=''):
    """Run all cells that are not done yet.

    Each runs in a process of its own that ends with this one, however this one ends. On the CPU the processes are
    forked from one that has imported everything, which takes seconds; on GPUs each starts afresh, for a device that was
    touched before a fork is lost.

    Args:
        folder (str | Path): Of the grid.
        cells (Sequence[Cell]): From :func:`make_cells`.
        devices (Sequence[str]): GPU numbers, or ``'cpu'``; given to the processes in turn.
        jobs (int): Processes at a time.
        resume (bool): Go on from the checkpoint of a run that was cut off.
        keep_checkpoints (bool): Keep the checkpoints of finished cells.
        report (Callable[[str], None], optional): Gets lines of progress.
        share (str): Name of the share of a grid that the cells are; '' if they are all.

    Returns:
        list[Failure]: Cells without a result.

    Raises:
        GridInterrupted: After Ctrl-C or SIGTERM, when all processes have ended.
        ValueError: If the same cells are run in the folder by another call, or there are no jobs or no such devices.
    """
    slots = deque(make_slots(devices, jobs))
    results = [read_result(folder, cell) for cell in cells]
    todo = deque(cell for cell, result in zip(cells, results) if result is None)
    progress = Progress(cells, results, len(slots), report or (lambda line: None))
    threads, runs = threads_per_process(len(slots)), len(slots)
    running, failures = {}, []
    with looked_after(folder, share):
        try:
            while todo or running:
                while todo and slots:
                    cell, device = todo.popleft(), slots.popleft()
                    process = _start(folder, cell, device, threads, runs, resume, keep_checkpoints)
                    running[process.sentinel] = process, cell, device, time.time()
                ended = connection.wait(list(running), timeout=HEARTBEAT_SECONDS)
                if not ended:
                    progress.alive(len(running), len(todo))
                for sentinel in ended:
                    process, cell, device, started = running.pop(sentinel)
                    process.join()
                    slots.append(device)
                    result = read_result(folder, cell)
                    if result is None:
                        failures.append(_failure(folder, cell, process.exitcode))
                    progress.ended(cell, result, time.time() - started, failures[-1].reason if result is None else None)
        except KeyboardInterrupt:
            # A second Ctrl-C must not cut this short.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _stop([process for process, *_ in running.values()])
            raise GridInterrupted(
                f'{len(running)} running cells were stopped, {len(todo)} were not started; the same command goes on'
            ) from None
    return failures


def make_slots(devices, jobs):
    """Assign devices to processes.

    Args:
        devices (Sequence[str]): GPU numbers, or ``'cpu'``.
        jobs (int): Processes at a time.

    Returns:
        list[str]: Of length ``jobs``: ``''`` for the CPU, else what ``CUDA_VISIBLE_DEVICES`` calls the GPU.

    Raises:
        ValueError: If a device is not there, or jobs is not positive.
    """
    if jobs < 1:
        raise ValueError(f'jobs is {jobs}, expected 1 or more')
    if not devices:
        raise ValueError("there are no devices; expected GPU numbers, or 'cpu'")
    count = torch.cuda.device_count()
    # Numbers count the visible GPUs, whichever of the machine's they are.
    visible = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name] or list(map(str, range(count)))
    names = []
    for device in devices:
        if device == 'cpu':
            names.append('')
        elif device.isdigit() and int(device) < count:
            names.append(visible[int(device)])
        else:
            raise ValueError(
                f"device {device!r} is not there: expected 'cpu'"
                + (f' or a number below {count}' if count else '; no GPU is visible')
            )
    return [names[index % len(names)] for index in range(jobs)]


def threads_per_process(jobs):
    """Return how many threads each process computes with: what OMP_NUM_THREADS says, else its share of the cores.

    Args:
        jobs (int): Processes at a time.

    Returns:
        int: At least 1. More threads in all than cores would wait for each other most of the time.
    """
    asked = os.environ.get('OMP_NUM_THREADS', '')
    return int(asked) if asked.isdigit() and int(asked) else max(1, available_cores() // jobs)


def _start(folder, cell, device, threads, runs, resume, keep_checkpoints):
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('forkserver' if not device and 'forkserver' in methods else 'spawn')
    if context.get_start_method() == 'forkserver':
        context.set_forkserver_preload(PRELOADED)
    # Libraries read these once, at import: they must be right before the process exists.
    variables = dict(
        CUDA_VISIBLE_DEVICES=device,
        **{RUNS_VARIABLE: str(runs)},
        **{name: str(threads) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')},
    )
    process = context.Process(target=_run_in_child, args=(str(folder), cell, variables, threads, resume, keep_checkpoints))
    with _environment(variables):
        process.start()
    return process


def _run_in_child(folder, cell, variables, threads, resume, keep_checkpoints):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()
    os.environ.update(variables)
    run_logged(folder, cell, threads, resume, keep_checkpoints)


def _die_with_parent():
    def watch():
        """End this process when its parent has ended."""
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failure(folder, cell, exit_code):
    how = f'ended by signal {-exit_code}' if exit_code < 0 else f'exit status {exit_code}'
    tail = log_tail(folder, cell)
    last = tail.splitlines()[-1].strip() if tail and exit_code > 0 else ''
    return Failure(cell, f'{how}; {last}' if last else how, tail)


def _stop(processes):
    for process in processes:
        process.terminate()
    deadline = time.time() + GRACE_SECONDS
    for process in processes:
        process.join(max(0, deadline - time.time()))
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _environment(variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
