"""Whenever a run is killed, the last checkpoint that it noted is a complete file."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.runner import Runner, find_latest_checkpoint
from tiny_run import write_config

from mmpretrain_mps.engine.resuming import find_checkpoint
from mmpretrain_mps.utils import check_checkpoint


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def make_runner(folder, **options):
    cfg = Config.fromfile(write_config(folder))
    cfg.work_dir = str(folder / 'run')
    cfg.merge_from_dict(options)
    return Runner.from_cfg(cfg)


def files_of(folder):
    return sorted(file.name for file in (folder / 'run').glob('*.pth*'))


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    backend = get_file_backend(backend_args=dict(backend='atomic_local'))
    path = tmp_path / 'sub' / 'file'
    backend.put(b'first', path)

    def killed(*_):
        raise Killed

    monkeypatch.setattr(os, 'fsync', killed)
    with pytest.raises(Killed):
        backend.put_text('second', path)
    assert path.read_bytes() == b'first'
    monkeypatch.undo()
    backend.put_text('third', path)
    assert path.read_text() == 'third' and [file.name for file in path.parent.iterdir()] == ['file']


@pytest.mark.parametrize('most, left', [(1, ['epoch_4.pth']), (2, ['epoch_3.pth', 'epoch_4.pth'])])
def test_only_the_newest_checkpoints_are_kept(tmp_path, most, left):
    make_runner(tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': most}).train()
    assert files_of(tmp_path) == left
    assert find_latest_checkpoint(tmp_path / 'run').endswith('epoch_4.pth')


def test_all_checkpoints_are_kept_without_a_limit(tmp_path):
    make_runner(tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': -1}).train()
    assert files_of(tmp_path) == [f'epoch_{epoch}.pth' for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize('operation', range(5))
def test_killed_at_any_moment_of_the_third_save_the_run_can_be_resumed(tmp_path, monkeypatch, operation):
    # The checkpoint is written, then renamed; so is the note of its name; then the outdated checkpoint is removed. The
    # first save has no outdated one.
    remaining = [4 + 5 + operation]

    def until_killed(function):

        def counted(*arguments, **keywords):
            if remaining[0] == 0:
                raise Killed
            remaining[0] -= 1
            return function(*arguments, **keywords)

        return counted

    for name in ('fsync', 'replace', 'remove'):
        monkeypatch.setattr(os, name, until_killed(getattr(os, name)))
    one = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    with pytest.raises(Killed):
        make_runner(tmp_path, **one).train()
    monkeypatch.undo()

    noted, newest = find_latest_checkpoint(tmp_path / 'run'), find_checkpoint(tmp_path / 'run')
    assert noted.endswith('epoch_2.pth' if operation < 4 else 'epoch_3.pth')
    # Renamed, it is complete, whether its name was noted or not.
    assert newest.endswith('epoch_2.pth' if operation < 2 else 'epoch_3.pth')
    check_checkpoint(noted)
    check_checkpoint(newest)
    resumed = make_runner(tmp_path, resume=True, **one)
    resumed.train()
    assert resumed.model.epochs[0][0] == (2 if operation < 2 else 3)
    assert files_of(tmp_path) == ['epoch_4.pth']


def test_best_checkpoints_are_plain_and_complete_too(tmp_path):
    make_runner(tmp_path, **{'default_hooks.checkpoint.save_best': 'accuracy/fused'}).train()
    best = [name for name in files_of(tmp_path) if name.startswith('best_accuracy_fused')]
    assert len(best) == 1
    assert torch.load(tmp_path / 'run' / best[0], weights_only=True)['meta']['origin']['dataset_name'] == 'Tiny'
