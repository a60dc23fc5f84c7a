"""The shell scripts: several processes on one machine, and what Slurm would be asked for."""

import os
import re
import shutil
import stat

import pytest
import torch
from tiny_run import ROOT, run, write_config

TOOLS = ROOT / 'tools'
pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shell')
    write_config(folder)
    return folder


def bash(script, *arguments, **environment):
    return run('bash', TOOLS / script, *arguments, **environment)


def test_two_processes_train_and_validate_one_model_without_a_gpu(folder):
    short = ('--cfg-options', 'train_cfg.max_epochs=2')
    process = bash('dist_train.sh', folder / 'tiny.py', 2, '--work-dir', folder / 'two', *short)
    assert process.returncode == 0, process.stderr[-3000:]
    # 20 pictures in batches of 2 x 4 are 3 iterations.
    assert 'Epoch(train) [2][3/3]' in process.stdout
    state = torch.load(folder / 'two' / 'epoch_2.pth', weights_only=True)['state_dict']
    assert not any(name.startswith('module.') for name in state)
    accuracy = re.search(r'Epoch\(val\) \[2\]\[3/3\].*accuracy/fused: ([\d.]+)', process.stdout)
    assert float(accuracy[1]) % 5 == 0, 'every one of the 20 pictures counts once, the padding does not'


def test_a_checkpoint_that_is_missing_is_an_error_of_every_process(folder):
    process = bash('dist_test.sh', folder / 'tiny.py', 'nowhere.pth', 2, '--work-dir', folder / 'missing')
    assert process.returncode != 0
    assert '[process 1] error: checkpoint nowhere.pth does not exist' in process.stderr


def test_a_process_that_alone_fails_within_the_training_ends_the_others_and_shows_its_error(folder):
    work_dir, failing = folder / 'fails', 1
    process = bash(
        'dist_train.sh', folder / 'tiny.py', 2, '--work-dir', work_dir, '--cfg-options', f'model.fail_at={failing},1,1'
    )
    assert process.returncode != 0
    assert process.stderr.count(f'RuntimeError: process {failing} fails on purpose') >= 1
    assert f'process {1 - failing} fails on purpose' not in process.stderr
    # The other one was in the middle of the training as well; it is neither waited for nor left behind.
    assert (work_dir / 'epoch_1.pth').is_file() and not (work_dir / 'epoch_2.pth').exists()
    pids = dict(re.findall(r'process (\d) at the place to fail: (\d+)', process.stdout))
    assert str(1 - failing) in pids and not any(is_running(int(pid)) for pid in pids.values())


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', ['config.py']),
        ('dist_test.sh', ['config.py', 'x.pth']),
        ('slurm_train.sh', ['part', 'job', 'c.py']),
        ('slurm_test.sh', ['part', 'job', 'c.py']),
    ],
)
def test_too_few_arguments_print_the_usage(script, arguments):
    process = bash(script, *arguments)
    assert process.returncode == 2 and f'{script} ' in process.stderr and 'usage' in process.stderr


def test_what_is_no_number_of_processes_is_refused(folder):
    process = bash('dist_train.sh', folder / 'tiny.py', 'two')
    assert process.returncode == 2 and "the number of processes is 'two', expected a whole number" in process.stderr


def test_several_machines_need_to_know_the_first(folder):
    process = bash('dist_train.sh', folder / 'tiny.py', 1, NNODES='2', MASTER_ADDR='')
    assert process.returncode == 2 and 'NNODES=2 needs MASTER_ADDR' in process.stderr


@pytest.mark.parametrize('rank', ['', 'one', '2'])
def test_several_machines_need_to_know_which_of_them_they_are(folder, rank):
    process = bash('dist_train.sh', folder / 'tiny.py', 1, NNODES='2', MASTER_ADDR='head', NODE_RANK=rank)
    assert process.returncode == 2
    assert f"NNODES=2 needs NODE_RANK, another one on each machine, 0 to 1, but it is '{rank}'" in process.stderr


