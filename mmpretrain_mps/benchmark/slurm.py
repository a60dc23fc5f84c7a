"""Jobs of Slurm for the cells of a grid: one each, submitted by submitit and waited for."""

import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ..utils.files import AnyPath
from .cell_process import HEARTBEAT_SECONDS, Failure, GridInterrupted, Report, log_tail, looked_after, run_logged
from .cell_run import read_result
from .grid import Cell
from .pool import threads_per_process
from .progress import Progress

JOB_FOLDER = '.slurm'
PROGRAMS = ('sbatch', 'squeue', 'scancel')
POLL_SECONDS = 5
# What another machine wrote may be seen that much later on a network file system.
LATE_SECONDS = 30
# Slurm's own limit for an array is 1,001 unless the cluster says otherwise.
MOST_JOBS = 1000
# Times that a job whose time is over, or which has to make room for others, goes back into the queue.
MOST_RETURNS = 10
SIGNAL, SIGNAL_SECONDS = getattr(signal, 'SIGUSR1', signal.SIGTERM), 90  # before the end; Windows has no such signal
# Any other state is one from which a job may still give a result, such as when it goes back into the queue.
ENDED = frozenset(
    {'BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL', 'OUT_OF_MEMORY', 'PREEMPTED', 'REVOKED', 'TIMEOUT'}
)
OPTION = re.compile(r'[a-z][a-z-]*')
# Options of sbatch that are said here: one process for each cell, and files below JOB_FOLDER.
RESERVED = ('array', 'error', 'nodes', 'ntasks', 'ntasks-per-node', 'open-mode', 'output', 'requeue', 'no-requeue', 'signal')


