"""Trainings that are told to end save what they have, and say how to go on."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS

from ..sharding import ShardedDataParallel
from .atomic_checkpoint_hook import save_within_epoch
from .loops import is_training

if TYPE_CHECKING:
    from mmengine.runner import Runner

# Ctrl-C, the end of a job or of its terminal, and what Slurm's `--signal` sends ahead of it.
SIGNALS = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1')
_KEY = 'mmpretrain_mps/interrupted'


class Interruption(SystemExit):
    """The end of a run that was told to end; the status is that of a process that the signal ended."""

    def __init__(self, number: int, message: str):
        super().__init__(128 + number)
        self.message = message


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On SIGINT, SIGTERM, SIGHUP and SIGUSR1, save after the step at hand, say how to go on, and end.

    A second signal ends the run at once. Signals that are ignored (``nohup``) stay so. Of several processes, the first one
    saves as soon as one of them was told, and the others end with it.
    """

    # After all that change what is saved.
    priority = 'LOWEST'

    def __init__(self):
        self._signal, self._waiting, self._watched, self._before = None, False, None, {}

    def before_run(self, runner: Runner) -> None:
        """Watch over the training.

        Args:
            runner (Runner): After it built the loops of the task at hand.
        """
        if is_training(runner) and runner._train_loop is not self._watched:
            # Hooks would not do: none is called after an error.
            loop = self._watched = runner._train_loop
            loop.run = functools.partial(self._run, runner, loop.run)

    def before_train_epoch(self, runner: Runner) -> None:
        """Stop before the epoch if told so; else steps may be waited for."""
        self._stop_if_told(runner)
        self._waiting = True

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """A step is not to be cut into."""
        self._waiting = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Stop after the step if told so.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Step of the epoch.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        self._stop_if_told(runner, steps=1)
        # Behind the last step come the hooks of the end of the epoch.
        self._waiting = batch_idx + 1 < len(runner.train_dataloader)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop within a validation: what was trained before it is there."""
        if self._watched is not None:
            self._stop_if_told(runner)

    def _run(self, runner, run):
        self._signal, self._waiting = None, False
        self._before = _install(functools.partial(self._told, runner, os.getpid()))
        try:
            return run()
        except Interruption:
            raise
        except BaseException:
            if self._signal is not None or _was_told():  # the first process has left, and this one stumbles over it
                self._leave(runner, None)
            raise
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _told(self, runner, process, number, frame):
        """Handle a signal: at once while the next pictures are waited for, else after the step."""
        if os.getpid() != process:  # a worker of a data loader, which the main process ends
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self._signal is not None:
            raise Interruption(number, 'interrupted for the second time: what was not saved is lost')
        self._signal = number
        print(f'{signal.Signals(number).name}: the training ends after this step', file=sys.stderr, flush=True)
        # Others may be in the middle of a step that they take together.
        if self._waiting and get_world_size() == 1:
            self._stop(runner, 0)

    def _stop_if_told(self, runner, steps=0):
        if get_world_size() > 1:
            self._share(runner)
        if (
            self._signal is None
            or not _is_between_updates(runner)
            or (not is_main_process() and not isinstance(runner.model, ShardedDataParallel))
        ):
            return
        self._stop(runner, steps)

    def _share(self, runner):
        """Let every process know; where weights are dealt out, all stop at the same step."""
        if isinstance(runner.model, ShardedDataParallel):
            told = torch.tensor(self._signal or 0, device=next(runner.model.parameters()).device)
            dist.all_reduce(told, dist.ReduceOp.MAX)
            self._signal = self._signal or int(told) or None
        elif not is_main_process():
            if self._signal is not None:
                _tell(self._signal)
        elif self._signal is None and _was_told():
            self._signal = int(_store().get(_KEY))

    def _stop(self, runner, steps):
        self._waiting = False
        done = runner.iter + steps
        path = save_within_epoch(runner, done) if isinstance(runner.train_loop, EpochBasedTrainLoop) and done else None
        if get_world_size() > 1 and is_main_process():
            _tell(self._signal)
        self._leave(runner, path)

    def _leave(self, runner, path):
        number = self._signal or signal.SIGTERM
        saved = (
            f'{path} is saved; the same command with --resume goes on from there'
            if path
            else ('nothing was trained since the last checkpoint, if any; the same command with --resume goes on')
        )
        message = f'interrupted by {signal.Signals(number).name} in epoch {runner.epoch + 1}: {saved}'
        if is_main_process():
            runner.logger.warning(message)
        if get_world_size() > 1:
            # Threads of gloo that the interpreter meets at its end would turn the status into that of a crash.
            sys.stdout.flush()
            os._exit(128 + number)
        raise Interruption(number, message)


def _install(handler):
    """Handle signals, as far as that is this thread's to decide; return the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before


def _is_between_updates(runner):
    """Whether no gradient is kept for a later update, which no checkpoint holds."""
    wrapper = runner.optim_wrapper
    return getattr(wrapper, '_inner_count', 0) % getattr(wrapper, '_accumulative_counts', 1) == 0


def _store():
    return dist.distributed_c10d._get_default_store()


def _tell(number):
    """Let the other processes know; where the launcher died, what they share died with it."""
    with contextlib.suppress(RuntimeError):
        _store().set(_KEY, str(int(number)))


def _was_told():
    """Whether some process was told to end, as far as that can still be asked."""
    if get_world_size() == 1 or not dist.is_initialized():
        return False
    try:
        return _store().check([_KEY])
    except RuntimeError:  # the process that kept it is gone
        return False
