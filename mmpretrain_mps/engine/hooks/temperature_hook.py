"""Annealing of the temperatures."""
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from .loops import unwrapped


@HOOKS.register_module()
class TemperatureHook(Hook):
    """Tell the classifier the epoch, from which it derives its temperatures.

    The temperature is a function of the epoch alone and not a state that is carried along, therefore a resumed run uses
    the same one as an uninterrupted run.
    """

    def before_train_epoch(self, runner):
        """Pass the 0-based epoch and the number of epochs on.

        Args:
            runner (Runner): The runner of the training.
        """
        model = unwrapped(runner.model)
        model.set_epoch(runner.epoch, runner.max_epochs)
