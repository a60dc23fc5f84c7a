"""The tool that reads changed files: what it counts, and that it would notice what it looks for."""

import importlib.util
import random
import time

import pytest
from tiny_run import ROOT

spec = importlib.util.spec_from_file_location('fuzz', ROOT / 'tools' / 'fuzz.py')
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)
NAMES = (
    'split',
    'table',
    'classes',
    'index',
    'checkpoint',
    'cache',
    'grid yaml',
    'grid json',
    'config yaml',
    'config json',
    'results',
    'study',
    'result of a cell',
    'scalars',
    'config of a run',
)


@pytest.fixture(scope='module')
def readers(tmp_path_factory):
    return fuzz.make_readers(tmp_path_factory.mktemp('fuzz'))


@pytest.mark.parametrize('name', NAMES)
def test_changed_files_are_accepted_or_refused_by_a_message(readers, name):
    assert set(readers) == set(NAMES)
    path, read = readers[name]
    sound = path.read_bytes()
    row = fuzz.fuzz(path, read, 40, 'test')
    assert row['other'] == [] and row['accepted'] + row['refused'] == row['inputs'] == 40
    assert row['slowest_seconds'] < 10 and path.read_bytes() == sound


def test_crashes_hangs_and_memory_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, 'LIMIT_SECONDS', 1)
    (tmp_path / 'x').write_bytes(b'sound')

    def crash(path):
        return {b'sound': 1}[(tmp_path / 'x').read_bytes()]

    def hang(path):
        if (tmp_path / 'x').read_bytes() != b'sound':
            time.sleep(5)

    def fill(path):
        if (tmp_path / 'x').read_bytes() != b'sound':
            raise MemoryError

    for read, error in ((crash, 'KeyError'), (hang, 'RuntimeError: not read after 1 seconds'), (fill, 'MemoryError')):
        row = fuzz.fuzz(tmp_path / 'x', read, 3, 'seed')
        assert row['other'] and all(found['error'].startswith(error) for found in row['other'])
        assert bytes.fromhex(row['other'][0]['input']) != b'sound'


def test_changes_depend_on_the_seed_alone():
    sound = bytes(range(100))
    first, again = ([fuzz.change(sound, random.Random(seed)) for seed in range(200)] for _ in range(2))
    assert first == again and sum(changed != sound for changed in first) > 150
    assert fuzz.change(b'', random.Random(0)) is not None
