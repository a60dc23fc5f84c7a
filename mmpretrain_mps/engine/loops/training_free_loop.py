"""Training without steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.runner import EpochBasedTrainLoop

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader


class TrainingFreeLoop(EpochBasedTrainLoop):
    """Counts as a training of one epoch, after which hooks save and validate as they always do; no step is taken.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the training pictures.
        val_begin (int): As in mmengine's ``EpochBasedTrainLoop``.
        val_interval (int): Likewise.
    """

    takes_no_steps = True

    def __init__(self, runner: Runner, dataloader: DataLoader | dict[str, Any], val_begin: int = 1, val_interval: int = 1):
        super().__init__(runner, dataloader, max_epochs=1, val_begin=val_begin, val_interval=val_interval)

    def run_epoch(self) -> None:
        """Do what there is instead of steps."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.eval()  # nothing depends on the mode; this says so
        self.work()
        self._iter = self._max_iters
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def work(self) -> None:
        """Do what the training consists of."""
