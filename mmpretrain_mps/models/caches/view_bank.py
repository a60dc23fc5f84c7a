"""Frozen features of pre-drawn views, computed once and looked up in every training step."""

import contextlib
import errno
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from ..computation.devices import free_on_device, send

STORAGES = ('ram', 'disk', 'device')
# Share of a GPU's free memory that a bank may take there without being asked to; steps need the rest.
_SHARE_OF_A_DEVICE = 0.25
# Disk, quota or the longest file that is allowed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Some file systems cannot; their files are filled as they come.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class BankLayout:
    """How much a bank takes, known before there is one.

    Args:
        sample (NamedTuple): Frozen features of any one view, for shapes and types.
        shown (Tensor): Which views of which picture will be asked for, ``(N, V)``, bool.
        dtype (str, optional): Type to keep floats in. Defaults to the one that they are computed in.
    """

    def __init__(self, sample: NamedTuple, shown: torch.Tensor, dtype: str | None = None):
        self.shown = shown
        self.num_views = int(shown.sum())
        self.kind = type(sample)
        # Integers, such as positions of tokens, are kept as they are: bfloat16 holds them up to 256 alone.
        self.parts = {
            name: (tuple(part.shape[1:]), part.dtype, DTYPES[dtype] if dtype and part.is_floating_point() else part.dtype)
            for name, part in sample._asdict().items()
            if part is not None
        }

    @property
    def bytes_per_view(self) -> int:
        """int: Of one view."""
        return sum(math.prod(shape) * kept.itemsize for shape, _, kept in self.parts.values())

    @property
    def num_bytes(self) -> int:
        """int: Of the whole bank."""
        return self.num_views * self.bytes_per_view

    def describe(self) -> str:
        """Return pictures, views, shapes and sizes as one line."""
        parts = ' + '.join(
            f'{name} {" x ".join(map(str, shape)) or 1} {str(kept).removeprefix("torch.")}'
            for name, (shape, _, kept) in self.parts.items()
        )
        pictures, size = self.shown.shape
        return (
            f'{pictures} pictures x {size} views, {self.num_views} of them used; {parts} = '
            f'{self.bytes_per_view / 1e3:.1f} kB per view, {format_bytes(self.num_bytes)} together'
        )


class ViewBank:
    """Frozen features of views in memory, in that of the device, or in a file that is gone when the process is.

    Args:
        layout (BankLayout): What will be cached.
        storage (str): ``'ram'``, ``'disk'`` or ``'device'``.
        folder (str | Path): Where the file of ``'disk'`` lies.
        device (torch.device): That of ``'device'``: where the model computes.

    Raises:
        ValueError: If memory or disk have less space than the bank takes.
    """

    def __init__(self, layout: BankLayout, storage: str = 'ram', folder: str | Path = '.', device: torch.device | str = 'cpu'):
        check_space(layout, storage, folder, device)
        place = device if storage == 'device' else 'cpu'
        self._rows = torch.full(layout.shown.shape, -1)
        self._rows[layout.shown] = torch.arange(layout.num_views)
        self._kind = layout.kind
        self._computed = {name: computed for name, (_, computed, _) in layout.parts.items()}
        try:
            self._parts = {
                name: _allocate((layout.num_views, *shape), kept, folder if storage == 'disk' else None, place)
                for name, (shape, _, kept) in layout.parts.items()
            }
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise _too_little_disk(layout, folder) from error

    def write(self, start: int, features: NamedTuple) -> None:
        """Keep the features of views.

        Args:
            start (int): Their first row; rows count the views that are used, picture by picture.
            features (NamedTuple): ``n`` rows.
        """
        for name, kept in self._parts.items():
            part = getattr(features, name)
            kept[start : start + len(part)] = part.to(kept.device, kept.dtype)

    def read(self, pictures: torch.Tensor, views: torch.Tensor, device: torch.device | str) -> NamedTuple:
        """Look views up.

        Args:
            pictures (Tensor): ``(B,)``, int64, on the host.
            views (Tensor): Numbers of their views ``(B, V)``.
            device (torch.device): Where to put them; nothing waits for it.

        Returns:
            NamedTuple: ``V * B`` rows, view by view, in the type that they were computed in.

        Raises:
            LookupError: If a view was not announced as one that will be used.
        """
        rows = self._rows[pictures[:, None], views].t().flatten()
        if (rows.numpy() < 0).any():
            raise LookupError('the view bank was asked for a view that its plan does not hold')
        found = dict.fromkeys(self._kind._fields)
        for name, kept in self._parts.items():
            # On the device only the numbers of the rows travel.
            part = kept.index_select(0, send(rows, kept.device))
            found[name] = send(part, device).to(self._computed[name])
        return self._kind(**found)


