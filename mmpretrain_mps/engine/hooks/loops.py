"""What a runner is about to do, read from the loops that it has built, and the model that it does it with."""
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop


def built_datasets(runner):
    """Return the data sets of the loops that exist, training first; loops that nobody asked for are not built.

    Args:
        runner (Runner): After it built the loops of the task at hand, as in ``before_run`` and later.

    Returns:
        list[Dataset]: One to three data sets.
    """
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    return [loop.dataloader.dataset for loop in loops if isinstance(loop, BaseLoop)]


def is_training(runner):
    """Whether the runner trains, as opposed to a run that only validates or tests."""
    return isinstance(runner._train_loop, BaseLoop)


def unwrapped(model):
    """Return the model itself, where a wrapper for several processes stands round it.

    Args:
        model (nn.Module): Of a runner.

    Returns:
        nn.Module: ``model``, or what it wraps.
    """
    return model.module if is_model_wrapper(model) else model
