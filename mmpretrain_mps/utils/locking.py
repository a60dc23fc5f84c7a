"""Locks that the system releases when the process ends, however it ends."""
import contextlib
import errno
import os
from pathlib import Path
from typing import Iterator, Union

try:
    import fcntl
except ImportError:  # Windows: nothing guards there
    fcntl = None

# What file systems answer that know no locks; better none than no run.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def locked(path: Union[str, Path], wait: bool = True) -> Iterator[None]:
    """Hold a lock.

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
