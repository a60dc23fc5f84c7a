import logging
import os
import sys

import pytest
import torch
from safetensors import SafetensorError
from tiny_run import run

from mmpretrain_mps.models.caches import tensor_cache
from mmpretrain_mps.models.caches.tensor_cache import ABANDONED_AFTER, load_tensors, save_tensors, trim

TENSORS = dict(values=torch.arange(6.0).view(2, 3))
# Files of this process cannot grow beyond 4096 bytes, as on a disk that is full.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from mmpretrain_mps.models.caches.tensor_cache import save_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
save_tensors(Path(sys.argv[1]), 'key', dict(values=torch.zeros(100_000)), 'numbers')
print('goes on')
"""


def test_what_was_written_is_read(tmp_path):
    save_tensors(tmp_path / 'new', 'key', TENSORS, 'numbers')
    assert torch.equal(load_tensors(tmp_path / 'new', 'key', 'numbers')['values'], TENSORS['values'])
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['key.safetensors']
    assert load_tensors(tmp_path / 'new', 'other', 'numbers') is None


def test_a_full_disk_costs_nothing_but_time_and_leaves_nothing_behind(tmp_path):
    pytest.importorskip('resource')
    done = run(sys.executable, '-c', FULL_DISK, tmp_path)
    assert done.returncode == 0 and 'goes on' in done.stdout, done.stderr
    assert 'numbers are not cached in' in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'error, caught',
    [(SafetensorError('no space'), True), (OSError('no space'), True), (KeyboardInterrupt(), False)],
    ids=['safetensors', 'system', 'interrupt'],
)
def test_nothing_half_written_stays_whatever_goes_wrong(tmp_path, monkeypatch, caplog, error, caught):
    def save(tensors, path, metadata):
        with open(path, 'wb') as file:
            file.write(b'half')
        raise error

    monkeypatch.setattr(tensor_cache, 'save_file', save)
    if caught:
        with caplog.at_level(logging.WARNING):
            save_tensors(tmp_path, 'key', TENSORS, 'numbers')
    else:
        with pytest.raises(KeyboardInterrupt):
            save_tensors(tmp_path, 'key', TENSORS, 'numbers')
    assert not list(tmp_path.iterdir())


def test_trimming_removes_what_killed_processes_left_but_not_what_is_being_written(tmp_path):
    for name, age in (('old.part', 2 * ABANDONED_AFTER), ('new.part', 0)):
        (tmp_path / name).write_bytes(b'half')
        modified = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (modified, modified))
    save_tensors(tmp_path, 'key', TENSORS, 'numbers')
    trim(tmp_path, 1e6)
    assert {path.name for path in tmp_path.iterdir()} == {'new.part', 'key.safetensors'}
    trim(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ['new.part']
    trim(tmp_path / 'missing', 0)
