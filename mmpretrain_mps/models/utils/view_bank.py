"""Frozen features of pre-drawn views, computed once and looked up in every training step."""
import os
import shutil
import tempfile

import torch

from ..backbones.dual_branch_vit import FrozenFeatures

STORAGES = ('ram', 'disk')
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class BankLayout:
    """How much a bank takes, known before there is one.

    Args:
        sample (FrozenFeatures): Of any one view, for shapes and types.
        shown (Tensor): Which views of which picture will be asked for, ``(N, V)``, bool.
        dtype (str, optional): Type to keep floats in. Defaults to the one that they are computed in.
    """

    def __init__(self, sample, shown, dtype=None):
        self.shown = shown
        self.num_views = int(shown.sum())
        self.parts = {name: (tuple(part.shape[1:]), part.dtype, DTYPES[dtype] if dtype else part.dtype)
                      for name, part in sample._asdict().items() if part is not None}

    @property
    def bytes_per_view(self):
        """int: Of one view."""
        return sum(tokens * width * kept.itemsize for (tokens, width), _, kept in self.parts.values())

    @property
    def num_bytes(self):
        """int: Of the whole bank."""
        return self.num_views * self.bytes_per_view

    def describe(self):
        """Return pictures, views, shapes and sizes as one line."""
        parts = ' + '.join(f'{name} {tokens} x {width} {str(kept).removeprefix("torch.")}'
                           for name, ((tokens, width), _, kept) in self.parts.items())
        pictures, size = self.shown.shape
        return (f'{pictures} pictures x {size} views, {self.num_views} of them used; {parts} = '
                f'{self.bytes_per_view / 1e3:.1f} kB per view, {format_bytes(self.num_bytes)} together')


class ViewBank:
    """Frozen features of views in memory, or in a file that is gone when the process is.

    Args:
        layout (BankLayout): What will be kept.
        storage (str): ``'ram'`` or ``'disk'``.
        folder (str | Path): Where the file of ``'disk'`` lies.

    Raises:
        ValueError: If the disk has less space than the bank takes.
    """

    def __init__(self, layout, storage='ram', folder='.'):
        if storage == 'disk':
            os.makedirs(folder, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if free < layout.num_bytes:
                raise ValueError(f'the view bank takes {format_bytes(layout.num_bytes)}, but {folder} has '
                                 f'{format_bytes(free)} left; use fewer views, dtype=bfloat16 or another work folder')
        self._rows = torch.full(layout.shown.shape, -1)
        self._rows[layout.shown] = torch.arange(layout.num_views)
        self._computed = {name: computed for name, (_, computed, _) in layout.parts.items()}
        self._kept = {name: _allocate((layout.num_views, *shape), kept, folder if storage == 'disk' else None)
                      for name, (shape, _, kept) in layout.parts.items()}

    def write(self, start, features):
        """Keep the features of views.

        Args:
            start (int): Their first row; rows count the views that are used, picture by picture.
            features (FrozenFeatures): ``n`` rows.
        """
        for name, kept in self._kept.items():
            part = getattr(features, name)
            kept[start:start + len(part)] = part.to(kept.device, kept.dtype)

    def read(self, pictures, views, device):
        """Look views up.

        Args:
            pictures (Tensor): ``(B,)``, int64, on the host.
            views (Tensor): Numbers of their views ``(B, V)``.
            device (torch.device): Where to put them; nothing waits for it.

        Returns:
            FrozenFeatures: ``V * B`` rows, view by view, in the type that they were computed in.

        Raises:
            LookupError: If a view was not announced as one that will be used.
        """
        rows = self._rows[pictures[:, None], views].t().flatten()
        if (rows.numpy() < 0).any():
            raise LookupError('the view bank was asked for a view that its plan does not hold')
        found = dict.fromkeys(FrozenFeatures._fields)
        for name, kept in self._kept.items():
            part = kept.index_select(0, rows)
            part = part.pin_memory() if torch.device(device).type == 'cuda' else part
            found[name] = part.to(device, non_blocking=True).to(self._computed[name])
        return FrozenFeatures(**found)


def format_bytes(number):
    """Write a size with the unit that gives it one to three digits before the point."""
    for unit, size in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
        if number >= size:
            return f'{number / size:.2f} {unit}'
    return f'{number} bytes'


def _allocate(shape, dtype, folder):
    if folder is None:
        return torch.empty(shape, dtype=dtype)
    handle, path = tempfile.mkstemp(dir=folder, prefix='view_bank_', suffix='.part')
    os.close(handle)
    try:
        return torch.from_file(path, shared=True, size=torch.Size(shape).numel(), dtype=dtype).view(shape)
    finally:
        os.unlink(path)  # the mapping outlives the name, and nothing is left behind however the process ends
