"""Processes are set up from what each launcher leaves in the environment."""

import pytest
import torch.distributed as dist
from mmengine.config import Config

from mmpretrain_mps.engine import launch

SLURM = dict(SLURM_PROCID='3', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_JOB_ID='123456', SLURM_JOB_NUM_NODES='2')


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)


def test_slurm_variables_become_those_of_torch():
    found = launch.slurm_environment({**SLURM, 'SLURM_JOB_NODELIST': 'gpu01,gpu02'})
    assert found == dict(RANK='3', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='gpu01', MASTER_PORT='23456')


def test_a_slurm_job_on_one_node_talks_to_itself_and_settings_win():
    one = {**SLURM, 'SLURM_JOB_NUM_NODES': '1', 'SLURM_JOB_NODELIST': 'gpu[07]'}
    assert launch.slurm_environment(one)['MASTER_ADDR'] == '127.0.0.1'
    found = launch.slurm_environment({**one, 'MASTER_ADDR': 'head', 'MASTER_PORT': '1'})
    assert (found['MASTER_ADDR'], found['MASTER_PORT']) == ('head', '1')


def test_a_compressed_list_of_slurm_nodes_is_expanded_by_scontrol(tmp_path, monkeypatch):
    tool = tmp_path / 'scontrol'
    tool.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[01-02]" ] && printf "gpu01\\ngpu02\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    assert launch.slurm_environment({**SLURM, 'SLURM_JOB_NODELIST': 'gpu[01-02]'})['MASTER_ADDR'] == 'gpu01'


@pytest.mark.parametrize(
    'script, reason',
    [
        (None, 'No such file or directory'),
        ('echo "Invalid hostlist" >&2; exit 1', 'Invalid hostlist'),
        ('exit 0', 'printed nothing'),
    ],
)
def test_without_scontrol_one_message_says_what_to_set(tmp_path, monkeypatch, script, reason):
    if script:
        tool = tmp_path / 'scontrol'
        tool.write_text(f'#!/bin/sh\n{script}\n')
        tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ValueError, match=rf"the list 'gpu\[01-02\]': .scontrol .*{reason}.*; set MASTER_ADDR"):
        launch.slurm_environment({**SLURM, 'SLURM_JOB_NODELIST': 'gpu[01-02]'})


def test_mpi_variables_become_those_of_torch():
    found = launch.mpi_environment(
        dict(OMPI_COMM_WORLD_RANK='1', OMPI_COMM_WORLD_SIZE='2', OMPI_COMM_WORLD_LOCAL_RANK='1', MASTER_ADDR='head')
    )
    assert found == dict(RANK='1', WORLD_SIZE='2', LOCAL_RANK='1', MASTER_ADDR='head', MASTER_PORT='29500')


@pytest.mark.parametrize(
    'launcher, needs',
    [
        ('pytorch', 'RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT in the environment; start it through torchrun'),
        ('slurm', 'SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID in the environment; start it through srun'),
        ('mpi', 'OMPI_COMM_WORLD_RANK, .* in the environment; start it through mpirun'),
    ],
)
def test_a_launcher_without_its_environment_says_how_to_start(launcher, needs):
    with pytest.raises(ValueError, match=f'--launcher {launcher} needs {needs}'):
        launch.set_up_processes(Config(dict(launcher=launcher)))


def test_an_unknown_launcher_is_refused_and_none_needs_nothing():
    with pytest.raises(ValueError, match="launcher is 'torch', expected one of"):
        launch.set_up_processes(Config(dict(launcher='torch')))
    launch.set_up_processes(Config(dict(launcher='none')))
    assert not dist.is_initialized()


def test_on_the_cpu_ddp_gets_no_device_and_keeps_what_the_config_says():
    cfg = Config(dict(find_unused_parameters=True))
    launch.fit_wrapper(cfg)
    default = dict(type='MMDistributedDataParallel', broadcast_buffers=False, gradient_as_bucket_view=True)
    assert cfg.model_wrapper_cfg == dict(**default, find_unused_parameters=True, device_ids=None)
    # On a GPU mmengine adds the device.
    cfg = Config(dict())
    launch.fit_wrapper(cfg, on_gpu=True)
    assert cfg.model_wrapper_cfg == dict(**default, find_unused_parameters=False)
    cfg = Config(dict(model_wrapper_cfg=dict(type='Other', static_graph=True)))
    launch.fit_wrapper(cfg)
    assert cfg.model_wrapper_cfg == dict(type='Other', static_graph=True, find_unused_parameters=False, device_ids=None)


def test_more_processes_than_gpus_is_an_error_that_counts_both(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    with pytest.raises(ValueError, match='process 2 of this machine has no GPU: 2 are visible'):
        launch._select_gpu(2)
