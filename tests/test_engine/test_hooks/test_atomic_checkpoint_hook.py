"""Whenever a run is killed, the last checkpoint that it noted is a complete file."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from tiny_run import write_config

from mmpretrain_mps.engine.hooks import atomic_checkpoint_hook
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


class Clock:
    """Time that passes only when it is told to, and by ``of_a_write`` in every write."""

    def __init__(self, monkeypatch, of_a_write):
        self.now = 0.0
        monkeypatch.setattr(atomic_checkpoint_hook.time, 'monotonic', lambda: self.now)
        original = Runner.save_checkpoint

        def save(runner, *args, **kwargs):
            original(runner, *args, **kwargs)
            self.now += of_a_write

        monkeypatch.setattr(Runner, 'save_checkpoint', save)


class EpochsTake(Hook):
    """Lets the time of a clock pass in every epoch."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def before_train_epoch(self, runner):
        self.clock.now += self.seconds


@pytest.mark.parametrize(
    'share, small, left',
    [
        # A write takes 1 s, so that the next one is due 3 s later: after two epochs of 2 s.
        (0.25, 0, [1, 3, 4]),
        (0.25, 1e9, [1, 2, 3, 4]),  # of small files all are written
        (0.5, 0, [1, 2, 3, 4]),
        (0.01, 0, [1, 4]),  # that of the last epoch always
        (None, 0, [1, 2, 3, 4]),
    ],
)
def test_large_checkpoints_take_no_more_than_their_share_of_the_time(tmp_path, monkeypatch, share, small, left):
    monkeypatch.setattr(atomic_checkpoint_hook, 'SMALL_BYTES', small)
    clock = Clock(monkeypatch, of_a_write=1)
    runner = make_runner(tmp_path, **{'default_hooks.checkpoint.max_share': share, 'default_hooks.checkpoint.max_keep_ckpts': -1})
    runner.register_hook(EpochsTake(clock, 2))
    runner.train()
    assert files_of(tmp_path) == [f'epoch_{epoch}.pth' for epoch in left]


def test_a_run_goes_on_from_the_last_one_that_was_written_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_checkpoint_hook, 'SMALL_BYTES', 0)
    for name in ('whole', 'killed'):
        (tmp_path / name).mkdir()
    whole = make_runner(tmp_path / 'whole')
    whole.train()
    killed = make_runner(tmp_path / 'killed')
    Clock(monkeypatch, of_a_write=1)

    class KilledInTheFourthEpoch(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 3:
                raise Killed

    killed.register_hook(KilledInTheFourthEpoch())
    with pytest.raises(Killed):
        killed.train()
    assert files_of(tmp_path / 'killed') == ['epoch_1.pth']
    resumed = make_runner(tmp_path / 'killed', resume=True)
    resumed.train()
    states = [runner.model.state_dict() for runner in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize('share', [0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=rf'max_share of AtomicCheckpointHook is {share}, expected a share of the time above 0'):
        atomic_checkpoint_hook.AtomicCheckpointHook(interval=1, max_share=share)
