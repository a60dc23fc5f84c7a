"""Trainings that are disturbed at random moments and resumed, compared with one that nobody disturbed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from ..engine.file_backend import AtomicLocalBackend
from ..engine.resuming import find_checkpoint
from ..engine.work_folder import LOCK
from ..utils.checkpoint import read_checkpoint
from ..utils.locking import locked
from .cell_run import machine, versions

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
FORMAT = 'mmpretrain_mps-chaos-1'
# What a checkpoint of a training goes on from; its log holds times, which no two runs share.
COMPARED = ('state_dict', 'optimizer', 'param_schedulers')
KINDS = ('SIGKILL', 'SIGTERM', 'writing', 'rank')
POLL_SECONDS = 0.005
GRACE_SECONDS = 60


class Disturbance(NamedTuple):
    """One start of a training, and how it ended."""

    kind: str
    """One of :data:`KINDS`; '' for a start that was left alone."""
    after: float
    """Seconds from the start."""
    status: int
    """Exit status; negative for a signal."""
    at: str | None
    """The checkpoint that the next start goes on from; None if there is none yet."""


def run(config: str, work_dir: str, rounds: int, seed: int, processes: int, options: list[str], report, method: str = '') -> dict:
    """Disturb a training in every round, resume it until it ends, and compare what it comes to.

    Args:
        config (str): The config file.
        work_dir (str): Folder of the runs.
        rounds (int): Trainings that are disturbed.
        seed (int): Of kinds and moments.
        processes (int): Of each training; from 2 on, single ones of them are killed too.
        options (Sequence[str]): ``NAME=VALUE`` for the config.
        report (Callable[[str], None]): Gets lines for the user.
        method (str): In the place of the config's own.

    Returns:
        dict: What was done and found, plain; ``equal`` tells whether all came to the same, bit for bit.

    Raises:
        RuntimeError: If the training fails although nobody disturbs it.
    """
    folder, generator = Path(work_dir), random.Random(seed)
    whole, start = folder / 'whole', time.monotonic()
    arguments = [*(['--method', method] if method else []), '--cfg-options', 'default_hooks.checkpoint.interval=1', *options]
    training = Training(config, whole, processes, arguments)
    while training.process.poll() is None and not any(whole.glob('*.pth')):
        time.sleep(POLL_SECONDS)
    # Until there is something to lose: half of it is enough to try.
    first = time.monotonic() - start
    if training.wait():
        raise RuntimeError(f'undisturbed, {config} ends with status {training.process.returncode}; see {training.log}')
    seconds, found = time.monotonic() - start, []
    report(f'undisturbed: {seconds:.1f} s, {find_checkpoint(whole)}')
    for number in range(rounds):
        kinds = [kind for kind in KINDS if kind != 'rank' or processes > 1]
        path, story = folder / f'round_{number}', []
        for kind in generator.choices(kinds, k=generator.randint(1, 4)):
            # A resumed training is shorter: some are left to end before their moment comes.
            disturbed = disturb(Training(config, path, processes, arguments), kind, generator.uniform(first / 2, seconds))
            story.append(disturbed)
            if disturbed.status == 0:
                break
        else:
            last = Training(config, path, processes, arguments)
            story.append(Disturbance('', 0, last.wait(), last.checkpoint()))
        differences = compare(whole, path) if story[-1].status == 0 else ['the last start failed']
        found.append(dict(round=number, starts=[entry._asdict() for entry in story], differences=differences))
        report(
            f'round {number}: {", ".join(entry.kind or "left alone" for entry in story)}: '
            + ('equal' if not differences else f'DIFFERENT: {"; ".join(differences[:3])}')
        )
    starts = [entry for result in found for entry in result['starts']]
    return dict(
        format=FORMAT,
        config=Path(config).name,
        method=method,
        options=options,
        processes=processes,
        seed=seed,
        seconds=round(seconds, 1),
        disturbances={kind: sum(entry['kind'] == kind and entry['status'] != 0 for entry in starts) for kind in KINDS},
        equal=all(not result['differences'] for result in found),
        rounds=found,
        machine=machine(),
        versions=versions(),
    )


class Training:
    """A training that goes on where the last one in its folder ended, in a session of its own."""

    def __init__(self, config, folder, processes, arguments):
        self.folder, self.log, self.processes = Path(folder), Path(folder).with_suffix('.log'), processes
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
        command = [
            *(launcher if processes > 1 else [sys.executable]),
            str(TOOLS / 'train.py'),
            str(config),
            '--work-dir',
            str(folder),
            '--resume',
            '--no-validate',
            *(['--launcher', 'pytorch'] if processes > 1 else []),
            *arguments,
        ]
        self.started = time.time()
        search = os.pathsep.join(filter(None, [str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]))
        with open(self.log, 'a') as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, 'PYTHONPATH': search}
            )

    def wait(self, timeout=None):
        """Wait for the end, then end what is left of the session; return the exit status."""
        try:
            self.process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self.process.returncode

    def wait_for_ranks(self):
        """Wait until the folder is free: processes whose launcher was killed save, and leave by themselves.

        Raises:
            RuntimeError: If they do not.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        while self.folder.is_dir():
            try:
                with locked(self.folder / LOCK, wait=False):
                    return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RuntimeError(
                        f'processes still train in {self.folder}, {GRACE_SECONDS} s after their launcher was killed'
                    ) from None
                time.sleep(POLL_SECONDS)

    def checkpoint(self):
        """Return the name of the checkpoint that the next start goes on from, None if there is none."""
        found = find_checkpoint(self.folder)
        return found and Path(found).name

    def is_writing(self):
        """Whether a checkpoint of this start is half written; what an earlier one left behind is none."""
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_mtime > self.started for path in self.folder.glob('*.pth.partial'))
        return False

    def ranks(self):
        """Return the numbers of the processes that the launcher has started."""
        with contextlib.suppress(OSError, ValueError):
            return [
                int(number) for number in Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
            ]
        return []