class CellJob:
    """What a job does: run a cell; and go back into the queue when Slurm says by ``SIGNAL`` that its time is nearly over.

    submitit's own handler would end the process wherever it is, which no training expects, and would do so in the processes
    that load pictures, too. So it is called with another signal, once the training has saved.
    """

    def __init__(self, folder, cell, resume=True, keep_checkpoints=False):
        self.folder, self.cell, self.resume, self.keep_checkpoints = folder, cell, resume, keep_checkpoints

    def __call__(self):
        """Run the cell."""
        # While it trains, InterruptionHook saves on this signal.
        signal.signal(SIGNAL, functools.partial(_return_to_queue, os.getpid()))
        try:
            run_logged(self.folder, self.cell, threads_per_process(1), self.resume, self.keep_checkpoints)
        except SystemExit as end:
            if end.code == 128 + SIGNAL:
                _return_to_queue(os.getpid())
            raise

    def checkpoint(self):
        """Return the job that goes on where this one is cut off, as submitit asks for it."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(CellJob(self.folder, self.cell, True, self.keep_checkpoints))


def _return_to_queue(job, *_):
    """Let submitit put the job into the queue again and end this process, if it is the one that was started for it."""
    if os.getpid() == job:
        signal.raise_signal(signal.SIGUSR2)


def check_options(options: dict[str, str]) -> None:
    """Look whether jobs can be asked for by long options of sbatch, without dashes, and on this machine.

    Raises ImportError if submitit is not installed, and ValueError if this machine submits no jobs, or an option is none of
    sbatch, not for the user to give, or missing.
    """
    if importlib.util.find_spec('submitit') is None:
        install = "install it with `pip install -e '.[slurm]'`"
        raise ImportError(f'--executor slurm needs the package submitit, which is not installed; {install}')
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        hint = 'call it where jobs are submitted from, or run shards of the grid by --shard'
        raise ValueError(f'--executor slurm needs {", ".join(missing)} of Slurm, not found in PATH; {hint}')
    for name in options:
        if not OPTION.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f'--slurm {name}={options[name]}: expected a long option of sbatch without dashes in front, such as '
                f'partition, time, gpus, mem, cpus-per-task, and none of {", ".join(RESERVED)}'
            )
    if not options.get('time'):
        raise ValueError('--slurm has no time; expected the longest time that one run may take, such as --slurm time=2:00:00')


def run_on_slurm(
    folder: AnyPath,
    cells: list[Cell],
    options: dict[str, str],
    jobs: int | None = None,
    resume: bool = True,
    keep_checkpoints: bool = False,
    report: Report = lambda line: None,
    shard: str = '',
) -> list[Failure]:
    """Run all cells that are not done yet, each as a job, and wait for them; return those without a result.

    A job whose time is over or that is preempted goes back into the queue, and goes on from its checkpoint. If this
    program is killed, its jobs go on; those of the next call wait for them and take their results.

    Arguments and errors are those of :func:`.pool.run_cells` and of :func:`check_options`; the folder is the same one on all
    nodes, options without a value are ``true``, and without a number of jobs Slurm lets run as many as it likes. It is a
    ValueError, too, if sbatch refuses the jobs.
    """
    check_options(options)
    folder = Path(folder).resolve()
    results = [read_result(folder, cell) for cell in cells]
    todo = [cell for cell, result in zip(cells, results) if result is None]
    progress = Progress(cells, results, jobs or max(1, len(todo)), report)
    failures, running = [], []
    with looked_after(folder, shard):
        try:
            for first in range(0, len(todo), MOST_JOBS):
                running += _submit(folder, todo[first : first + MOST_JOBS], options, jobs, resume, keep_checkpoints)
            told = started = time.time()
            while running:
                time.sleep(POLL_SECONDS)
                states = _states()
                # Slurm forgets what has ended.
                ended = [entry for entry in running if states is not None and states.get(entry[0].job_id) in (None, *ENDED)]
                for job, cell in ended:
                    running.remove((job, cell))
                    result = _late_result(folder, cell)
                    if result is None:
                        failures.append(_failure(folder, cell, job, states.get(job.job_id, 'ended')))
                    seconds = sum(result['seconds'].values()) if result else time.time() - started
                    progress.ended(cell, result, seconds, None if result else failures[-1].reason)
                if states and running and time.time() - told > HEARTBEAT_SECONDS:
                    computing = sum(states[job.job_id] == 'RUNNING' for job, _ in running)
                    progress.alive(computing, len(running) - computing)
                    told = time.time()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
            subprocess.run(['scancel', *(job.job_id for job, _ in running)], check=False)
            raise GridInterrupted(f'{len(running)} jobs were cancelled; the same command goes on') from None
    return failures


def _submit(folder, cells, options, jobs, resume, keep_checkpoints):
    """Submit a job for each cell, as one array; return pairs of jobs and cells."""
    import submitit

    executor = submitit.SlurmExecutor(folder / JOB_FOLDER, max_num_timeout=MOST_RETURNS)
    # To submitit, a time of 0 makes every return count; the real one is among the options, which have the last word.
    given = {name: True if value == 'true' else str(value) for name, value in options.items()}
    given['signal'] = f'{SIGNAL.name[3:]}@{SIGNAL_SECONDS}'
    # Since Slurm 22.05 srun does not take it over from sbatch.
    cores = [f'--cpus-per-task={options["cpus-per-task"]}'] if 'cpus-per-task' in options else []
    parameters = dict(time=0, wckey=None, array_parallelism=jobs or MOST_JOBS, use_srun=True, srun_args=cores)
    executor.update_parameters(job_name='mmpretrain_mps', additional_parameters=given, **parameters)
    try:
        with executor.batch():
            submitted = [executor.submit(CellJob(str(folder), cell, resume, keep_checkpoints)) for cell in cells]
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f'sbatch refuses the jobs: {" ".join(str(error).split())}; change --slurm') from None
    return list(zip(submitted, cells))


def _states():
    """Return the states of this user's jobs by their numbers, as long as Slurm remembers them; None if it does not answer.

    Its accounting would know more, but not every cluster has it.
    """
    command = ['squeue', '--me', '--array', '--noheader', '--states=all', '--format=%i %T']
    answer = subprocess.run(command, capture_output=True, text=True)
    return None if answer.returncode else dict(line.split() for line in answer.stdout.splitlines())


def _late_result(folder, cell):
    deadline = time.time() + LATE_SECONDS
    while (result := read_result(folder, cell)) is None and time.time() < deadline:
        time.sleep(1)
    return result


def _failure(folder, cell, job, state):
    tail = log_tail(folder, cell) or job.stderr() or ''
    last = tail.splitlines()[-1].strip() if tail else f'its output is {job.paths.stderr}'
    return Failure(cell, f'job {job.job_id} {state}; {last}', tail)
