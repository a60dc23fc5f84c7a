"""Checkpoints of plain data: written so, checked before they are read."""

import pickle
import re
import struct
import zipfile
import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .files import open_regular

HISTORY_BUFFER = 'history_buffer'


def to_plain(value: Any, where: str = 'checkpoint') -> Any:
    """Rebuild a value from types that ``torch.load(weights_only=True)`` reads: containers, tensors, str, numbers.

    numpy scalars become Python numbers, arrays become tensors, paths become str, a mmengine ``HistoryBuffer`` becomes a
    dict (``from_plain`` turns it back). Tensors are passed on as they are.

    Args:
        value: Anything.
        where (str): How the error calls the value.

    Returns:
        The same content in plain types.

    Raises:
        TypeError: If a part has no plain form; the message names the part and its type.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes, torch.Tensor, torch.Size, torch.dtype):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.generic):
        return to_plain(value.item(), where)
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return torch.from_numpy(value.copy())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, HistoryBuffer):
        return {HISTORY_BUFFER: _history_to_plain(value)}
    if isinstance(value, Mapping):
        return _mapping_to_plain(value, where)
    if isinstance(value, tuple):
        return tuple(to_plain(item, f'{where}[{i}]') for i, item in enumerate(value))
    if isinstance(value, (list, deque)):
        return [to_plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
    if isinstance(value, (bool, int, float, str)):  # subclasses of these, such as IntEnum
        return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
    raise TypeError(
        f'{where} is a {type(value).__module__}.{type(value).__name__}, which has no plain form; a '
        'checkpoint holds tensors, numbers, str, None and containers of these'
    )


def _mapping_to_plain(mapping, where):
    plain = {to_plain(key, f'a key of {where}'): to_plain(item, f'{where}[{key!r}]') for key, item in mapping.items()}
    if not hasattr(mapping, '_metadata'):
        return plain
    # A state dict keeps the versions of its modules in this attribute; only an OrderedDict can carry it.
    plain = OrderedDict(plain)
    plain._metadata = OrderedDict(mapping._metadata)
    return plain


def _history_to_plain(history):
    values, counts = history.data
    return dict(values=torch.from_numpy(values.copy()), counts=torch.from_numpy(counts.copy()), max_length=history.max_length)


def history_from_plain(value: Any) -> Any:
    """Rebuild a ``HistoryBuffer`` from what ``to_plain`` made of it; any other value is returned as it is."""
    if not isinstance(value, dict) or set(value) != {HISTORY_BUFFER}:
        return value
    history = value[HISTORY_BUFFER]
    # A run on a GPU reads the whole file to there, the log history too.
    values, counts = (history[name].cpu().numpy() for name in ('values', 'counts'))
    return HistoryBuffer(values, counts, history['max_length'])


def is_local(path: str | Path) -> bool:
    """Whether a checkpoint's name is a file here, not an address that mmengine fetches (``https://``, ``s3://``)."""
    return '://' not in str(path)


def check_checkpoint(path: str | Path) -> None:
    """Make sure that a file is a complete checkpoint of plain data, without keeping its tensors.

    Args:
        path (str | Path): A local file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, even by one bit, or holds objects that would have to be unpickled with code.
    """
    read_checkpoint(path, mmap=True)


def read_checkpoint(path: str | Path, mmap: bool = False, whole: bool = True) -> dict[str, Any]:
    """Read a checkpoint under ``weights_only=True``, with errors that say what is wrong with the file.

    Args:
        path (str | Path): A local file.
        mmap (bool): Leave the tensors on disk until they are used.
        whole (bool): Compare every part with its checksum, for which all of the file is read.

    Returns:
        dict: The checkpoint, tensors on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, even by one bit, or holds objects that would have to be unpickled with code; says which.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'checkpoint {path} does not exist' + _siblings(path))
    start = _start_of(path)
    if whole and start.startswith(b'PK') and (part := damaged_part(path)):
        raise ValueError(f'checkpoint {path} is damaged: {part} is not what was written')
    try:
        # Only the zip format can be mapped; the older one is read whole.
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=mmap and start.startswith(b'PK'))
    except pickle.UnpicklingError as error:
        if b'{' in start[8:10]:  # after the length of its header
            raise ValueError(
                f'checkpoint {path} looks like a file of safetensors, expected one that this project wrote'
            ) from None
        raise ValueError(
            f'checkpoint {path} is refused: it is not plain data (tensors, numbers, text), and reading it '
            f'could run code that it brings along. {reason_of(error)}'
        ) from error
    except Exception as error:  # garbage makes torch raise whatever its old reader stumbles over
        raise ValueError(
            f'checkpoint {path} ({path.stat().st_size} bytes) cannot be read: it is incomplete or no '
            f'checkpoint at all. {reason_of(error)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict')
    if not isinstance(checkpoint.get('meta', {}), dict):
        raise ValueError(f'checkpoint {path}: its meta is a {type(checkpoint["meta"]).__name__}, expected a dict')
    return checkpoint


def damaged_part(path: str | Path) -> str | None:
    """Look for parts of a file in zip format, as torch writes, that do not have the checksum that was written with them.

    torch itself does not look at these checksums (CRC-32), and reads what it finds.

    Args:
        path (str | Path): The file.

    Returns:
        str | None: Name of the first such part, None if the file is whole or no zip file, which is told otherwise.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except zipfile.BadZipFile as error:
        # Without its last part, the list of all others, it is incomplete; torch says so.
        return None if 'not a zip file' in str(error).lower() else 'one of its headers'
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, struct.error, OSError, ValueError):
        return 'one of its headers'


def _start_of(path):
    try:
        with open_regular(path) as file:
            return file.read(10)
    except ValueError as error:
        raise ValueError(f'checkpoint {error}') from None


def _siblings(path):
    found = sorted(file.name for file in path.parent.glob('*.pth')) if path.parent.is_dir() else []
    return f'; its folder has {", ".join(found)}' if found else ''


def reason_of(error: BaseException) -> str:
    """Cut the sentence that names the fault out of torch's long advice (part of which would undo the check)."""
    fault = ' '.join(str(error).split()).rpartition('WeightsUnpickler error: ')[-1]
    return f'torch says: {re.split(r" was not an allowed|[.] | Check the doc", fault)[0] or type(error).__name__}'
