"""A Slurm of one node, this machine, from the system's packages: munged, slurmctld and slurmd of its own.

with one_node_slurm(folder) as variables:          SLURM_CONF for sbatch, squeue, scancel
"""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'squeue', 'scancel', 'sinfo')
INSTALL = 'apt-get install --no-install-recommends slurm-wlm munge'
START_SECONDS = 60
# Neither cgroups nor accounting: a container need not have the one, and clusters without the other exist, too.
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing_programs():
    """Return the programs that are not there."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


@contextlib.contextmanager
def one_node_slurm(folder, cpus=2):
    """Run a Slurm as long as the context lasts.

    Args:
        folder (Path): Of its files; nobody else may be able to write into it or into what is above it.
        cpus (int): That it deals out, whether the machine has them or not.

    Yields:
        dict[str, str]: Variables by which its programs find it.
    """
    folder = Path(folder)
    for name in ('state', 'spool'):
        (folder / name).mkdir(parents=True)
    (folder / 'munge.key').write_bytes(os.urandom(1024))
    (folder / 'munge.key').chmod(0o400)
    host = socket.gethostname().split('.')[0]
    (folder / 'slurm.conf').write_text(
        CONF.format(
            host=host, user=getpass.getuser(), folder=folder, controller_port=_free_port(), node_port=_free_port(), cpus=cpus
        )
    )
    variables = dict(SLURM_CONF=str(folder / 'slurm.conf'))
    environment = {**os.environ, **variables, 'PATH': _path()}
    daemons = [
        [
            'munged',
            '--foreground',
            '--force',
            f'--socket={folder}/munge.socket',
            f'--key-file={folder}/munge.key',
            f'--pid-file={folder}/munged.pid',
            f'--log-file={folder}/munged.log',
            f'--seed-file={folder}/munge.seed',
        ],
        ['slurmctld', '-D', '-c'],
        ['slurmd', '-D', '-N', host],
    ]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(folder / 'daemons.log', 'wb'))
        for command in daemons:
            stack.callback(_end, subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            if command[0] == 'munged':
                _wait(lambda: (folder / 'munge.socket').exists(), folder)
        _wait(
            lambda: (
                b'idle' in subprocess.run(['sinfo', '--noheader', '--format=%t'], env=environment, capture_output=True).stdout
            ),
            folder,
        )
        yield variables


def _wait(condition, folder):
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            logs = [f'{path.name}:\n{path.read_text(errors="replace")[-2000:]}' for path in sorted(folder.glob('*.log'))]
            raise RuntimeError('Slurm does not start; ' + '\n'.join(logs))
        time.sleep(0.2)


def _end(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def _path():
    return os.pathsep.join([os.environ.get('PATH', os.defpath), '/usr/sbin', '/sbin'])
