"""The cores that a process may use, and how many processes should load pictures for it."""

import os
import re

# More would wait for each other at the disk, and no GPU takes more pictures than so many make.
MOST_LOADING = 16
# How many runs share the machine, which a grid tells those that it starts.
RUNS_VARIABLE = 'MMPRETRAIN_MPS_RUNS'


def available_cores() -> int:
    """Return the number of cores that this process may use: of a job of Slurm, which need not bind it to them, its own."""
    cores, of_job = _bound_to(), os.environ.get('SLURM_CPUS_ON_NODE', '')
    return min(cores, int(of_job)) if of_job.isdigit() else cores


def processes_here() -> int:
    """Return how many processes of a launcher, or runs of a grid, share these cores; 1 if this one has them for itself."""
    here = _number(os.environ.get(RUNS_VARIABLE))
    # torchrun, Open MPI; a task that srun has bound to a part of the job's cores shares that part with no other.
    for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'SLURM_STEP_TASKS_PER_NODE'):
        if os.environ.get(name):
            is_bound = name.startswith('SLURM') and _bound_to() < _number(os.environ.get('SLURM_CPUS_ON_NODE'))
            return here if is_bound else here * _number(os.environ[name])
    return here


def loading_processes() -> int:
    """Return how many processes should load pictures: this process's share of the cores, at least 1 and at most 16.

    The configs of data sets in files have it as ``num_workers``.
    """
    return max(1, min(MOST_LOADING, available_cores() // processes_here()))


def _bound_to():
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _number(text: str | None) -> int:
    """Return the first number of ``'4'`` or Slurm's ``'4(x2),3'``, or 1."""
    found = re.match(r'\d+', text or '')
    return max(1, int(found[0])) if found else 1
