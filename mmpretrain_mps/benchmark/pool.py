"""Processes for the cells of a grid: as many at a time as asked for, each on its own, none able to harm another."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import connection

import torch

from ..utils.cores import RUNS_VARIABLE, available_cores
from ..utils.files import AnyPath
from .cell_process import HEARTBEAT_SECONDS, Failure, GridInterrupted, Report, log_tail, looked_after, run_logged
from .cell_run import read_result
from .grid import Cell
from .progress import Progress

PRELOADED = ['mmpretrain_mps.benchmark.pool', 'sklearn.datasets']  # the latter brings the digits, and is slow to import
GRACE_SECONDS = 5


def run_cells(
    folder: AnyPath,
    cells: list[Cell],
    devices: Sequence[str] = ('cpu',),
    jobs: int = 1,
    resume: bool = True,
    keep_checkpoints: bool = False,
    report: Report = lambda line: None,
    shard: str = '',
) -> list[Failure]:
    """Run all cells that are not done yet, and return those without a result.

    Each runs in a process of its own that ends with this one, however this one ends. On the CPU the processes are
    forked from one that has imported everything, which takes seconds; on GPUs each starts afresh, for a device that was
    touched before a fork is lost.

    Args:
        folder: Of the grid.
        cells: Of the grid, or of its shard of this name.
        devices: GPU numbers, or ``'cpu'``; given to the processes in turn.
        jobs: Processes at a time.
        resume: Go on from the checkpoint of a run that was cut off.
        keep_checkpoints: Keep the checkpoints of finished cells.
        report: Gets lines of progress.
        shard: '' if the cells are all.

    Raises:
        GridInterrupted: After Ctrl-C or SIGTERM, when all processes have ended.
        ValueError: If the same cells are run in the folder by another call, or there are no jobs or no such devices.
    """
    slots = deque(make_slots(devices, jobs))
    results = [read_result(folder, cell) for cell in cells]
    todo = deque(cell for cell, result in zip(cells, results) if result is None)
    progress = Progress(cells, results, len(slots), report)
    threads, runs = threads_per_process(len(slots)), len(slots)
    running, failures = {}, []
    with looked_after(folder, shard):
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
            left = f'{len(running)} running cells were stopped, {len(todo)} were not started'
            raise GridInterrupted(f'{left}; the same command goes on') from None
    return failures


def make_slots(devices: Sequence[str], jobs: int) -> list[str]:
    """Give each of so many processes a device in turn: ``''`` for the CPU, else what ``CUDA_VISIBLE_DEVICES`` calls the GPU."""
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
            others = f' or a number below {count}' if count else '; no GPU is visible'
            raise ValueError(f"device {device!r} is not there: expected 'cpu'{others}")
    return [names[index % len(names)] for index in range(jobs)]


def threads_per_process(jobs: int) -> int:
    """Return how many threads each of so many processes computes with: what OMP_NUM_THREADS says, else its share of the cores.

    More threads in all than cores would wait for each other most of the time.
    """
    asked = os.environ.get('OMP_NUM_THREADS', '')
    return int(asked) if asked.isdigit() and int(asked) else max(1, available_cores() // jobs)


def _start(folder, cell, device, threads, runs, resume, keep_checkpoints):
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('forkserver' if not device and 'forkserver' in methods else 'spawn')
    if context.get_start_method() == 'forkserver':
        context.set_forkserver_preload(PRELOADED)
    # Libraries read these once, at import: they must be right before the process exists.
    variables = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), str(threads))
    variables |= {'CUDA_VISIBLE_DEVICES': device, RUNS_VARIABLE: str(runs)}
    process = context.Process(target=_run_in_child, args=(str(folder), cell, variables, threads, resume, keep_checkpoints))
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def _run_in_child(folder, cell, variables, threads, resume, keep_checkpoints):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(variables)
    run_logged(folder, cell, threads, resume, keep_checkpoints)


def _end_with_parent():
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


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
