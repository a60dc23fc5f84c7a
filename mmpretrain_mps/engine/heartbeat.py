"""Signs of life between the processes of a run: one that was stopped is noticed within a minute."""

import contextlib
import os
import sys
import threading
import time
from datetime import timedelta

import torch.distributed as dist

INTERVAL = 5.0  # seconds between signs of life
SILENCE = 40.0  # seconds without one
START = 60  # seconds until all processes have come
_LEFT = b'left'
ARE_THEY_STARTED = 'Are all of them started, with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, and a RANK of their own?'


class Heartbeat:
    """A thread that says that this process lives, and ends it when another one has fallen silent.

    Collectives wait for half an hour, since a process may compute that long; but one that computes still has threads
    that run. One that was stopped (SIGSTOP), or whose machine hangs, has none.

    Args:
        store (Store): That all processes see; used by this object alone.
        rank (int): Of this process.
        size (int): Number of processes.
        interval (float): Seconds between signs of life.
        silence (float): Seconds without one, after which a process counts as gone.
    """

    def __init__(self, store: dist.Store, rank: int, size: int, interval: float = INTERVAL, silence: float = SILENCE):
        self._store, self._rank, self._interval, self._silence = store, rank, interval, silence
        self._others = [other for other in range(size) if other != rank]
        self._end, self._answered = threading.Event(), 0.0
        self._heard: dict[int, tuple[bytes | None, float]] = {}
        # Two threads, since a store that was stopped with its process lets whoever asks it wait.
        self._threads = [threading.Thread(target=part, daemon=True) for part in (self._exchange, self._watch)]

    def start(self) -> None:
        """Begin."""
        self._hear_all()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the watch, before this process leaves the others, which do not expect signs of it any more."""
        self._end.set()
        for thread in self._threads:
            thread.join(2 * self._interval)
        with contextlib.suppress(RuntimeError):
            self._store.set(f'alive-{self._rank}', _LEFT)  # type: ignore[arg-type]

    def _hear_all(self):
        self._answered = time.monotonic()
        self._heard = dict.fromkeys(self._others, (None, self._answered))

    def _exchange(self):
        count = 0
        while not self._end.wait(self._interval):
            count += 1
            try:
                self._store.set(f'alive-{self._rank}', str(count))
                signs = {rank: self._store.get(f'alive-{rank}') for rank in self._others if self._store.check([f'alive-{rank}'])}
            except RuntimeError:  # the store is gone with its process, which the main thread learns by itself
                self._end.set()
                return
            self._answered = time.monotonic()
            for rank, sign in signs.items():
                if sign != self._heard[rank][0] or sign == _LEFT:
                    self._heard[rank] = sign, self._answered

    def _watch(self):
        before = time.monotonic()
        while not self._end.wait(self._interval):
            now = time.monotonic()
            if now - before > self._silence / 2:  # it was this process that was stopped, perhaps with all others
                self._hear_all()
            before = now
            silent = [rank for rank, (_, since) in self._heard.items() if now - since > self._silence]
            if now - self._answered > self._silence:
                silent = [0]  # which keeps the store
            if silent and not self._end.is_set():
                print(
                    f'[process {self._rank}] error: process {silent[0]} has given no sign of life for '
                    f'{self._silence:.0f} seconds: it was stopped, or its machine hangs. The checkpoints so far are '
                    'untouched; the same command with --resume goes on from the last one',
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(2)


def meet(rank: int, size: int) -> dist.Store:
    """Wait for the other processes of a run, as torchrun's variables name them.

    Args:
        rank (int): Of this process.
        size (int): Number of processes.

    Returns:
        Store: That all of them see.

    Raises:
        ValueError: If some have not come after :data:`START` seconds; says which.
    """
    where = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
    try:
        store = connect()
    except (dist.DistError, TimeoutError) as error:
        raise ValueError(
            f'process {rank} does not find the {size - 1} others at {where} within {START} seconds: '
            f'{str(error).splitlines()[0]}. {ARE_THEY_STARTED}'
        ) from None
    store.set(f'here-{rank}', '')
    try:
        store.wait([f'here-{other}' for other in range(size)], timedelta(seconds=START))
    except dist.DistError:
        absent = [str(other) for other in range(size) if not store.check([f'here-{other}'])]
        raise ValueError(
            f'of {size} processes, number {", ".join(absent)} did not come to {where} within {START} seconds. {ARE_THEY_STARTED}'
        ) from None
    return store


def connect() -> dist.Store:
    """Return a connection of its own to the store that all processes of a run see, once they are started."""
    store, *_ = next(dist.rendezvous('env://', timeout=timedelta(seconds=START)))
    return store
