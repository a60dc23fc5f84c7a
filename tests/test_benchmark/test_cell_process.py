"""A cell as the whole of what a process does."""

import multiprocessing
import os
import time

import pytest
from made_up_results import put_result
from tiny_digits import write_config

from mmpretrain_mps.benchmark.cell_process import looked_after, run_logged
from mmpretrain_mps.benchmark.cell_run import LOG_FILE, clear
from mmpretrain_mps.benchmark.grid import make_cells
from mmpretrain_mps.utils.locking import leased


@pytest.fixture
def cell(tmp_path):
    return make_cells([write_config(tmp_path)], [1], [1])[0]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='makes processes by fork')
def test_who_comes_second_waits_and_takes_the_result_of_the_first(tmp_path, cell):
    group = (tmp_path / cell.folder).parent
    group.mkdir()
    second = multiprocessing.get_context('fork').Process(target=run_logged, args=(tmp_path, cell, 1))
    with leased(group / f'{cell.folder.name}.lease'):
        second.start()
        time.sleep(1)
        assert second.is_alive() and (tmp_path / cell.folder / LOG_FILE).is_file()
        put_result(tmp_path, cell)
    second.join(20)
    assert second.exitcode == 0 and (tmp_path / cell.folder / LOG_FILE).read_text() == ''


def test_what_is_cleared_is_all_but_the_log_that_is_being_written(tmp_path, cell):
    folder = tmp_path / cell.folder
    (folder / 'vis').mkdir(parents=True)
    for name in (LOG_FILE, 'epoch_1.pth', '.training.lock', 'vis/scalars.json'):
        (folder / name).write_text('')
    clear(tmp_path, cell)
    assert [path.name for path in folder.iterdir()] == [LOG_FILE]


def test_shards_are_looked_after_beside_each_other_and_none_twice(tmp_path):
    with looked_after(tmp_path, '1-of-2'), looked_after(tmp_path, '2-of-2'), looked_after(tmp_path):
        with pytest.raises(ValueError, match='the shard 2-of-2 of a grid runs in .*; wait for it or name another --work-dir'):
            with looked_after(tmp_path, '2-of-2'):
                pass
