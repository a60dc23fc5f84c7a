"""The folder that a training writes to: looked at before the training, and for one training at a time."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from ..utils.locking import locked
from .resuming import NOTE, checkpoints_in

LOCK = '.training.lock'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PROBE = b'\0' * 65536


@contextlib.contextmanager
def claimed(folder: str | Path, resumed: str | None = None, overwrite: bool = False) -> Iterator[None]:
    """Hold a work folder for a training; only the first of several processes asks for it.

    Args:
        folder (str | Path): Made where it is missing.
        resumed (str, optional): Checkpoint that the training goes on from.
        overwrite (bool): Let checkpoints of another training be overwritten.

    Raises:
        ValueError: If the folder cannot be made or written to, its disk is full, another training runs in it, or it holds
            checkpoints of another one, or folders where files are to be written.
    """
    folder = Path(folder)
    check_writable(folder)
    blocked = [path.name for path in folder.iterdir() if (path.name == NOTE or path.suffix == '.pth') and path.is_dir()]
    if blocked:
        raise ValueError(
            f'{folder} holds the folder {blocked[0]}, where a training writes a file of that name; move '
            'it away, or name another --work-dir'
        )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, wait=False))
        except BlockingIOError:
            raise ValueError(f'another training runs in {folder}; wait for it, or name another --work-dir') from None
        except OSError as error:
            raise ValueError(_cannot_write(folder, error)) from None
        found = checkpoints_in(folder)
        goes_on = resumed is not None and Path(resumed).resolve().parent == folder.resolve()
        if found and not goes_on and not overwrite:
            raise ValueError(
                f'{folder} holds checkpoints of an earlier training, among them {found[0].name}. Go on with it by '
                '--resume, name another --work-dir, or have them overwritten by --overwrite'
            )
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL and not _is_in(error.filename, folder):
                raise
            left = checkpoints_in(folder)
            raise ValueError(
                f'the work folder {folder} cannot be written to any more: {error.strerror}. '
                + (
                    f'The checkpoints in it, up to {left[0].name}, are whole; mend that, and the same '
                    'command with --resume goes on'
                    if left
                    else 'There is no checkpoint in it'
                )
            ) from error


def check_writable(folder: Path, what: str = 'the work folder', remedy: str = 'another --work-dir') -> None:
    """Make a folder and write a little into it.

    Args:
        folder (Path): With the folders above it.
        what (str): How the message calls it.
        remedy (str): What the message asks to be named instead.

    Raises:
        ValueError: If that fails; says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix='.probe-', dir=folder)
        try:
            with os.fdopen(handle, 'wb') as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
        finally:
            os.unlink(probe)
    except OSError as error:
        raise ValueError(_cannot_write(folder, error, what, remedy)) from None


def check_disk_space(folder: str | Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Check that the disk has space for a checkpoint.

    Args:
        folder (str | Path): Where checkpoints are written.
        model (nn.Module): Of the training.
        optimizer (Optimizer, optional): Of the training; what it keeps for each weight is not there yet.

    Raises:
        ValueError: If there is less space than one checkpoint takes.
    """
    if not hasattr(os, 'statvfs') or not Path(folder).is_dir():
        return
    trained = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters() if parameter.requires_grad)
    # SGD keeps the momentum, Adam and its kin two moments.
    kept = 0 if optimizer is None else 1 if 'momentum' in optimizer.defaults else 2
    needed, status = trained * (1 + kept), os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise ValueError(
            f'a checkpoint takes about {needed / 1e6:.0f} MB, but the disk of {folder} has {free / 1e6:.0f} MB left; '
            'free some space, or name another --work-dir'
        )


def _is_in(name, folder):
    return isinstance(name, str) and folder.resolve() in Path(name).resolve().parents


def _cannot_write(folder, error, what='the work folder', remedy='another --work-dir'):
    reason = error.strerror or type(error).__name__
    return f'{what} {folder} cannot be written to: {reason}; name {remedy}'
