"""Annealing of the temperatures."""
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS


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
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.set_epoch(runner.epoch, runner.max_epochs)
