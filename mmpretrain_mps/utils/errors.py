"""Errors that a user can mend end as one message; everything else keeps its traceback."""
import contextlib
import os
import sys
import traceback
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
TRACEBACK_VARIABLE = 'MMPRETRAIN_MPS_TRACEBACK'
USER_ERRORS = (ValueError, FileNotFoundError, NotADirectoryError, ImportError)


@contextlib.contextmanager
def user_errors(show_traceback=False):
    """End the program with exit status 2 and the message alone when this package refuses what it was given.

    Args:
        show_traceback (bool): Let every exception through. The environment variable ``MMPRETRAIN_MPS_TRACEBACK=1``
            does the same.
    """
    try:
        yield
    except Exception as error:
        if show_traceback or os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0') or not is_user_error(error):
            raise
        gap = '\n' if '\n' in str(error) else ' '
        print(f'{_who()}error:{gap}{error}\n(--traceback shows where it was raised)', file=sys.stderr, flush=True)
        sys.exit(2)


def is_user_error(error):
    """Whether this package itself raised the error, with a type it uses for input that it refuses.

    Args:
        error (BaseException): Caught, with its traceback.

    Returns:
        bool: False for errors that come from deeper inside a library: these are not understood, hence not hidden.
    """
    frames = traceback.extract_tb(error.__traceback__)
    raised_here = bool(frames) and PACKAGE_ROOT in Path(frames[-1].filename).resolve().parents
    return raised_here and isinstance(error, USER_ERRORS)


def _who():
    rank = os.environ.get('RANK')
    return f'[process {rank}] ' if rank is not None and os.environ.get('WORLD_SIZE', '1') != '1' else ''
