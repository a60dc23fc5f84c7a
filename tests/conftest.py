"""Shared by all tests; being here also lets them import the helper modules of this folder."""
import os

import pytest

# Several processes on few cores, and sums that do not depend on how many threads there are.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Tests leave nothing in the user's cache; those of the cache name a folder of their own.
os.environ['MMPRETRAIN_MPS_CACHE'] = 'off'


def pytest_addoption(parser):
    """Add --gpu."""
    parser.addoption('--gpu', action='store_true', help='let the tests see the GPUs of this machine: pytest --gpu tests/gpu')


def pytest_configure(config):
    """Hide the GPUs unless asked: models of whole runs would go there, while the tests' own tensors stay on the CPU."""
    if not config.getoption('--gpu'):
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


@pytest.fixture(scope='session')
def digits_work_dir(tmp_path_factory):
    """The work directory of a tiny training on the digits that has been tested; not to be changed."""
    from reported import make_work_dir  # imports much
    return make_work_dir(tmp_path_factory.mktemp('reported'))
