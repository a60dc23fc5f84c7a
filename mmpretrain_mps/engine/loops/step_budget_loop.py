"""Training for a number of steps, in epochs."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch import nn
    from torch.utils.data import DataLoader


@LOOPS.register_module()
class StepBudgetTrainLoop(EpochBasedTrainLoop):
    """Train for a number of steps, whatever the number of pictures: as many epochs as it takes, the last one cut short.

    Other than with mmengine's ``IterBasedTrainLoop``, hooks see epochs: pictures are shuffled, random numbers seeded
    and checkpoints written by epoch, so that a training that is resumed goes on exactly as it would have. A schedule
    with ``by_epoch=False`` and without ``end`` and ``T_max`` ends with the last step.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the training pictures.
        max_iters (int): Steps of the whole training.
        val_begin (int): As in mmengine, an epoch.
        val_interval (int, optional): As in mmengine, epochs. By default there is one validation, at the end.

    Raises:
        ValueError: If the number of steps is none, or a resumed schedule has another length.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int | None = None,
    ):
        if isinstance(max_iters, bool) or not isinstance(max_iters, int) or max_iters < 1:
            raise ValueError(f'max_iters of StepBudgetTrainLoop must be a number of steps >= 1, but is {max_iters!r}')
        super().__init__(runner, dataloader, max_epochs=1, val_begin=val_begin, val_interval=1)
        self._max_epochs = math.ceil(max_iters / len(self.dataloader))
        self._max_iters = max_iters
        self.val_interval = val_interval or self._max_epochs
        self.dynamic_intervals = [self.val_interval]

    def run(self) -> nn.Module:
        """Launch training."""
        self._check_schedules()
        steps = len(self.dataloader)
        rest = self._max_iters - (self._max_epochs - 1) * steps
        self.runner.logger.info(
            f'{self._max_iters} steps are {self._max_epochs} epochs of {steps}'
            + (f', the last one of {rest}' if rest < steps else '')
            + (f'; {self._iter} steps in {self._epoch} epochs are done' if self._iter else '')
        )
        return super().run()

    def run_epoch(self) -> None:
        """Run one epoch, or what is left of the steps."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(itertools.islice(self.dataloader, self._max_iters - self._iter)):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _check_schedules(self):
        schedulers = self.runner.param_schedulers or []
        for scheduler in schedulers if isinstance(schedulers, list) else sum(schedulers.values(), []):
            if self._iter and not scheduler.by_epoch and scheduler.end > self._max_iters:
                raise ValueError(
                    f'the schedule of the checkpoint ends after {scheduler.end} steps, but this training '
                    f'has {self._max_iters}; resume with max_iters={scheduler.end}'
                )
