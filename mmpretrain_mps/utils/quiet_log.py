"""Less of what is logged, for a while."""

import contextlib
from collections.abc import Iterator

from mmengine.logging import MMLogger


@contextlib.contextmanager
def quiet_log(level: str = 'WARNING') -> Iterator[None]:
    """Show nothing below a level of what mmengine's current logger is told, then what it showed before.

    Args:
        level (str): As the logging module names it.
    """
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
