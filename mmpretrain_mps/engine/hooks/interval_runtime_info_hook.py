"""Logged values stay on the device until a line of the log needs them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmpretrain.registry import HOOKS

from .loops import is_training

if TYPE_CHECKING:
    from mmengine.runner import Runner

# As often as mmengine's LoggerHook writes a line by default.
_DEFAULT_INTERVAL = 10


@HOOKS.register_module()
class IntervalRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, except that it reads the values of a training step when they are logged.

    mmengine's reads every loss on the host in every step, and with a GPU the host waits each time until the device has
    caught up. Here the values of a step are put together on the device, and those of all steps since the last reading
    go to the message hub at once: where ``LoggerHook`` writes a line, before a validation, for a checkpoint, and when
    the training ends, also by an error. Histories, and the means in the log, are those of mmengine's hook. Whoever reads
    ``train/...`` of the message hub in between finds older values; the end of an epoch alone is no reason to wait.

    Args:
        interval (int, optional): Steps of an epoch between two readings. Defaults to that of ``LoggerHook``, which shows
            the values.

    Raises:
        ValueError: If the interval is not a number of steps.
    """

    def __init__(self, interval: int | None = None):
        if interval is not None and (isinstance(interval, bool) or not isinstance(interval, int) or interval < 1):
            raise ValueError(
                f'interval of IntervalRuntimeInfoHook is {interval!r}, expected a number of steps from 1, '
                'or None (that of the logger)'
            )
        self.interval = interval
        self._steps: list = []
        self._watched = None

    def before_run(self, runner: Runner) -> None:
        """As mmengine's; also see to it that an error in the training loses no value.

        Args:
            runner (Runner): After it built the loops of the task at hand.
        """
        super().before_run(runner)
        self._steps = []
        if is_training(runner):
            # Hooks would not do: none is called after an error.
            loop = runner._train_loop
            if loop is not self._watched:
                self._watched, loop.run = loop, functools.partial(self._run, runner, loop.run)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the values of a step, and hand them on where the log shows them.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Step of the epoch.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Numbers, or tensors with one element each, by their name.

        Raises:
            ValueError: If a tensor has several elements.
        """
        self._steps.append(_Step(outputs or {}))
        if self._is_shown(runner, batch_idx):
            self._hand_on(runner)

    def after_train(self, runner: Runner) -> None:
        """Hand on what is left, then as mmengine's."""
        self._hand_on(runner)
        super().after_train(runner)

    def before_val(self, runner: Runner) -> None:
        """Hand on what there is, then as mmengine's."""
        self._hand_on(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put into the checkpoint what the message hub does not have yet.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        if self._steps and 'message_hub' in checkpoint:
            self._hand_on(runner)
            state = runner.message_hub.state_dict()
            checkpoint['message_hub'].update(log_scalars=state['log_scalars'], resumed_keys=state['resumed_keys'])

    def _is_shown(self, runner, batch_idx):
        """Whether a line of the log shows this step, by the rule of mmengine's LoggerHook."""
        loggers = [(hook.interval, hook.ignore_last) for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if self.interval is not None or not loggers:
            loggers = [(self.interval or _DEFAULT_INTERVAL, True)]
        steps = len(runner.train_dataloader)
        return any(
            self.every_n_inner_iters(batch_idx, interval) or (batch_idx + 1 == steps and (not ignore_last or steps <= interval))
            for interval, ignore_last in loggers
        )

    def _hand_on(self, runner):
        steps, self._steps = self._steps, []
        for values in _read(steps):
            for name, value in values:
                runner.message_hub.update_scalar(f'train/{name}', value)

    def _run(self, runner, run):
        try:
            return run()
        except BaseException:
            # A device that has failed gives nothing, and the error that it failed with is the one to be seen.
            with contextlib.suppress(RuntimeError):
                self._hand_on(runner)
            raise


class _Step:
    """What one step logs: numbers as they are; tensors of a type and device together in one, a copy of its own.

    Copied at once, since a model may go on to change what it returned, and in one operation for all of them.
    """

    def __init__(self, outputs: Mapping[str, Any]):
        self.values: dict[str, Any] = {}
        tensors: dict[Any, dict[str, torch.Tensor]] = {}
        for name, value in outputs.items():
            # A place for what is read later: the tensor itself would keep the whole step in memory.
            self.values[name] = None if isinstance(value, torch.Tensor) else value
            if isinstance(value, torch.Tensor):
                if value.numel() != 1:
                    raise ValueError(f'{name} cannot be logged: it has the shape {tuple(value.shape)}, expected one element')
                tensors.setdefault((value.device, value.dtype), {})[name] = value.detach().reshape(())
        self.groups = {kind: (list(group), torch.stack(list(group.values()))) for kind, group in tensors.items()}


def _read(steps):
    """Bring the tensors of all steps to the host, in one transfer for each type and device.

    Returns:
        list[list[tuple]]: Names and numbers of each step, in the order in which the model returned them.
    """
    by_kind = {}
    for step in steps:
        for kind, (names, stacked) in step.groups.items():
            by_kind.setdefault(kind, []).append((step, names, stacked))
    for parts in by_kind.values():
        numbers = iter(torch.cat([stacked for _, _, stacked in parts]).tolist())
        for step, names, _ in parts:
            step.values.update(zip(names, numbers))
    return [step.values.items() for step in steps]
