"""Locks that are released when the process ends, however it ends."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing guards there
    fcntl = None  # type: ignore[assignment]

# What file systems answer that know no locks; better none than no run.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
# Longer than servers of network file systems keep what a machine that went down had locked (90 seconds in NFS 4).
LEASE_SECONDS = 120
LEASE_POLL_SECONDS = 0.5


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Hold a lock of the system; on network file systems, whether other machines see it depends on how they are mounted.

    Args:
        path (str | Path): Of a file that stands for what is locked; made where it is missing, and left there.
        wait (bool): Until whoever holds it lets go.

    Raises:
        BlockingIOError: If it is held and ``wait`` is False.
        OSError: If the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_CLOEXEC', 0), 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def leased(path: str | Path) -> Iterator[None]:
    """Hold a lock that all machines see that share the folder; wait until whoever holds it lets go.

    The lock is a file: it is made by whoever comes first, says which process of which machine that is, is touched as long
    as that one lives, and is removed by it. What an ended process of this machine left behind is taken over at once, what is
    of another machine after ``LEASE_SECONDS`` without a touch, by this machine's clock. A process that was away for so long,
    stopped or cut off from the files, ends itself when it finds another one in its place.

    Args:
        path (str | Path): Of the file, in a folder that is there.

    Raises:
        OSError: If the file cannot be made.
    """
    from filelock import SoftFileLease

    with SoftFileLease(path, lease_duration=LEASE_SECONDS, poll_interval=LEASE_POLL_SECONDS, on_compromise=_end):
        yield


def _end(loss):
    print(
        f'{loss.lock_file} was lost ({loss.reason}): another process may have taken it over, so that this one ends',
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
