"""Grids as jobs: of submitit's own runner of processes, and of a Slurm of one node that these tests start."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import submitit
from one_node_slurm import INSTALL, missing_programs, one_node_slurm
from tiny_digits import ROOT, environment, write_config

from mmpretrain_mps.benchmark.grid import make_cells
from mmpretrain_mps.benchmark.slurm import SIGNAL, CellJob, run_on_slurm

TOOL = str(ROOT / 'tools' / 'fewshot_benchmark.py')
WAIT_SECONDS = 900  # on a machine that does much else
# A save formats the whole config anew, which takes longer than an epoch: one is enough to go on from.
ONE_SAVE = 'default_hooks = dict(checkpoint=dict(interval=15))'
pytestmark = pytest.mark.slow


def wait_for(condition, what):
    deadline = time.time() + WAIT_SECONDS
    while not condition():
        assert time.time() < deadline, what
        time.sleep(0.05)


def figures_of(folder):
    """Return the figures of all runs below a folder, and whether they went on from a checkpoint, by shots and seed."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob('*/*/result.json'))]
    return (
        {(result['shots'], result['seed']): result['metrics'] for result in results},
        {(result['shots'], result['seed']): result['resumed'] for result in results},
    )


def grid(config, work_dir, *flags):
    return [sys.executable, TOOL, str(config), '--shots', '1', '--work-dir', str(work_dir), *flags]


def test_a_job_that_has_to_make_room_goes_back_into_the_queue_and_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', environment()['PYTHONPATH'])
    (cell,) = make_cells([write_config(tmp_path, epochs=30, more=ONE_SAVE)], [1], [1])
    executor = submitit.LocalExecutor(tmp_path / 'jobs', max_num_timeout=3)
    executor.update_parameters(timeout_min=WAIT_SECONDS / 60)
    job = executor.submit(CellJob(str(tmp_path / 'runs'), cell))
    wait_for(lambda: list((tmp_path / 'runs').glob('*/*/last_checkpoint')), 'no checkpoint')
    (task,) = Path(f'/proc/{job.job_id}/task/{job.job_id}/children').read_text().split()
    os.kill(int(task), SIGNAL)
    wait_for(lambda: figures_of(tmp_path / 'runs')[0], f'no result: {job.stderr()}')
    assert figures_of(tmp_path / 'runs')[1] == {(1, 1): True}


@pytest.fixture(scope='module')
def cluster():
    """Variables that lead to a Slurm of two cores."""
    missing = missing_programs()
    if missing:
        pytest.skip(f'{", ".join(missing)} of Slurm are not there: {INSTALL}')
    folder = Path(tempfile.mkdtemp(prefix='slurm-'))  # short: the names of sockets may have 107 characters
    try:
        with one_node_slurm(folder) as variables:
            yield variables
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def slurm(*command, **variables):
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**variables), timeout=WAIT_SECONDS, check=True
    ).stdout


def test_a_job_that_is_cancelled_is_finished_by_a_second_call_with_equal_figures(tmp_path, cluster):
    config = write_config(tmp_path, epochs=30, more=ONE_SAVE)
    flags = ('--seeds', '1', '2', '--executor', 'slurm', '--slurm', 'time=50')
    process = subprocess.Popen(
        grid(config, tmp_path / 'out', *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**cluster),
    )
    wait_for(
        lambda: list((tmp_path / 'out').glob('*/1shots_seed2-*/last_checkpoint')) or process.poll() is not None, 'no checkpoint'
    )
    jobs = slurm('squeue', '--me', '--array', '--noheader', '--format=%i', **cluster).split()
    (second,) = (name for name in jobs if name.endswith('_1'))
    slurm('scancel', second, **cluster)
    told = process.communicate(timeout=WAIT_SECONDS)[0]
    assert process.returncode == 1, told
    assert f'FAILED: tiny_digits, 1 shots, seed 2 (job {second} ' in told and '[2/2]' in told
    assert list(figures_of(tmp_path / 'out')[0]) == [(1, 1)]

    again = subprocess.run(
        grid(config, tmp_path / 'out', *flags), capture_output=True, text=True, env=environment(**cluster), timeout=WAIT_SECONDS
    )
    assert again.returncode == 0 and '2 cells, 1 done before, 1 to run' in again.stdout, again.stdout + again.stderr
    figures, resumed = figures_of(tmp_path / 'out')
    assert resumed == {(1, 1): False, (1, 2): True}
    here = subprocess.run(
        grid(config, tmp_path / 'here', '--seeds', '1', '2', '--jobs', '1'),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=WAIT_SECONDS,
    )
    assert here.returncode == 0, here.stderr
    assert figures_of(tmp_path / 'here')[0] == figures
    assert not list((tmp_path / 'out').rglob('*.lease'))


def test_the_tasks_of_an_array_run_their_shards_and_the_last_one_writes_the_tables(tmp_path, cluster):
    config = write_config(tmp_path, epochs=1)
    script = tmp_path / 'array.sh'
    command = ' '.join(grid(config, tmp_path / 'out', '--seeds', '1', '2', '3', '--shard', '$SLURM_ARRAY_TASK_ID/2'))
    script.write_text(f'#!/bin/bash\n#SBATCH --array=1-2 --time=50 --output={tmp_path}/%a.out\n{command}\n')
    subprocess.run(['sbatch', '--wait', str(script)], env=environment(**cluster), timeout=WAIT_SECONDS, check=True)
    told = [(tmp_path / f'{task}.out').read_text() for task in (1, 2)]
    assert 'shard 1 of 2\n2 cells' in told[0] and 'shard 2 of 2\n1 cells' in told[1], told
    assert sorted(figures_of(tmp_path / 'out')[0]) == [(1, 1), (1, 2), (1, 3)]
    assert any('written: ' in text for text in told) and (tmp_path / 'out' / 'results.md').is_file()


def test_what_slurm_refuses_is_told(tmp_path, cluster, monkeypatch):
    monkeypatch.setenv('SLURM_CONF', cluster['SLURM_CONF'])
    cells = make_cells([write_config(tmp_path)], [1], [1])
    with pytest.raises(ValueError, match='sbatch refuses the jobs: .*[Ii]nvalid partition.*; change --slurm'):
        run_on_slurm(tmp_path / 'out', cells, {'time': '1', 'partition': 'nowhere'})
