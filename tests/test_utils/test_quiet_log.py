import pytest
from mmengine.logging import MMLogger

from mmpretrain_mps.utils.quiet_log import quiet_log


def test_the_log_is_as_loud_afterwards_as_before_whatever_happened(told):
    logger = MMLogger.get_current_instance()
    with pytest.raises(ZeroDivisionError), quiet_log():
        logger.info('not shown')
        logger.warning('shown')
        with quiet_log('ERROR'):
            logger.warning('not shown either')
        logger.warning('shown again')
        raise ZeroDivisionError
    logger.info('loud')
    assert told == ['WARNING - shown', 'WARNING - shown again', 'INFO - loud']
