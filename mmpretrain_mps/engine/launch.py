"""Start of runs, alone or as one of several processes, with or without GPUs."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from .heartbeat import Heartbeat, connect, meet

if TYPE_CHECKING:
    from mmengine.config import Config

DEFAULT_TIMEOUT = 1800
_PR_SET_PDEATHSIG = 1
_heartbeats: list[Heartbeat] = []
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def set_up_processes(cfg: Config) -> None:
    """Join the process group that the launcher asks for and fit the config to it; nothing to do for 'none'.

    mmengine's own start calls ``torch.cuda.set_device`` and hands DDP a device id, both of which fail without a GPU. It
    leaves a process group alone that exists already, therefore this comes before the runner is built. GPUs talk through
    nccl; CPUs, or more processes than GPUs that are hidden on purpose (``CUDA_VISIBLE_DEVICES=``), through gloo.

    Args:
        cfg (Config): ``cfg.launcher`` is read; ``cfg.model_wrapper_cfg`` gets what DDP needs.

    Raises:
        ValueError: If the launcher's environment is incomplete or there are fewer GPUs than processes on this machine,
            or some of the processes do not come.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher not in LAUNCHERS:
        raise ValueError(f'launcher is {launcher!r}, expected one of {LAUNCHERS}')
    if launcher == 'none' or dist.is_initialized():
        return
    os.environ.update({'slurm': slurm_environment, 'mpi': mpi_environment}.get(launcher, dict)(os.environ))
    _check_environment(launcher)
    on_gpu = torch.cuda.is_available()
    device = _select_gpu(int(os.environ['LOCAL_RANK'])) if on_gpu else None
    fit_wrapper(cfg, on_gpu)
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', DEFAULT_TIMEOUT)
    rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    store = meet(rank, size)
    # With the device NCCL connects now, not in the first step, and need not guess it.
    dist.init_process_group(
        'nccl' if on_gpu else 'gloo',
        store=dist.PrefixStore('mmpretrain_mps', store),
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=timeout),
        device_id=device,
    )
    if size > 1:
        _heartbeats.append(Heartbeat(dist.PrefixStore('heartbeat', connect()), rank, size))
        _heartbeats[-1].start()


def end_with_launcher(launcher: str) -> None:
    """Have the system send SIGTERM when the launcher dies, which would otherwise leave its processes training on.

    Args:
        launcher (str): One of :data:`LAUNCHERS`; the others see to that themselves.
    """
    if launcher != 'pytorch':
        return
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_first_process(launcher: str) -> bool:
    """Whether this is the process that writes, before the process group is there.

    Args:
        launcher (str): One of :data:`LAUNCHERS`.

    Returns:
        bool: True for 'none'.
    """
    variable = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}.get(launcher)
    return variable is None or os.environ.get(variable, '0') == '0'


def leave_processes() -> None:
    """Leave the process group, if there is one, after work that went well.

    Gloo's threads must have ended before the interpreter does: otherwise C++ ends the process with SIGABRT now and then,
    after everything has been written. All processes wait for each other first, lest one still needs another.
    """
    if dist.is_initialized():
        while _heartbeats:
            _heartbeats.pop().stop()
        dist.barrier()
        dist.destroy_process_group()


def fit_wrapper(cfg: Config, on_gpu: bool = False) -> None:
    """Say how mmengine wraps the model: gradients lie where they are sent from, without a copy in every step.

    Args:
        cfg (Config): ``model_wrapper_cfg`` is added or completed; other settings in it are kept. A wrapper
            that shards finds its device by itself.
        on_gpu (bool): On CPUs there must be no device id, which DDP refuses there.
    """
    if (cfg.get('model_wrapper_cfg') or {}).get('type') == 'ShardedDataParallel':
        return
    wrapper = dict(
        cfg.get('model_wrapper_cfg')
        or dict(type='MMDistributedDataParallel', broadcast_buffers=False, gradient_as_bucket_view=True)
    )
    wrapper.setdefault('find_unused_parameters', cfg.get('find_unused_parameters', False))
    if not on_gpu:
        wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper


