"""What a runner is about to do, read from the loops that it has built, and the model that it does it with."""

from __future__ import annotations

import copy
import gc
from typing import TYPE_CHECKING, Any

from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch.nn.parallel import DistributedDataParallel

from ...datasets import DualView

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch import nn
    from torch.utils.data import Dataset


def built_datasets(runner: Runner) -> list[Dataset]:
    """Return the data sets of the loops that exist, training first; loops that nobody asked for are not built.

    Args:
        runner (Runner): After it built the loops of the task at hand, as in ``before_run`` and later.

    Returns:
        list[Dataset]: One to three data sets.
    """
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    return [loop.dataloader.dataset for loop in loops if _has_pictures(loop)]


def is_training(runner: Runner) -> bool:
    """Whether the runner trains, as opposed to a run that only validates or tests, or plays learning rates through."""
    return _has_pictures(runner._train_loop)


def _has_pictures(loop):
    """Whether a loop is built, and of a data set: mmpretrain's vis_scheduler.py has a list in the place of a loader."""
    return isinstance(loop, BaseLoop) and not isinstance(loop.dataloader, list)


def unwrapped(model: nn.Module) -> Any:
    """Return the model itself, where a wrapper for several processes stands round it.

    Args:
        model (nn.Module): Of a runner.

    Returns:
        nn.Module: ``model``, or what it wraps.
    """
    return model.module if is_model_wrapper(model) else model


def check_reference(runner: Runner) -> None:
    """Refuse a training whose pictures are prepared for another kind of model; nothing in a batch would tell.

    A model either takes one more view, the last one, for the picture without augmentation, or has no use for such.

    Args:
        runner (Runner): Of a training; pipelines without :class:`DualView` pass.

    Raises:
        ValueError: Says what the model takes and how to give it that.
    """
    model, dataset = unwrapped(runner.model), runner.train_dataloader.dataset
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None) or ()
    views = [step for step in steps if isinstance(step, DualView)]
    expected = getattr(model, 'takes_reference', False)
    if not views or views[-1].has_reference == expected:
        return
    if expected:
        raise ValueError(
            f'{type(model).__name__} compares views with the picture without augmentation, which the training '
            "pipeline does not give; set train_dataloader.dataset.views=dict(reference='squash')"
        )
    raise ValueError(
        f'{type(model).__name__} would take the picture without augmentation, which DualView gives as a '
        'reference, for one more view; leave reference out of the training pipeline'
    )


def wrap_anew(runner: Runner) -> None:
    """Wrap the model for several processes once more if its parameters have other sizes than when it was wrapped.

    Parameters of each class have their size only when the classes, or their pictures, are known. They stay the same
    objects, so that the optimizer keeps them. The wrapper also shares the values of the main process, which new random
    ones need.

    Args:
        runner (Runner): Before the first step of a training; nothing happens in a single process.
    """
    if not isinstance(runner.model, DistributedDataParallel):
        return
    model = unwrapped(runner.model)
    sizes = [parameter.shape for parameter in model.parameters()]
    if getattr(runner.model, 'sizes_when_wrapped', None) == sizes:
        return
    # Autograd's own record of a shape lives as long as a wrapper that holds it.
    runner.model = None
    gc.collect()
    runner.model = runner.wrap_model(copy.deepcopy(runner.cfg.get('model_wrapper_cfg')), model)
    runner.model.sizes_when_wrapped = sizes
