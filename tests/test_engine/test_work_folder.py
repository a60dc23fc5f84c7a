"""What is wrong with a work folder is known before the training, and two trainings do not share one."""

import errno
import os
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from tiny_run import ROOT, call, write_config

from mmpretrain_mps.engine import work_folder
from mmpretrain_mps.engine.work_folder import check_disk_space, check_writable, claimed

TRAIN = ROOT / 'tools' / 'train.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('work')
    write_config(folder)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'run', '--cfg-options', 'train_cfg.max_epochs=1') == 0
    return folder


def refused(capsys, *arguments):
    assert call(TRAIN, *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.split('\n') if line.startswith('error: ')]
    return line


@pytest.mark.parametrize(
    'place, reason',
    [
        ('tiny.py', 'File exists'),
        ('tiny.py/below', 'Not a directory'),
        ('/dev/null', 'File exists'),
        ('x' * 300, 'File name too long'),
        ('/proc/none', 'No such file or directory'),
    ],
)
def test_a_folder_that_cannot_be_one_is_one_line(folder, capsys, place, reason):
    error = refused(capsys, folder / 'tiny.py', '--work-dir', folder / place)
    assert 'cannot be written to' in error and reason in error and 'name another --work-dir' in error


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='nothing is forbidden to root')
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match='Permission denied'):
        check_writable(tmp_path)


@pytest.mark.parametrize('name', ['last_checkpoint', 'epoch_3.pth'])
def test_a_folder_in_the_place_of_a_file_is_known_before_the_training(folder, capsys, tmp_path, name):
    (tmp_path / name).mkdir()
    error = refused(capsys, folder / 'tiny.py', '--work-dir', tmp_path)
    assert f'{tmp_path} holds the folder {name}, where a training writes a file of that name; move it away' in error


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_noticed_by_writing(tmp_path, monkeypatch, number):

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(ValueError, match=f'cannot be written to: {os.strerror(number)}'):
        check_writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_space_for_a_checkpoint_is_looked_for_before_the_training(tmp_path, monkeypatch):
    model = torch.nn.Linear(1000, 250)  # 251,000 bytes of bias and weights: 1.001 MB
    model.bias.requires_grad_(False)
    for optimizer, needed in (
        (None, 1),
        (torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), 2),
        (torch.optim.AdamW(model.parameters()), 3),
    ):
        for free, fits in ((needed * 10**6 - 1, False), (needed * 10**6, True)):
            status = namedtuple('status', 'f_bavail f_frsize')(free, 1)
            monkeypatch.setattr(work_folder.os, 'statvfs', lambda _, status=status: status)
            if fits:
                check_disk_space(tmp_path, model, optimizer)
            else:
                with pytest.raises(ValueError, match=f'a checkpoint takes about {needed} MB, but the disk of .* has {needed} MB'):
                    check_disk_space(tmp_path, model, optimizer)


def test_a_training_without_disk_space_does_not_begin(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(work_folder.os, 'statvfs', lambda _: namedtuple('status', 'f_bavail f_frsize')(10, 1))
    assert 'a checkpoint takes about' in refused(capsys, folder / 'tiny.py', '--work-dir', tmp_path / 'w')
    assert not list((tmp_path / 'w').glob('*.pth'))


def test_a_disk_that_fills_up_costs_no_older_checkpoint(folder, capsys, monkeypatch, tmp_path):
    real, calls = os.fsync, []

    def fill(handle):
        calls.append(handle)
        if len(calls) > 3:  # a probe, the first checkpoint and its note
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    monkeypatch.setattr(os, 'fsync', fill)
    error = refused(capsys, folder / 'tiny.py', '--work-dir', tmp_path)
    assert 'epoch_2.pth cannot be written to' in error and 'No space left on device' in error and '--resume goes on' in error
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob('*.pth*')] == ['epoch_1.pth']
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', tmp_path, '--resume') == 0


@pytest.mark.parametrize('number, inside', [(errno.ENOENT, True), (errno.EACCES, True), (errno.ENOSPC, False)])
def test_a_folder_that_is_lost_during_the_training_is_one_line_with_what_is_left(tmp_path, number, inside):
    with pytest.raises(ValueError, match=f'cannot be written to any more: {os.strerror(number)}. There is no checkpoint in it'):
        with claimed(tmp_path):
            raise OSError(number, os.strerror(number), str(tmp_path / 'vis_data' / 'x.json') if inside else None)
    (tmp_path / 'epoch_2.pth').write_text('')
    with pytest.raises(ValueError, match='up to epoch_2.pth, are whole; mend that, and the same command with --resume goes on'):
        with claimed(tmp_path, overwrite=True):
            raise OSError(number, os.strerror(number), str(tmp_path / 'log') if inside else None)


def test_files_elsewhere_are_not_taken_for_the_work_folder(tmp_path):
    with pytest.raises(FileNotFoundError), claimed(tmp_path):
        open('/nowhere/x.jpg')


def test_checkpoints_of_an_earlier_training_are_not_overwritten_by_accident(folder, capsys):
    command = (folder / 'tiny.py', '--work-dir', folder / 'run')
    before = (folder / 'run' / 'epoch_1.pth').read_bytes()
    for more in ((), ('--cfg-options', 'seed=2'), ('--resume', folder / 'copy.pth')):
        if more and more[0] == '--resume':
            (folder / 'copy.pth').write_bytes(before)
        error = refused(capsys, *command, *more)
        assert 'holds checkpoints of an earlier training, among them epoch_1.pth' in error
        assert '--resume' in error and '--work-dir' in error and '--overwrite' in error
    assert (folder / 'run' / 'epoch_1.pth').read_bytes() == before
    assert call(TRAIN, *command, '--overwrite', '--cfg-options', 'train_cfg.max_epochs=1', 'seed=2') == 0
    assert (folder / 'run' / 'epoch_1.pth').read_bytes() != before


def test_the_second_of_two_trainings_is_refused_until_the_first_has_ended(folder, tmp_path, capsys):
    with claimed(tmp_path):
        assert 'another training runs in' in refused(capsys, folder / 'tiny.py', '--work-dir', tmp_path)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1') == 0


HOLDER = """
import os, sys
from mmpretrain_mps.engine.work_folder import claimed
with claimed(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_a_training_that_was_killed_holds_nothing(tmp_path):
    search = {**os.environ, 'PYTHONPATH': str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=search
    )
    assert holder.stdout.readline().strip() == 'held'
    with pytest.raises(ValueError, match='another training runs in'), claimed(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with claimed(tmp_path):
        pass
