"""Sorted listings of class folders, kept in a cache file because a million names take long to gather."""

import hashlib
import json
import os
import os.path as osp
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from logging import WARNING

from mmengine.logging import print_log

from ..utils.files import parse_json, read_text

PICTURE_ENDINGS = (
    '.jpeg',
    '.jpg',
    '.jpe',
    '.jfif',
    '.png',
    '.bmp',
    '.gif',
    '.tif',
    '.tiff',
    '.webp',
    '.avif',
    '.jp2',
    '.tga',
    '.ppm',
    '.pgm',
    '.pbm',
)
CACHE_VERSION = 1
# A folder that changed this shortly before it was listed may change again without a new time stamp.
_SETTLING_NS = 2_000_000_000


def is_picture_name(name: str) -> bool:
    """Whether a file name has the ending of a picture (in any case) and is not hidden."""
    return not name.startswith('.') and name.lower().endswith(PICTURE_ENDINGS)


def default_cache_dir() -> str:
    """Return the folder for listings: below ``XDG_CACHE_HOME``, or ``~/.cache`` where that is not set."""
    home = os.environ.get('XDG_CACHE_HOME') or osp.join(osp.expanduser('~'), '.cache')
    return osp.join(home, 'mmpretrain_mps', 'listings')


def list_class_folders(root: str, cache_dir: str | None = None) -> dict[str, list[str]]:
    """List the pictures of every folder directly below ``root``, in sorted order whatever the file system's.

    The first listing is written to a cache file outside the data tree; later calls look at the time stamps of the
    class folders and list again only those that changed. A cache file that cannot be read is rebuilt, one that cannot
    be written is done without (both with a warning).

    Args:
        root (str): Folder that holds one folder per class. Hidden ones are passed over.
        cache_dir (str, optional): Folder of the cache files. None: :func:`default_cache_dir`; '' turns the cache off.

    Returns:
        dict[str, list[str]]: Name of the class folder -> sorted names of its pictures; folders sorted by name.

    Raises:
        FileNotFoundError: If ``root`` does not exist.
    """
    try:
        with os.scandir(root) as entries:
            stamps = {
                entry.name: entry.stat().st_mtime_ns for entry in entries if not entry.name.startswith('.') and entry.is_dir()
            }
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f'The folder {root} does not exist; it must hold one folder per class.') from None
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    cache_file = cache_dir and osp.join(osp.expanduser(cache_dir), _cache_name(root))
    known = _read_cache(cache_file) if cache_file else {}
    listing, changed = {}, []
    for folder in sorted(stamps):
        stamp, names = known.get(folder, (None, None))
        listing[folder] = names
        if stamp != stamps[folder]:
            changed.append(folder)
    if changed or set(known) - set(stamps):
        now = time.time_ns()
        with ThreadPoolExecutor(8) as pool:  # network file systems answer slowly but in parallel
            listing.update(zip(changed, pool.map(lambda folder: _list_pictures(osp.join(root, folder)), changed)))
        if cache_file:
            settled = {
                folder: (stamps[folder], names) for folder, names in listing.items() if now - stamps[folder] > _SETTLING_NS
            }
            _write_cache(cache_file, root, settled)
    return listing


def _list_pictures(folder):
    return sorted(name for name in os.listdir(folder) if is_picture_name(name))


def _cache_name(root):
    path = osp.realpath(root)
    return f'{osp.basename(path)}-{_digest(path)[:16]}.json'


def _read_cache(cache_file):
    """Return folder -> (time stamp in ns, names), empty when there is no usable cache."""
    try:
        header, _, body = read_text(cache_file, errors='surrogateescape').partition('\n')
        header, content = parse_json(header, 'its first line'), parse_json(body, 'its list')
        if header['version'] != CACHE_VERSION:
            return {}
        if header['sha256'] != _digest(body):
            raise ValueError('its checksum does not fit')
        if not all(type(stamp) is int and _are_names(names) for stamp, names in content.values()):
            raise ValueError('it names what is no picture of a class folder')
        return {folder: (stamp, names) for folder, (stamp, names) in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print_log(f'The cached listing {cache_file} cannot be used and is rebuilt: {error!r}', 'current', WARNING)
        return {}


def _are_names(names):
    """Whether a list could be that of a folder: a forged cache file must not lead anywhere else."""
    return isinstance(names, list) and all(
        isinstance(name, str) and is_picture_name(name) and osp.basename(name) == name for name in names
    )


def _write_cache(cache_file, root, listing):
    """Write a header line and a line with all names, in one step: two processes never read half a file."""
    body = json.dumps(listing, ensure_ascii=False, separators=(',', ':'))
    header = dict(version=CACHE_VERSION, root=osp.realpath(root), sha256=_digest(body))
    temporary = None
    try:
        os.makedirs(osp.dirname(cache_file), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=osp.dirname(cache_file), suffix='.part')
        with os.fdopen(handle, 'w', encoding='utf-8', errors='surrogateescape') as file:
            file.write(json.dumps(header, ensure_ascii=False) + '\n' + body)
        os.replace(temporary, cache_file)
    except OSError as error:
        if temporary and osp.exists(temporary):
            os.unlink(temporary)
        print_log(f'The listing of {root} is not cached, {cache_file} cannot be written: {error}', 'current', WARNING)


def _digest(text):
    # A changed name would silently change the picks, so a cache that is JSON still is not trusted for that.
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()
