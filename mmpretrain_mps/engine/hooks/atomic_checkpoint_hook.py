"""Checkpoints that survive a kill, and cost little where epochs are short."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook
from mmpretrain.registry import HOOKS

from ...utils.checkpoint import is_local
from .. import file_backend  # noqa: F401  (registers the back end)
from ..sharding import whole_state
from ..work_folder import check_disk_space
from .loops import unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

# In the message hub: a file that was saved within an epoch, until the next one is there.
WITHIN_EPOCH = 'within_epoch_ckpt'
# Checkpoints up to this size are written whenever they are due, whatever else there is to do: it takes no time to speak of.
SMALL_BYTES = 50e6


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, except that at every moment ``last_checkpoint`` names a complete file.

    mmengine deletes the outdated checkpoint, then writes the new one in place, then notes its name; a run killed in
    between cannot be resumed. Here the new file is written beside its place and renamed, its name is noted in the same
    way, and only then the outdated one is deleted.

    Where epochs are short and weights are many, writing after every epoch takes longer than training. Then checkpoints
    are left out until the one before has cost less than ``max_share`` of the time since; that of the last epoch is always
    written, and a run that is asked to end saves what it has.

    Args:
        backend_args (dict | None): As in mmengine; the default writes local files in one step.
        max_share (float, optional): Most of the training's time to spend on checkpoints of epochs that are larger than 50 MB.
            A run that is killed then repeats at most ``1 / max_share`` times as long as one takes to write. None, the
            default, writes all that ``interval`` asks for.
        **kwargs: As in mmengine.

    Raises:
        ValueError: If the share is not between 0 and 1.
    """

    def __init__(self, *args: Any, backend_args: dict[str, Any] | None = None, max_share: float | None = None, **kwargs: Any):
        if max_share is not None and not 0 < max_share <= 1:
            raise ValueError(
                f'max_share of AtomicCheckpointHook is {max_share!r}, expected a share of the time above 0 and up to 1, such '
                'as 0.02, or None to write every checkpoint'
            )
        self.max_share = max_share
        self._not_before = 0.0
        # A remote back end brings its own guarantees.
        if backend_args is None and is_local(kwargs.get('out_dir') or ''):
            backend_args = dict(backend='atomic_local')
        super().__init__(*args, backend_args=backend_args, **kwargs)

    def before_train(self, runner: Runner) -> None:
        """As mmengine's; also check that the disk has space for a checkpoint.

        Args:
            runner (Runner): The runner of the training.

        Raises:
            ValueError: If there is not.
        """
        super().before_train(runner)
        if is_main_process():
            check_disk_space(self.out_dir, unwrapped(runner.model), getattr(runner.optim_wrapper, 'optimizer', None))

    def after_train_epoch(self, runner: Runner) -> None:
        """As mmengine's, unless it is too soon for a large checkpoint.

        Args:
            runner (Runner): The runner of the training.
        """
        if self.by_epoch and not self.is_last_train_epoch(runner) and self._is_too_soon():
            return
        super().after_train_epoch(runner)

    def _is_too_soon(self):
        """Whether the last checkpoint still weighs more than its share; the main process decides, since all save together."""
        if self.max_share is None:
            return False
        decision = [time.monotonic() < self._not_before]
        broadcast_object_list(decision)
        return decision[0]

    def _note_cost(self, started):
        """Put the next checkpoint off, if the one that was just written is large."""
        path = Path(self.last_ckpt)
        if self.max_share is None or not path.is_file() or path.stat().st_size <= SMALL_BYTES:
            return
        now = time.monotonic()
        self._not_before = now + (now - started) * (1 / self.max_share - 1)

    def _save_checkpoint_with_step(self, runner, step, meta):
        outdated = self._keep(step) if self.max_keep_ckpts > 0 else []
        # The file lists what is outdated too: should the run end before the deletion, the resumed one makes up for it.
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', [*outdated, *self.keep_ckpt_ids])
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        within_epoch = runner.message_hub.runtime_info.get(WITHIN_EPOCH)
        self._save(runner, filename, meta, self.by_epoch)
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        if is_main_process():
            self._delete([self.filename_tmpl.format(step) for step in outdated] + [within_epoch] * bool(within_epoch))
        runner.message_hub.update_info(WITHIN_EPOCH, '')

    def save_within_epoch(self, runner: Runner, steps: int) -> str:
        """Save a training in the middle of an epoch, for :class:`MidEpochHook` to go on from.

        The file is deleted when the next regular one is there.

        Args:
            runner (Runner): Of the training, between two steps.
            steps (int): That were taken since its start.

        Returns:
            str: The file.
        """
        filename = f'iter_{steps}.pth'
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info(WITHIN_EPOCH, filename)
        self._save(runner, filename, dict(epoch=runner.epoch, iter=steps), by_epoch=False)
        return self.last_ckpt

    def _save(self, runner, filename, meta, by_epoch):
        """Write a checkpoint, then note its name.

        Raises:
            ValueError: If the disk has no space for it, or it cannot be written for another reason; older ones are untouched.
        """
        started = time.monotonic()
        runner.message_hub.update_info('saved_steps', runner.iter if by_epoch else (meta or {}).get('iter', runner.iter + 1))
        try:
            with whole_state(runner):
                runner.save_checkpoint(
                    self.out_dir,
                    filename,
                    self.file_client_args,
                    save_optimizer=self.save_optimizer,
                    save_param_scheduler=self.save_param_scheduler,
                    meta=meta,
                    by_epoch=by_epoch,
                    backend_args=self.backend_args,
                    **self.args,
                )
            if is_main_process():
                note = get_file_backend(backend_args=dict(backend='atomic_local'))
                note.put_text(self.last_ckpt, note.join_path(runner.work_dir, 'last_checkpoint'))
                self._note_cost(started)
        except OSError as error:
            raise ValueError(
                f'{filename} cannot be written to {self.out_dir}: {error}. The checkpoints before it are '
                'untouched; mend that, and the same command with --resume goes on from the last one'
            ) from error

    def _save_best_checkpoint(self, runner, metrics):
        if not self.save_best:
            return
        # Before it is known whether there is a new best one: that is decided between two requests for the state.
        with whole_state(runner):
            super()._save_best_checkpoint(runner, metrics)

    def _keep(self, step):
        """Add a step to those that are kept and return the steps that have to go for it."""
        if self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        return outdated

    def _delete(self, names):
        for name in names:
            path = self.file_backend.join_path(self.out_dir, name)
            if self.file_backend.isfile(path) and path != self.last_ckpt:
                self.file_backend.remove(path)


def save_within_epoch(runner: Runner, steps: int) -> str | None:
    """Save by the checkpoint hook of a run.

    Args:
        runner (Runner): Of the training, between two steps.
        steps (int): That were taken since its start.

    Returns:
        str | None: The file; None if the run saves by no :class:`AtomicCheckpointHook`, or nothing that is not saved yet.
    """
    hook = next((hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)), None)
    if hook is None or runner.message_hub.runtime_info.get('saved_steps') == steps:
        return None
    return hook.save_within_epoch(runner, steps)
