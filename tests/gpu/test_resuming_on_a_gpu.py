"""A training that was killed and resumed on a GPU ends with the weights of one that was left alone, bit for bit."""

import os
import signal
import subprocess
import sys
import time

import torch
from tiny_digits import environment, write_config
from tiny_run import ROOT

EPOCHS = 8


def command(config, work_dir, *more):
    """Return the command of a deterministic training."""
    return [
        sys.executable,
        str(ROOT / 'tools' / 'train.py'),
        str(config),
        '--work-dir',
        str(work_dir),
        '--no-validate',
        *more,
        '--cfg-options',
        'randomness.deterministic=True',
        'default_hooks.checkpoint.interval=1',
    ]


def on_the_gpu():
    """Return an environment in which the GPU is seen."""
    visible = {name: os.environ[name] for name in ('CUDA_VISIBLE_DEVICES',) if name in os.environ}
    found = environment(**visible)
    if not visible:
        del found['CUDA_VISIBLE_DEVICES']
    return found


def train(*arguments):
    """Train to the end."""
    done = subprocess.run(command(*arguments), env=on_the_gpu(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def train_until_killed(config, work_dir, after):
    """Train, and end the process as ``kill -9`` does once the checkpoint of an epoch is there."""
    process = subprocess.Popen(command(config, work_dir), env=on_the_gpu(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not (work_dir / f'epoch_{after}.pth').exists():
        assert process.poll() is None and time.monotonic() < end, 'the training ended before it could be killed'
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_and_resumed_it_is_the_training_that_was_left_alone(tmp_path):
    config = write_config(tmp_path, epochs=EPOCHS)
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(config, whole)
    train_until_killed(config, cut, after=2)
    assert not (cut / f'epoch_{EPOCHS}.pth').exists()
    assert 'resumed epoch' in train(config, cut, '--resume')
    ours, theirs = (torch.load(folder / f'epoch_{EPOCHS}.pth', map_location='cpu', weights_only=False) for folder in (whole, cut))
    assert set(ours['state_dict']) == set(theirs['state_dict'])
    for name, value in ours['state_dict'].items():
        assert torch.equal(value, theirs['state_dict'][name]), name
    # It was on the GPU, where memory is counted.
    assert any('memory:' in file.read_text() for file in whole.glob('*/*.log'))
