"""Shared by all tests; being here also lets them import the helper modules of this folder."""
import os

import pytest

# Several processes on few cores, and sums that do not depend on how many threads there are.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Tests leave nothing in the user's cache; those of the cache name a folder of their own.
os.environ['MMPRETRAIN_MPS_CACHE'] = 'off'


@pytest.fixture(scope='session')
def digits_work_dir(tmp_path_factory):
    """The work directory of a tiny training on the digits that has been tested; not to be changed."""
    from reported import make_work_dir  # imports much
    return make_work_dir(tmp_path_factory.mktemp('reported'))
