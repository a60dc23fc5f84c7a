"""Trainings that are disturbed at random moments and resumed, compared with one that nobody disturbed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..engine.resuming import find_checkpoint
from ..engine.work_folder import LOCK
from ..utils.checkpoint import read_checkpoint
from ..utils.files import AnyPath
from ..utils.locking import locked
from .cell_process import Report
from .cell_run import machine, versions
from .files import json_text, write_files

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


def run(
    config: str, work_dir: AnyPath, rounds: int, seed: int, processes: int, options: list[str], report: Report, method: str = ''
) -> dict[str, Any]:
    """Disturb a training in every round, resume it until it ends, and compare what it comes to.

    The seed is that of kinds and moments. A training has so many processes; from 2 on, single ones of them are killed too.
    ``options`` (``NAME=VALUE``) and ``method`` change the config. What is returned is plain; ``equal`` tells whether all came to
    the same, bit for bit. Raises RuntimeError if the training fails although nobody disturbs it.
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
        verdict = f'DIFFERENT: {"; ".join(differences[:3])}' if differences else 'equal'
        report(f'round {number}: {", ".join(entry.kind or "left alone" for entry in story)}: {verdict}')
    starts = [entry for result in found for entry in result['starts']]
    disturbances = {kind: sum(entry['kind'] == kind and entry['status'] != 0 for entry in starts) for kind in KINDS}
    given = dict(config=Path(config).name, method=method, options=options, processes=processes, seed=seed)
    gave = dict(disturbances=disturbances, equal=not any(result['differences'] for result in found), rounds=found)
    return dict(format=FORMAT, **given, seconds=round(seconds, 1), **gave, machine=machine(), versions=versions())


class Training:
    """A training that goes on where the last one in its folder ended, in a session of its own."""

    def __init__(self, config, folder, processes, arguments):
        self.folder, self.log, self.processes = Path(folder), Path(folder).with_suffix('.log'), processes
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
        command = launcher if processes > 1 else [sys.executable]
        command += [str(TOOLS / 'train.py'), str(config), '--work-dir', str(folder), '--resume', '--no-validate']
        command += [*(['--launcher', 'pytorch'] if processes > 1 else []), *arguments]
        self.started = time.time()
        search = os.pathsep.join(filter(None, [str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]))
        with open(self.log, 'a') as log:
            looks = dict(stdout=log, stderr=log, start_new_session=True, env={**os.environ, 'PYTHONPATH': search})
            self.process = subprocess.Popen(command, **looks)

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
        """Wait until the folder is free: processes whose launcher was killed save, and leave by themselves."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self.folder.is_dir():
            try:
                with locked(self.folder / LOCK, wait=False):
                    return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    late = f'{GRACE_SECONDS} s after their launcher was killed'
                    raise RuntimeError(f'processes still train in {self.folder}, {late}') from None
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
        number = self.process.pid
        with contextlib.suppress(OSError, ValueError):
            return list(map(int, Path(f'/proc/{number}/task/{number}/children').read_text().split()))
        return []


def disturb(training: Training, kind: str, moment: float) -> Disturbance:
    """Disturb a training that was just started, ``moment`` seconds from now, unless it ends before.

    ``'SIGKILL'`` and ``'SIGTERM'`` end all of it; ``'writing'`` kills it while a checkpoint is half written, the next one
    after the moment; ``'rank'`` kills one of its processes.
    """
    start = time.monotonic()
    can_be_disturbed = dict(writing=training.is_writing, rank=training.ranks).get(kind, lambda: True)
    while training.process.poll() is None and (time.monotonic() - start < moment or not can_be_disturbed()):
        time.sleep(POLL_SECONDS / 10)  # small checkpoints are written fast
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
    """Compare the last checkpoints of two work folders bit for bit; return the places that differ."""
    paths = [find_checkpoint(folder) for folder in (first, second)]
    if None in paths:
        return ['there is no checkpoint']
    one, other = map(read_checkpoint, paths)
    same_name = [] if Path(paths[0]).name == Path(paths[1]).name else [f'{paths[0]} and {paths[1]} are of different steps']
    return same_name + [place for name in COMPARED for place in _differences(one.get(name), other.get(name), name)]


def write(results: list[dict[str, Any]], path: AnyPath) -> None:
    """Write what :func:`run` returned, of every method, complete or not at all."""
    equal = all(result['equal'] for result in results)
    content = results[0] if len(results) == 1 else dict(format=FORMAT, equal=equal, methods=results)
    write_files('', {str(path): json_text(content)})


def _differences(one, other, place):
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        # Bits, not values: nan is no difference to itself, and -0 is one to 0.
        bits = (tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other))
        equal = one.shape == other.shape and one.dtype == other.dtype and torch.equal(*bits)
        return [] if equal else [place]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in _differences(one[key], other[key], f'{place}.{key}')]
    return [] if type(one) is type(other) and one == other else [place]
