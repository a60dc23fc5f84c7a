"""Checkpoints by address: fetched to a file of their own, which is then looked at like any other."""

import atexit
import contextlib
import functools
import hashlib
import http.client
import json
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from logging import INFO, WARNING
from pathlib import Path

from mmengine.logging import print_log

from .files import read_json
from .locking import locked

TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 20
_SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*)://')


def local_checkpoint(name: str | Path) -> str:
    """Return where a checkpoint lies here, fetched first if it is an address.

    Two addresses are two files, whatever they end in. A file that was fetched before is asked for again, and taken as it
    is if the server says that it has not changed, or if there is no server to ask.

    Args:
        name (str | Path): A file, or an ``http://`` or ``https://`` address.

    Returns:
        str: Its path; the file may be missing if a file was named.

    Raises:
        ValueError: If it is an address of another kind, or cannot be fetched whole.
    """
    path, scheme = Path(name).expanduser(), _SCHEME.match(str(name))
    if scheme is None:
        return str(path)
    if path.exists():  # a folder may be called `http:`, which mmengine would take for an address
        return os.path.abspath(path)
    if scheme[1].lower() not in ('http', 'https'):
        raise ValueError(
            f'checkpoint {name} is an address of {scheme[1]!r}; expected a file, or an address of http or https. '
            'Fetch it by other means and name the file'
        )
    return str(_fetch(str(name), _folder()))


def _fetch(url, folder):
    name = re.sub(r'[^\w.-]', '_', url.rpartition('/')[2].partition('?')[0])[-80:] or 'checkpoint'
    path = folder / f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}'
    note = path.with_name(path.name + '.json')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(path.name + '.lock')):  # one of several processes fetches, the others find it
            return _fetch_changed(url, path, note)
    except OSError as error:
        raise ValueError(f'checkpoint {url} cannot be fetched to {folder}: {error}') from None


def _fetch_changed(url, path, note):
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=_conditions(url, path, note)), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return path
        raise ValueError(f'checkpoint {url} cannot be fetched: the server answers {error.code} ({error.reason})') from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors
        reason = getattr(error, 'reason', None) or str(error) or type(error).__name__
        if not path.is_file():
            raise ValueError(f'checkpoint {url} cannot be fetched: {reason}') from None
        print_log(f'{url} cannot be asked for ({reason}): taking what was fetched before, {path}', 'current', WARNING)
        return path
    with answer:
        print_log(f'fetching {url} to {path}', 'current', INFO)
        try:
            _write(answer, path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ValueError(f'checkpoint {url} cannot be fetched whole: {error or type(error).__name__}') from None
        known = {name: answer.headers[name] for name in ('ETag', 'Last-Modified') if answer.headers.get(name)}
        note.write_text(json.dumps(dict(url=url, **known)), encoding='utf-8')
    return path


def _conditions(url, path, note):
    """Return the headers that ask for a file only if it is another than the one that is here."""
    if not path.is_file():
        return {}
    with contextlib.suppress(ValueError, FileNotFoundError, AttributeError):
        known = read_json(note)
        headers = {'If-None-Match': known.get('ETag'), 'If-Modified-Since': known.get('Last-Modified')}
        return {name: value for name, value in headers.items() if isinstance(value, str) and known.get('url') == url}
    return {}


def _write(answer, path):
    """Write an answer, whole or not at all."""
    partial = path.with_name(path.name + '.partial')
    size, expected = 0, answer.headers.get('Content-Length')
    try:
        with open(partial, 'wb') as file:
            while chunk := answer.read(_CHUNK):
                size += file.write(chunk)
        if expected is not None and size != int(expected):
            raise ValueError(f'the server broke off after {size} of {expected} bytes')
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _own_folder():
    folder = tempfile.mkdtemp(prefix='mmpretrain_mps-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _folder():
    """Return the folder of fetched files; without a cache, one of this process alone."""
    from ..models.caches.tensor_cache import cache_folder  # which brings the models along

    return cache_folder('checkpoints') or _own_folder()
