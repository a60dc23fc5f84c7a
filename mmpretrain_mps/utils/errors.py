"""Errors that a user can mend end as one message; everything else keeps its traceback."""

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from .places import PACKAGE_ROOT

TRACEBACK_VARIABLE = 'MMPRETRAIN_MPS_TRACEBACK'
WORKER_FRAME = re.compile(r'^  File "(.+?)", line \d+.*$', re.MULTILINE)
USER_ERRORS = (ValueError, FileNotFoundError, NotADirectoryError, ImportError)
# What Python says of an argument that a class does not have, and where configs are turned into calls.
UNKNOWN_ARGUMENT = re.compile(r"(?:(\w+)\.)?\w+\(\) got an unexpected keyword argument '(\w+)'")
# What the machine does to a run, as torch words it.
CONDITIONS = (
    (
        re.compile("^MemoryError|out of memory|[cC]an(?:no|'|’)t allocate memory|not enough memory"),
        'the memory is not enough: {}. A smaller batch_size of train_dataloader and test_dataloader needs less, and so '
        'do --amp, fewer num_workers, view_bank=0 and cache_images=False',
    ),
    (
        re.compile('DataLoader worker .* (?:killed|exited)'),
        'a process that loads pictures was ended from outside: {}. Often the memory ran out: use fewer num_workers',
    ),
    (
        re.compile('gloo/transport/.*(?:peer|closed|timed out)|ncclRemoteError', re.IGNORECASE),
        'another process of this run has ended, and says why itself unless it was killed: {}. The checkpoints so far are '
        'untouched; the same command with --resume goes on from the last one',
    ),
    (
        re.compile('DataLoader timed out'),
        'a process that loads pictures has not answered: {}. It was stopped, or its disk hangs; '
        'train_dataloader.timeout=SECONDS waits longer, train_dataloader.num_workers=0 does without',
    ),
)
BUILDING_ERRORS = (ValueError, TypeError, AssertionError, KeyError)
LIBRARIES = ('/mmengine/', '/mmpretrain/', '/mmcv/', '/torch/optim/', '/torch/utils/data/')
BUILDER_FILES = ('mmengine/registry/build_functions.py', 'mmengine/runner/runner.py')


@contextlib.contextmanager
def user_errors(show_traceback: bool = False) -> Iterator[None]:
    """End the program with exit status 2 and the message alone when this package refuses what it was given.

    Args:
        show_traceback (bool): Let every exception through. The environment variable ``MMPRETRAIN_MPS_TRACEBACK=1``
            does the same.
    """
    try:
        yield
    except Exception as error:
        message = user_message(error)
        if show_traceback or os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0') or message is None:
            raise
        gap = '\n' if '\n' in message else ' '
        print(f'{_who()}error:{gap}{message}\n(--traceback shows where it was raised)', file=sys.stderr, flush=True)
        # Python asks workers to end and waits: one that was stopped hears of it only when it goes on.
        for child in multiprocessing.active_children() if hasattr(signal, 'SIGCONT') else ():
            os.kill(cast(int, child.pid), signal.SIGCONT)
        sys.exit(2)


def user_message(error: BaseException) -> str | None:
    """Return the message of an error that this package itself raised about what it was given.

    Args:
        error (BaseException): Caught, with its traceback; it may have come from a worker of a data loader, which hands
            the original traceback on as text.

    Returns:
        str | None: None for errors from deeper inside a library: these are not understood, hence not hidden. An
        argument that a config or ``--cfg-options`` gives to a class without it counts as understood, and so does what a
        library refuses while it builds a part of the config, memory that ends, and a worker of a loader that does.
    """
    for test, message in CONDITIONS if isinstance(error, (RuntimeError, MemoryError)) else ():
        if test.search(f'{type(error).__name__}: {error}'):
            return message.format(str(error).strip().split('\n')[0][:200] or type(error).__name__)
    if isinstance(error, TypeError) and UNKNOWN_ARGUMENT.match(str(error)):
        return _unknown_argument(error)
    if _is_of_building(error):
        return f'the config cannot be built: {" ".join(str(error).split()) or type(error).__name__}'
    if not isinstance(error, USER_ERRORS):
        return None
    message = str(error)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if message.startswith('Caught ') and WORKER_FRAME.search(message):
        *_, last = WORKER_FRAME.finditer(message)
        files = [last[1]]
        # The lines of code under the frame are indented, the error's own are not; the first names its type.
        message = re.sub(r'\A(?: .*\n)*\w+: ', '', message[last.end() :].lstrip('\n')).strip()
    return message if files and PACKAGE_ROOT in Path(files[-1]).resolve().parents else None


def _is_of_building(error):
    """Whether a library refused what a config gives it, while mmengine built the part: names, numbers and types."""
    if not isinstance(error, BUILDING_ERRORS):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame.filename.replace(os.sep, '/') for frame in frames]
    builders = [
        index
        for index, (name, frame) in enumerate(zip(files, frames))
        if name.endswith(BUILDER_FILES) and frame.name.startswith('build')
    ]
    # Nothing of this package behind it: what that raises it words itself, or does not know of.
    return bool(builders) and all(any(part in name for part in LIBRARIES) for name in files[builders[-1] :])


def _unknown_argument(error):
    """Return a message for a name in a config that the class does not take, None for any other TypeError."""
    found = UNKNOWN_ARGUMENT.match(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    while frames and frames[-1].name == '__init__' and PACKAGE_ROOT in Path(frames[-1].filename).resolve().parents:
        frames.pop()  # a class of this package that hands what it does not know on to its parent
    frames = [frame.filename.replace(os.sep, '/') for frame in frames]
    if not found or not (any(name.endswith(BUILDER_FILES) for name in frames[-2:]) or _is_of_building(error)):
        return None
    return f'{found[1] or "what the config names"} takes no {found[2]!r}; look for it in the config and --cfg-options'


def _who():
    rank = os.environ.get('RANK')
    return f'[process {rank}] ' if rank is not None and os.environ.get('WORLD_SIZE', '1') != '1' else ''
