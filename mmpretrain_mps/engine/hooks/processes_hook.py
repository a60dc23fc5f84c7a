"""A training that goes on with another number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS

from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner


@HOOKS.register_module()
class ProcessesHook(Hook):
    """Note in a checkpoint how many processes trained, and say what changes where others go on.

    Epochs, the order of the pictures in them, augmentations, temperatures and schedules by epoch do not depend on the
    number of processes. The common batch (processes times ``batch_size``) does, unless ``batch_size`` changes too; with
    it change the steps per epoch, which the runner's count of iterations is fitted to.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note processes, pictures per process and step, and steps per epoch.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        checkpoint['meta']['processes'] = _describe(runner.train_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare, say so, and fit the count of iterations.

        Args:
            runner (Runner): The runner that resumes; a run that only loads weights is left alone.
            checkpoint (dict): Changed in place.

        Raises:
            ValueError: If the steps per epoch change in the middle of a schedule by iteration.
        """
        meta = checkpoint.get('meta') or {}
        before = meta.get('processes')
        if before is None or not (is_training(runner) and runner._resume):
            return
        now = _describe(runner.train_dataloader)
        if now == before:
            return
        if before['steps'] != now['steps'] and isinstance(runner.train_loop, EpochBasedTrainLoop):
            if meta['iter'] != meta['epoch'] * before['steps']:
                raise ValueError(
                    f'the checkpoint is of step {meta["iter"] - meta["epoch"] * before["steps"]} of an epoch of '
                    f'{before["steps"]} steps, which would have {now["steps"]} now; keep the common batch '
                    '(processes x batch_size) to the end of the epoch'
                )
            _refuse_running_schedules(checkpoint, before['steps'], now['steps'])
            meta['iter'] = meta['epoch'] * now['steps']
        model = unwrapped(runner.model)
        runner.logger.warning(describe_change(before, now, meta['epoch'], getattr(model, 'gather', 'all')))


def describe_change(before: dict[str, Any], now: dict[str, Any], epoch: int, gather: str) -> str:
    """Put into one line what another number of processes or another batch size changes.

    Args:
        before (dict): ``count`` of processes, ``batch`` of each and ``steps`` per epoch until now.
        now (dict): The same from here on.
        epoch (int): Epochs that are done.
        gather (str): Of the classifier, see :class:`MPSCLIPClassifier`.

    Returns:
        str: The line.
    """
    old, new = (side['count'] * side['batch'] for side in (before, now))
    text = (
        f'trained with {_processes(before)} until epoch {epoch}, goes on with {_processes(now)}: the common batch '
        + (f'stays {new} pictures' if old == new else f'changes from {old} to {new} pictures')
        + (
            f', {now["steps"]} steps per epoch'
            if before['steps'] == now['steps']
            else f', the steps per epoch from {before["steps"]} to {now["steps"]}'
        )
        + '; learning rates go on as they were'
    )
    if gather == 'none' and before['batch'] != now['batch']:
        return f"{text}; with gather='none' each process now compares {now['batch']} pictures instead of {before['batch']}"
    if old != new and old % now['count'] == 0:
        return f'{text}; train_dataloader.batch_size={old // now["count"]} would keep the common batch'
    return text


def _processes(side):
    return f'{side["count"]} process{"es" if side["count"] > 1 else ""} x {side["batch"]}'


def _describe(dataloader):
    return dict(count=get_world_size(), batch=dataloader.batch_size, steps=len(dataloader))


def _refuse_running_schedules(checkpoint, before, now):
    schedulers = checkpoint.get('param_schedulers') or []
    for state in schedulers if isinstance(schedulers, list) else sum(schedulers.values(), []):
        # Those by iteration carry lengths in the old steps; once the next step is none of theirs, that does not matter.
        if not state.get('by_epoch', True) and state['_global_step'] + 1 < state['end']:
            raise ValueError(
                f'the steps per epoch change from {before} to {now} while a schedule by iteration is at step '
                f'{state["_global_step"]} of {state["end"]}; keep the common batch (processes x batch_size), or resume '
                'after that schedule has ended'
            )
