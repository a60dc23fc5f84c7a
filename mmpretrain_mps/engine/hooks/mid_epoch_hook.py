"""Trainings that go on in the middle of an epoch, with the steps that the epoch still has."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS

from .loops import is_training

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import Sampler


@HOOKS.register_module()
class MidEpochHook(Hook):
    """Let a training go on exactly where a checkpoint by iteration left it.

    mmengine starts the epoch anew, with a count of iterations that is too high from then on. Here the batches that the
    epoch has had are left out, steps are counted on from there, and the random numbers of the model go on as they were
    (those of the augmentation are a function of the epoch and the picture).
    """

    # After all that set the epoch up.
    priority = 'LOWEST'

    def __init__(self):
        self._random_state, self._undo = None, []

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the random numbers that a model may draw.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        checkpoint['meta']['random_state'] = random_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the state of the random numbers for a run that goes on.

        Args:
            runner (Runner): The runner that loads.
            checkpoint (dict): Not changed.
        """
        resumes = is_training(runner) and runner._resume
        self._random_state = (checkpoint.get('meta') or {}).get('random_state') if resumes else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out the steps that the epoch has had.

        Args:
            runner (Runner): The runner of the training.

        Raises:
            ValueError: If the epoch has fewer steps than were taken.
        """
        loop, loader = runner.train_loop, runner.train_dataloader
        if not isinstance(loop, EpochBasedTrainLoop):
            return
        steps, done = len(loader), runner.iter - runner.epoch * len(loader)
        if not 0 <= done <= steps:
            raise ValueError(
                f'after {runner.epoch} epochs of {steps} steps, {runner.iter} steps cannot have been taken: the '
                'checkpoint is of a training with other batches'
            )
        if not done:
            self._random_state = None  # every epoch seeds anew
            return
        runner.logger.info(f'Epoch {runner.epoch + 1} goes on after step {done} of {steps}')
        batches, sampler, run_iter = loader.batch_sampler, loader.batch_sampler.sampler, loop.run_iter
        batches.sampler = _Rest(sampler, done * loader.batch_size)
        loop.run_iter = lambda index, batch: run_iter(index + done, batch)
        self._undo = [lambda: setattr(batches, 'sampler', sampler), lambda: setattr(loop, 'run_iter', run_iter)]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        """Let the random numbers of the model go on, after all that seeds an epoch.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        state, self._random_state = self._random_state, None
        if state is not None:
            set_random_state(state)

    def after_train_epoch(self, runner: Runner) -> None:
        """Show the next epoch as a whole.

        Args:
            runner (Runner): The runner of the training.
        """
        undo, self._undo = self._undo, []
        for function in undo:
            function()


def random_state() -> dict[str, torch.Tensor]:
    """Return the state of torch's random numbers, on the CPU and on the GPU in use.

    Returns:
        dict[str, Tensor]: uint8.
    """
    state = dict(cpu=torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Go on with the random numbers of :func:`random_state`; those of a kind of device that is not here are left."""
    torch.set_rng_state(state['cpu'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


class _Rest:
    """A sampler without its first samples, but of the same length."""

    def __init__(self, sampler: Sampler, first: int):
        self.sampler, self.first = sampler, first

    def __len__(self):
        return len(self.sampler)

    def __iter__(self):
        return itertools.islice(iter(self.sampler), self.first, None)
