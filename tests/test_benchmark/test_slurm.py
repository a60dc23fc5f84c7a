"""Jobs of Slurm: what it is asked for, and what becomes of its answers; a real one is in test_tools/test_slurm_grids.py."""

import os
import stat

import cloudpickle
import pytest
from made_up_results import put_result
from tiny_digits import write_config

from mmpretrain_mps.benchmark import slurm
from mmpretrain_mps.benchmark.cell_run import RESULT_FILE
from mmpretrain_mps.benchmark.grid import make_cells
from mmpretrain_mps.benchmark.slurm import CellJob, run_on_slurm

OPTIONS = {'time': '1:00:00', 'partition': 'gpu', 'gpus': '1', 'cpus-per-task': '4', 'exclusive': 'true'}


@pytest.fixture
def cells(tmp_path):
    return make_cells([write_config(tmp_path)], [1], [1, 2, 3])


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder of PATH; return what puts a program of Slurm into it that does what some lines of shell say."""

    def put(name, text):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\ncd {tmp_path}\n{text}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC)

    put('sbatch', 'cp "$1" submitted.sh; echo Submitted batch job 7')
    put('srun', 'exit 1')
    put('squeue', 'exit 1')
    put('scancel', 'echo "$@" >cancelled')
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setattr(slurm, 'POLL_SECONDS', 0.01)
    monkeypatch.setattr(slurm, 'LATE_SECONDS', 0)
    return put


def test_each_cell_that_is_not_done_is_a_job_and_its_end_is_waited_for(tmp_path, cells, programs):
    # The first is done before; of the others, one gives a result, while the other one is cancelled.
    for cell in cells[:2]:
        put_result(tmp_path / 'runs', cell)
    result = tmp_path / 'runs' / cells[1].folder / RESULT_FILE
    result.rename(tmp_path / 'later.json')
    programs(
        'squeue',
        f"""
        if [ ! -e once ]; then touch once; printf "7_0 RUNNING\\n7_1 PENDING\\n8 RUNNING\\n"
        elif [ ! -e twice ]; then touch twice; exit 1
        else mv later.json {result} 2>/dev/null; printf "7_0 COMPLETED\\n7_1 CANCELLED\\n"; fi""",
    )
    told = []
    (failure,) = run_on_slurm(tmp_path / 'runs', cells, OPTIONS, jobs=5, report=told.append)
    assert failure.cell == cells[2] and failure.reason.startswith('job 7_1 CANCELLED; its output is ')
    assert told[0] == '3 cells, 1 done before, 2 to run, 5 at a time'
    assert told[1].startswith(f'[2/3] {cells[1].name}: 52.00 %, 3 s') and 'FAILED (job 7_1 CANCELLED' in told[2]


def test_slurm_is_asked_for_what_the_options_say(tmp_path, cells, programs):
    programs('squeue', 'true')
    run_on_slurm(tmp_path / 'runs', cells, OPTIONS, jobs=2)
    lines = (tmp_path / 'submitted.sh').read_text().splitlines()
    assert {
        '#SBATCH --time=1:00:00',
        '#SBATCH --partition=gpu',
        '#SBATCH --gpus=1',
        '#SBATCH --exclusive',
        '#SBATCH --nodes=1',
        '#SBATCH --cpus-per-task=4',
        '#SBATCH --array=0-2%2',
        '#SBATCH --signal=USR1@90',
    } <= set(lines)
    assert not any('wckey' in line for line in lines)
    assert any(line.startswith('srun ') and ' --cpus-per-task=4 ' in line for line in lines)


def test_what_sbatch_refuses_is_told_in_one_message(tmp_path, cells, programs):
    programs('sbatch', 'echo "sbatch: error: invalid partition specified: gpu" >&2; exit 1')
    with pytest.raises(ValueError, match='sbatch refuses the jobs: .*invalid partition specified: gpu.*; change --slurm'):
        run_on_slurm(tmp_path / 'runs', cells, OPTIONS)


def test_an_interruption_cancels_the_jobs(tmp_path, cells, programs, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm.time, 'sleep', interrupt)
    with pytest.raises(slurm.GridInterrupted, match='3 jobs were cancelled; the same command goes on'):
        run_on_slurm(tmp_path / 'runs', cells, OPTIONS)
    assert (tmp_path / 'cancelled').read_text() == '7_0 7_1 7_2\n'


def test_a_job_that_is_put_into_the_queue_again_goes_on_with_its_cell(cells):
    job = cloudpickle.loads(cloudpickle.dumps(CellJob('folder', cells[0], resume=False, keep_checkpoints=True)))
    again = job.checkpoint().function
    assert (again.folder, again.cell, again.resume, again.keep_checkpoints) == ('folder', cells[0], True, True)
