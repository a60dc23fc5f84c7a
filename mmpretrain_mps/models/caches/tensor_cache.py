"""Tensors on disk under the hash of what they depend on; whatever goes wrong there costs time, never a result.

Files lie in a sub-folder of ``$MMPRETRAIN_MPS_CACHE``, else of ``$XDG_CACHE_HOME/mmpretrain_mps``, else of
``~/.cache/mmpretrain_mps``. ``MMPRETRAIN_MPS_CACHE=off`` switches it off.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .fingerprint import fingerprint

if TYPE_CHECKING:
    import torch

VARIABLE = 'MMPRETRAIN_MPS_CACHE'
# A file that is not complete after so many seconds belongs to a process that was killed.
ABANDONED_AFTER = 3600


def cache_folder(kind: str) -> Path | None:
    """Return the folder of one kind of content, or None where the cache is switched off."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None and chosen.lower() in ('', 'off', '0', 'none'):
        return None
    if chosen:
        return Path(chosen).expanduser() / kind
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(base).expanduser() / 'mmpretrain_mps' / kind


def load_tensors(
    folder: Path, key: str, content: str, fits: Callable[[dict[str, torch.Tensor]], bool] = lambda tensors: True
) -> dict[str, torch.Tensor] | None:
    """Read tensors.

    Args:
        folder (Path): Where they lie.
        key (str): What they were written under.
        content (str): What they are, for the message.
        fits (Callable): Takes them by name and tells whether they can be what the key says. Whoever may write to the
            folder can also give a file the right name and hash.

    Returns:
        dict[str, Tensor] | None: On the CPU; None if there are none that can be read.
    """
    path = folder / f'{key}.safetensors'
    try:
        if not path.is_file():
            return None
        with safe_open(str(path), 'pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            is_whole = (file.metadata() or {}).get('sha256') == fingerprint(tensors)
        if is_whole and fits(tensors):
            return tensors
        problem = 'its content is not what was written'
    except (OSError, SafetensorError, ValueError) as error:
        problem = str(error)
    MMLogger.get_current_instance().warning(f'{path} is damaged ({problem}); its {content} are computed again')
    return None


def save_tensors(
    folder: Path, key: str, tensors: dict[str, torch.Tensor], content: str, limit_bytes: float = float('inf')
) -> None:
    """Write tensors in one step: whoever reads meanwhile finds the whole file or none.

    A folder that cannot be written to only costs the time that the cache would save.

    Args:
        folder (Path): Made if need be.
        key (str): Name of the file.
        tensors (dict[str, Tensor]): What to write.
        content (str): What they are, for the message.
        limit_bytes (float): Of the folder, see :func:`trim`; what is larger on its own is not written.
    """
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > limit_bytes:
        return
    # Before as well, so that the folder never takes more than it may.
    trim(folder, limit_bytes - size)
    _save(folder, key, tensors, content)
    trim(folder, limit_bytes)


def _save(folder, key, tensors, content):
    tensors = {name: tensor.to('cpu').contiguous() for name, tensor in tensors.items()}
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix='.part')
        os.close(handle)
        save_file(tensors, temporary, metadata={'sha256': fingerprint(tensors)})
        os.replace(temporary, folder / f'{key}.safetensors')
    # A disk that is full is a SafetensorError, which is no OSError.
    except (OSError, SafetensorError) as error:
        MMLogger.get_current_instance().warning(
            f'{content} are not cached in {folder}: {error}; set {VARIABLE} to a folder that can be written to, or to off'
        )
    finally:
        if temporary:
            _remove(Path(temporary))


def trim(folder: Path, limit_bytes: float) -> None:
    """Delete the files that were used longest ago until the others take no more than a limit.

    What processes that were killed left half written goes too, after :data:`ABANDONED_AFTER` seconds.

    Args:
        folder (Path): Of one kind of content; it may be missing.
        limit_bytes (float): Of all files together.
    """
    for modified, _, path in _listed(folder, '*.part'):
        if modified < time.time_ns() - ABANDONED_AFTER * 10**9:
            _remove(path)
    files = _listed(folder, '*.safetensors')
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit_bytes:
            return
        _remove(path)
        total -= size


def _listed(folder, pattern):
    """Return time of change in ns, bytes and path of files, the oldest first."""
    files = []
    try:
        for path in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
    except OSError as error:
        MMLogger.get_current_instance().warning(f'the cache in {folder} cannot be looked through: {error}')
    return sorted(files)


def _remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        MMLogger.get_current_instance().warning(f'{path} cannot be removed from the cache: {error}')


def mark_used(folder: Path, key: str) -> None:
    """Note that a file was used now, for :func:`trim`."""
    try:
        os.utime(folder / f'{key}.safetensors')
    except OSError:  # a cache that is only read need not be trimmed
        pass