def disturb(training: Training, kind: str, moment: float) -> Disturbance:
    """Disturb a training after so many seconds, unless it ends before.

    Args:
        training (Training): Just started.
        kind (str): ``'SIGKILL'`` and ``'SIGTERM'`` end all of it; ``'writing'`` kills it while a checkpoint is half written,
            the next one after the moment; ``'rank'`` kills one of its processes.
        moment (float): Seconds from the start.

    Returns:
        Disturbance: What became of it.
    """
    start = time.monotonic()
    while training.process.poll() is None:
        if time.monotonic() - start >= moment:
            if kind == 'writing' and not training.is_writing():
                time.sleep(POLL_SECONDS / 10)
                continue
            if kind == 'rank' and not training.ranks():
                time.sleep(POLL_SECONDS)
                continue
            break
        time.sleep(POLL_SECONDS)
    after = time.monotonic() - start
    with contextlib.suppress(ProcessLookupError):
        if kind == 'rank':
            os.kill(random.Random(after).choice(training.ranks() or [training.process.pid]), signal.SIGKILL)
        elif kind == 'SIGTERM':
            training.process.send_signal(signal.SIGTERM)
        elif training.process.poll() is None:
            ranks = training.ranks() if training.processes > 1 else []
            os.killpg(training.process.pid, signal.SIGKILL)
            for number in ranks:  # each in a session of its own
                os.kill(number, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        training.wait(GRACE_SECONDS)
    training.wait_for_ranks()
    return Disturbance(kind, round(after, 2), training.process.wait(), training.checkpoint())


def compare(first: Path, second: Path) -> list[str]:
    """Compare the last checkpoints of two trainings bit for bit.

    Args:
        first (Path): Work folder of one.
        second (Path): Work folder of the other.

    Returns:
        list[str]: Places that differ; empty if there are none.
    """
    paths = [find_checkpoint(folder) for folder in (first, second)]
    if None in paths:
        return ['there is no checkpoint']
    one, other = map(read_checkpoint, paths)
    same_name = [] if Path(paths[0]).name == Path(paths[1]).name else [f'{paths[0]} and {paths[1]} are of different steps']
    return same_name + [place for name in COMPARED for place in _differences(one.get(name), other.get(name), name)]


def write(results: list[dict], path: str) -> None:
    """Write what :func:`run` returned, of every method, complete or not at all."""
    content = (
        results[0]
        if len(results) == 1
        else dict(format=FORMAT, equal=all(result['equal'] for result in results), methods=results)
    )
    AtomicLocalBackend().put_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n', path)


def _differences(one, other, place):
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        # Bits, not values: nan is no difference to itself, and -0 is one to 0.
        equal = (
            one.shape == other.shape
            and one.dtype == other.dtype
            and torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))
        )
        return [] if equal else [place]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in _differences(one[key], other[key], f'{place}.{key}')]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [found for index, pair in enumerate(zip(one, other)) for found in _differences(*pair, f'{place}.{index}')]
    return [] if type(one) is type(other) and one == other else [place]
