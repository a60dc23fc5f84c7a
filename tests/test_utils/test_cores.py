import os

import pytest
from tiny_digits import CONFIG_FOLDER, train, write_config

from mmpretrain_mps.utils.config_files import read_config_file
from mmpretrain_mps.utils.cores import RUNS_VARIABLE, available_cores, loading_processes, processes_here

VARIABLES = (
    RUNS_VARIABLE,
    'LOCAL_WORLD_SIZE',
    'OMPI_COMM_WORLD_LOCAL_SIZE',
    'SLURM_STEP_TASKS_PER_NODE',
    'SLURM_CPUS_ON_NODE',
)


@pytest.fixture
def machine(monkeypatch):
    """Have the machine give so many cores, and the environment say nothing else."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def of(cores, **environment):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(cores)), raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return of


@pytest.mark.parametrize(
    'cores, environment, expected',
    [
        (1, {}, 1),
        (12, {}, 12),
        (96, {}, 16),
        (16, dict(LOCAL_WORLD_SIZE='8'), 2),
        (4, dict(LOCAL_WORLD_SIZE='8'), 1),
        (64, dict(OMPI_COMM_WORLD_LOCAL_SIZE='8'), 8),
        (12, {RUNS_VARIABLE: '4'}, 3),
        (32, {RUNS_VARIABLE: '2', 'LOCAL_WORLD_SIZE': '4'}, 4),
        (32, dict(SLURM_STEP_TASKS_PER_NODE='4(x2)', SLURM_CPUS_ON_NODE='32'), 8),
        (8, dict(SLURM_STEP_TASKS_PER_NODE='4(x2)', SLURM_CPUS_ON_NODE='32'), 8),
        (32, dict(SLURM_CPUS_ON_NODE='8'), 8),
        (8, dict(LOCAL_WORLD_SIZE='none'), 8),
    ],
)
def test_a_process_loads_with_its_share_of_the_cores(machine, cores, environment, expected):
    machine(cores, **environment)
    assert loading_processes() == expected


def test_a_job_of_slurm_uses_the_cores_that_it_was_given(machine):
    machine(4, SLURM_CPUS_ON_NODE='1')
    assert available_cores() == 1 and processes_here() == 1
    machine(4, SLURM_CPUS_ON_NODE='100000')
    assert available_cores() == 4


def test_a_system_without_affinity(machine, monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert loading_processes() == 1


def test_base_configs_say_so_and_small_pictures_need_none(machine):
    machine(6)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    cfg = read_config_file(CONFIG_FOLDER / 'mps_vitb16_16shot_eurosat.py')
    assert [cfg[name].num_workers for name in loaders] == [6, 6, 6]
    cfg = read_config_file(CONFIG_FOLDER / 'mps_mini_16shot_custom.py')
    assert (cfg.train_dataloader.num_workers, cfg.test_dataloader.num_workers) == (0, 0)


def test_the_log_says_how_many_load(machine, tmp_path):
    machine(6, LOCAL_WORLD_SIZE='2')
    config = write_config(tmp_path, epochs=1, more="val_cfg = val_dataloader = val_evaluator = None\nlog_level = 'INFO'")
    train(0, 1, config, str(tmp_path / 'run'), ('num_shots=1',))
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('processes that load: train_dataloader 0 (6 cores, shared by 2 processes)') == 1