def choose_storage(layout: BankLayout, device: torch.device | str) -> str:
    """Choose where a bank lies: on a GPU if it takes at most a quarter of what is free there, else in memory.

    Args:
        layout (BankLayout): What will be cached.
        device (torch.device): Where the model computes.

    Returns:
        str: ``'device'`` or ``'ram'``.
    """
    device = torch.device(device)
    if device.type == 'cuda' and layout.num_bytes <= _SHARE_OF_A_DEVICE * free_on_device(device):
        return 'device'
    return 'ram'


def check_space(layout: BankLayout, storage: str, folder: str | Path, device: torch.device | str = 'cpu') -> None:
    """Refuse a bank that does not fit.

    Args:
        layout (BankLayout): What will be cached.
        storage (str): ``'ram'``, ``'disk'`` or ``'device'``.
        folder (str | Path): Where the file of ``'disk'`` will lie; made if need be.
        device (torch.device): That of ``'device'``.

    Raises:
        ValueError: If memory or disk have less space than the bank takes; the message quotes both.
    """
    if storage == 'disk':
        os.makedirs(folder, exist_ok=True)
        if shutil.disk_usage(folder).free < layout.num_bytes:
            raise _too_little_disk(layout, folder)
        return
    on_gpu = storage == 'device' and torch.device(device).type == 'cuda'
    available = free_on_device(device) if on_gpu else available_memory()
    if available is not None and available < layout.num_bytes:
        raise ValueError(
            f'the view bank takes {format_bytes(layout.num_bytes)} of {"the memory of " + str(device) if on_gpu else "memory"}, but '
            f'only {format_bytes(available)} are available; use fewer views, dtype=bfloat16'
            f'{", storage=ram" if on_gpu else ""} or storage=disk'
        )


def available_memory(meminfo: str | Path = '/proc/meminfo') -> int | None:
    """Return the bytes of memory that a process can still take, or at most has, or None if the system does not say."""
    with contextlib.suppress(OSError, ValueError), open(meminfo) as file:
        for line in file:
            if line.startswith('MemAvailable:'):
                return 1024 * int(line.split()[1])
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return None


def format_bytes(number: float) -> str:
    """Write a size with the unit that gives it one to three digits before the point."""
    for unit, size in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
        if number >= size:
            return f'{number / size:.2f} {unit}'
    return f'{number} bytes'


def _too_little_disk(layout, folder):
    return ValueError(
        f'the view bank takes {format_bytes(layout.num_bytes)}, but {folder} has '
        f'{format_bytes(shutil.disk_usage(folder).free)} left; use fewer views, dtype=bfloat16 or '
        'another work folder'
    )


def _allocate(shape, dtype, folder, device):
    if folder is None:
        return torch.empty(shape, dtype=dtype, device=device)
    size = torch.Size(shape).numel()
    handle, path = tempfile.mkstemp(dir=folder, prefix='view_bank_', suffix='.part')
    try:
        try:
            _reserve(handle, size * dtype.itemsize)
        finally:
            os.close(handle)
        return torch.from_file(path, shared=True, size=size, dtype=dtype).view(shape)
    finally:
        os.unlink(path)  # the mapping outlives the name, and nothing is left behind however the process ends


def _reserve(handle, num_bytes):
    """Give a file its space now.

    One with holes gets it while it is filled; a disk that another process has filled meanwhile would then end this one
    by SIGBUS.
    """
    if not num_bytes or not hasattr(os, 'posix_fallocate'):
        return
    try:
        os.posix_fallocate(handle, 0, num_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
