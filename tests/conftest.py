"""Shared by all tests; being here also lets them import the helper modules of this folder."""

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests of the files that take long."""
    folder = Path(__file__).parent
    files = {folder / line for line in (folder / 'long_files.txt').read_text().splitlines()}
    for item in items:
        if item.path in files:
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Seed what draws, before any fixture of the test does: what it sees does not depend on the tests before it."""
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)


@pytest.fixture(autouse=True)
def log_as_it_was():
    """Undo what a tool that is called within the tests does to the log: messages off, the level of the current logger."""
    loggers = dict(MMLogger._instance_dict)
    levels = {name: logger.level for name, logger in loggers.items()}
    yield
    logging.disable(logging.NOTSET)
    for name, logger in loggers.items():
        logger.setLevel(levels[name])
    # A logger that a test made is not the current one of the next test, whose output would go to the file of the first.
    MMLogger._instance_dict.clear()
    MMLogger._instance_dict.update(loggers)


@pytest.fixture
def told():
    """What is logged while a test runs, as ``LEVEL - message``; the log's own stream may be that of an earlier test."""
    messages, handler, logger = [], logging.Handler(), MMLogger.get_current_instance()
    handler.emit = lambda record: messages.append(f'{record.levelname} - {record.getMessage()}')
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel('INFO')  # which runners of other tests, that are kept for all of a file, may have raised
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope='session')
def digits_work_dir(tmp_path_factory):
    """The work directory of a tiny training on the digits that has been tested; not to be changed."""
    from reported import make_work_dir  # imports much

    return make_work_dir(tmp_path_factory.mktemp('reported'))
