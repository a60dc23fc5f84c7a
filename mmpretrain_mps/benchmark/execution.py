"""Where the cells of a grid run: in processes of this machine or as jobs of Slurm, all of them or a shard."""

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..utils.cores import available_cores
from ..utils.files import AnyPath
from ..utils.option_values import OptionsAction
from .cell_process import Failure, Report
from .grid import Cell
from .pool import run_cells
from .slurm import check_options, run_on_slurm

EXECUTORS = ('local', 'slurm')
MOST_CPU_JOBS = 4
SHARD = re.compile(r'([0-9]+)/([0-9]+)')


class Shard(NamedTuple):
    """A shard of a grid: every ``count``-th cell."""

    index: int = 1
    """From 1 on."""
    count: int = 1

    @property
    def name(self) -> str:
        """'' for the whole grid."""
        return f'{self.index}-of-{self.count}' if self.count > 1 else ''

    def of(self, cells: list[Cell]) -> list[Cell]:
        """Return the cells of this shard; each cell is in exactly one shard."""
        return cells[self.index - 1 :: self.count]


class Execution(NamedTuple):
    """How cells are run; :func:`execution_of` makes it from flags."""

    shard: Shard = Shard()
    devices: Sequence[str] = ('cpu',)
    jobs: int | None = 1
    """At a time; of Slurm, None for as many as it lets run."""
    slurm: dict[str, str] | None = None
    """Options of sbatch; None to run in processes of this machine."""
    resume: bool = True
    keep_checkpoints: bool = False

    def run(self, folder: AnyPath, cells: list[Cell], report: Report) -> list[Failure]:
        """Run the cells of the shard that are not done; return those without a result.

        Raises GridInterrupted after Ctrl-C or SIGTERM, when all that was started has ended, and ValueError if the same cells
        are run in the folder by another call, or they cannot be run in this way.
        """
        if self.shard.name:
            report(f'shard {self.shard.index} of {self.shard.count}')
        more = self.resume, self.keep_checkpoints, report, self.shard.name
        if self.slurm is not None:
            return run_on_slurm(folder, cells, self.slurm, self.jobs, *more)
        return run_cells(folder, cells, self.devices, self.jobs, *more)

    def is_complete(self, results: list[dict | None], report: Report) -> bool:
        """Return whether tables can be written: a shard leaves them to the last one while results of the grid are missing."""
        left = sum(result is None for result in results) if self.shard.name else 0
        if left:
            found = f'{left} of {len(results)} cells have no result yet'
            report(f'{found}: the shard that comes last goes on, or a call without --shard')
        return not left


def add_flags(parser: argparse.ArgumentParser, with_shards: bool = True) -> None:
    """Add ``--executor`` and ``--slurm`` to a tool, and what divides a grid among calls, if it has shards."""
    about = 'runs at a time; by default one per GPU, or up to 4 on the CPU; of Slurm, as many as it lets run'
    parser.add_argument('--jobs', type=int, help=about)
    about = 'processes of this machine, or a job of Slurm for each run'
    parser.add_argument('--executor', choices=EXECUTORS, default=EXECUTORS[0], help=about)
    about = 'with --executor slurm: long options of sbatch, such as partition=gpu time=2:00:00 gpus=1 mem=16G'
    parser.add_argument('--slurm', nargs='+', action=OptionsAction, metavar='NAME=VALUE', help=about)
    if with_shards:
        parser.add_argument('--devices', nargs='+', metavar='DEVICE', help='GPU numbers, or cpu; by default all GPUs, else cpu')
        about = (
            'run the I-th of N shards, 1 to N, which several machines run in one work folder; who comes last, or a call '
            'without it, writes the tables'
        )
        parser.add_argument('--shard', type=read_shard, default=Shard(), metavar='I/N', help=about)


def read_shard(text: str) -> Shard:
    """Read ``I/N``, the I-th of N shards."""
    found = SHARD.fullmatch(text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f'{text!r} is no shard, expected I/N with I from 1 to N, such as 2/4')
    return Shard(int(found[1]), int(found[2]))


def execution_of(arguments: argparse.Namespace, resume: bool = True) -> Execution:
    """Return how the flags of :func:`add_flags` and ``keep_checkpoints`` say that cells are run.

    Raises ValueError if flags do not go together, or jobs of Slurm cannot be asked for in this way, and ImportError if
    submitit is asked for and not installed.
    """
    if arguments.executor == 'local':
        if arguments.slurm:
            raise ValueError('--slurm is for --executor slurm; without that, runs are processes of this machine')
        devices = arguments.devices or list(map(str, range(torch.cuda.device_count()))) or ['cpu']
        jobs = default_jobs(devices) if arguments.jobs is None else arguments.jobs
        return Execution(arguments.shard, devices, jobs, None, resume, arguments.keep_checkpoints)
    if arguments.devices:
        raise ValueError('--devices is for --executor local; of Slurm, GPUs are asked for by --slurm gpus=1')
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f'jobs is {arguments.jobs}, expected 1 or more')
    check_options(arguments.slurm or {})
    return Execution(arguments.shard, (), arguments.jobs, arguments.slurm, resume, arguments.keep_checkpoints)


def default_jobs(devices: list[str]) -> int:
    """Return how many runs there are at a time unless told: one per GPU, a few on the CPU, whose memory they share."""
    return min(MOST_CPU_JOBS, available_cores()) if list(devices) == ['cpu'] else len(devices)