def slurm_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Translate Slurm's variables of one task per process into those of torch.

    Args:
        environment (Mapping): With ``SLURM_PROCID``, ``SLURM_NTASKS``, ``SLURM_LOCALID``, ``SLURM_JOB_NODELIST``.

    Returns:
        dict: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR``, ``MASTER_PORT``; the last two stay as they are
        when set already.

    Raises:
        ValueError: If Slurm's variables are missing, or the first machine is not to be found in its list.
    """
    _require(environment, ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'), 'slurm', 'srun, one task per process')
    return dict(
        RANK=environment['SLURM_PROCID'],
        WORLD_SIZE=environment['SLURM_NTASKS'],
        LOCAL_RANK=environment['SLURM_LOCALID'],
        MASTER_ADDR=environment.get('MASTER_ADDR') or _first_slurm_host(environment),
        MASTER_PORT=environment.get('MASTER_PORT') or str(port_of_job(environment.get('SLURM_JOB_ID', '0'))),
    )


def _first_slurm_host(environment):
    nodes = environment.get('SLURM_JOB_NODELIST') or environment.get('SLURM_NODELIST', '')
    if not nodes or environment.get('SLURM_JOB_NUM_NODES', environment.get('SLURM_NNODES')) == '1':
        return '127.0.0.1'
    if '[' not in nodes:  # `a,b` needs no expansion, `gpu[01-04]` does
        return nodes.split(',')[0]
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        reason = 'it printed nothing' if isinstance(error, IndexError) else getattr(error, 'stderr', '') or error
        raise ValueError(
            f'--launcher slurm finds no address of the first machine in the list {nodes!r}: `'
            f'{" ".join(command)}` failed ({str(reason).strip()}); set MASTER_ADDR to it'
        ) from None


def port_of_job(job_id: str) -> int:
    """Return a port that all tasks of a Slurm job agree on and that two jobs on one node do not share as a rule.

    Args:
        job_id (str): ``SLURM_JOB_ID``; digits count.

    Returns:
        int: Between 20000 and 39999.
    """
    return 20000 + int(re.sub(r'\D', '', job_id) or 0) % 20000


def mpi_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Translate Open MPI's variables into those of torch.

    Args:
        environment (Mapping): With ``OMPI_COMM_WORLD_RANK``, ``_SIZE`` and ``_LOCAL_RANK``.

    Returns:
        dict: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, and ``MASTER_ADDR`` and ``MASTER_PORT`` if these are not set.

    Raises:
        ValueError: If Open MPI's variables are missing.
    """
    names = dict(RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK')
    _require(environment, names.values(), 'mpi', 'mpirun')
    translated = {name: environment[source] for name, source in names.items()}
    return dict(
        translated, MASTER_ADDR=environment.get('MASTER_ADDR', '127.0.0.1'), MASTER_PORT=environment.get('MASTER_PORT', '29500')
    )


def _check_environment(launcher):
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    _require(os.environ, names, launcher, 'torchrun, as tools/dist_train.sh does')
    rank, size = os.environ['RANK'], os.environ['WORLD_SIZE']
    if not (rank.isdigit() and size.isdigit() and int(rank) < int(size)):
        raise ValueError(
            f'--launcher {launcher} finds RANK={rank} and WORLD_SIZE={size} in the environment; expected whole '
            'numbers, ranks from 0 to one less than the size'
        )


def _require(environment, names, launcher, remedy):
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise ValueError(f'--launcher {launcher} needs {", ".join(missing)} in the environment; start it through {remedy}')


def _select_gpu(local_rank):
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ValueError(
            f'process {local_rank} of this machine has no GPU: {count} are visible, counted from 0. Start '
            f'at most {count} processes, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to run on CPUs'
        )
    torch.cuda.set_device(local_rank)
    return torch.device('cuda', local_rank)