@pytest.fixture
def fake_slurm(tmp_path):
    """A PATH with an srun that notes its arguments and runs the task as node 1 of 2; python3 notes its own."""
    scripts = dict(
        srun='printf "%s\\n" "$@" >"$NOTES/srun"\n'
        'while [ "$1" != bash ]; do shift; done\n'
        'SLURM_NNODES=2 SLURM_NODEID=1 SLURM_JOB_ID=7 SLURM_JOB_NODELIST="n[1-2]" exec "$@"',
        scontrol='printf "n1\\nn2\\n"',
        python3='case "$*" in *torch.distributed.run*) printf "%s\\n" "$@" >"$NOTES/python";; *) echo 4;; esac',
    )
    for name, text in scripts.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return dict(PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', NOTES=str(tmp_path))


def test_slurm_starts_one_torchrun_per_node(fake_slurm, tmp_path):
    process = bash(
        'slurm_train.sh',
        'part',
        'job',
        'c.py',
        'work',
        '--amp',
        GPUS='8',
        GPUS_PER_NODE='4',
        SRUN_ARGS='--time=1:00 --exclusive',
        **fake_slurm,
    )
    assert process.returncode == 0, process.stderr
    asked = (tmp_path / 'srun').read_text().split('\n')
    assert {
        '--partition=part',
        '--job-name=job',
        '--nodes=2',
        '--ntasks-per-node=1',
        '--gres=gpu:4',
        '--cpus-per-task=20',
        '--kill-on-bad-exit=1',
        '--time=1:00',
        '--exclusive',
    } <= set(asked)
    ran = (tmp_path / 'python').read_text().split()
    assert {'--nnodes=2', '--node-rank=1', '--nproc-per-node=4', '--master-addr=n1', '--master-port=20007'} <= set(ran)
    assert ran[-7:] == [f'{TOOLS}/train.py', 'c.py', '--work-dir', 'work', '--amp', '--launcher', 'pytorch']


def test_slurm_tests_a_checkpoint_and_checks_the_sizes(fake_slurm, tmp_path):
    assert bash('slurm_test.sh', 'part', 'job', 'c.py', 'x.pth', GPUS='2', **fake_slurm).returncode == 0
    ran = (tmp_path / 'python').read_text().split()
    assert ran[-5:] == [f'{TOOLS}/test.py', 'c.py', 'x.pth', '--launcher', 'pytorch'] and '--nproc-per-node=2' in ran
    process = bash('slurm_test.sh', 'part', 'job', 'c.py', 'x.pth', GPUS='6', GPUS_PER_NODE='4', **fake_slurm)
    assert process.returncode == 2 and 'GPUS=6 is no multiple of GPUS_PER_NODE=4' in process.stderr


@pytest.mark.parametrize('value', ['PATH[$(mkdir mark)]', '$(mkdir mark)', 'two', '-1', '0', '1+1', ' 2'])
@pytest.mark.parametrize(
    'script, name',
    [
        ('dist_train.sh', 'NNODES'),
        ('dist_train.sh', 'PORT'),
        ('slurm_train.sh', 'GPUS'),
        ('slurm_test.sh', 'GPUS_PER_NODE'),
        ('slurm_train.sh', 'CPUS_PER_TASK'),
    ],
)
def test_a_variable_that_is_to_be_a_number_is_not_run(fake_slurm, tmp_path, monkeypatch, script, name, value):
    monkeypatch.chdir(tmp_path)
    arguments = ('c.py', '1') if script.startswith('dist') else ('part', 'job', 'c.py', 'x.pth')
    process = bash(script, *arguments, **{name: value}, **fake_slurm)
    assert process.returncode == 2 and f"error: {name}='{value}' is no whole number from 1 on" in process.stderr
    assert not (tmp_path / 'mark').exists() and not (tmp_path / 'python').exists()


def test_a_work_folder_is_a_name_and_nothing_else(fake_slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = 'sp ace $(mkdir mark) `mkdir mark` ;mkdir mark; \'q" *'
    assert bash('slurm_train.sh', 'part', 'job', 'c.py', folder, **fake_slurm).returncode == 0
    assert folder in (tmp_path / 'python').read_text() and not (tmp_path / 'mark').exists()
