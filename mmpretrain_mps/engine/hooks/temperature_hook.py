"""What changes from epoch to epoch inside the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

# More than any training has epochs, so that no two runs share the numbers of an epoch.
_SEEDS_APART = 1_000_003


@HOOKS.register_module()
class TemperatureHook(Hook):
    """Tell the classifier the epoch, from which it derives its temperatures; seed what it draws.

    Both are functions of the epoch (and of the run's seed) alone and no state that is carried along, therefore a resumed
    run uses the same ones as an uninterrupted run. Only classifiers that draw random numbers in a step
    (``random_training``), for dropout say, are seeded.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass the 0-based epoch and the number of epochs on.

        Args:
            runner (Runner): The runner of the training.
        """
        if not is_training(runner):
            return
        model = unwrapped(runner.model)
        model.set_epoch(runner.epoch, runner.max_epochs)
        if getattr(model, 'random_training', False):
            # Equal in all processes, which compute the losses of one common batch.
            torch.manual_seed(_SEEDS_APART * (runner.seed or 0) + runner.epoch)
