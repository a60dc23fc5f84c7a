"""A loss that is no number ends the training before it ruins the weights, and is told with all that helps to find out why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook, LoggerHook
from mmpretrain.registry import HOOKS

from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

_DEFAULT_INTERVAL = 10
_SHOWN = 5


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End a training whose loss is nan or infinite.

    On the CPU, the loss is looked at before the gradient is computed, so that the weights stay those of the step before.
    With a GPU the host would have to wait for that in every step; there the losses are looked at where the log reads them
    anyway, at the end of an epoch, and before anything is saved. What is saved is looked at, too: no checkpoint holds a
    weight that is no finite number.

    With a loss scaler (float16), steps whose *gradient* overflows are skipped by it and are none of this hook's business;
    their loss is finite. A loss that is not is skipped likewise, and ends the training only if it lasts.

    Args:
        patience (int): Steps in a row with a loss that is no finite number, which a loss scaler skips, until the training
            ends. Defaults to 10.
        interval (int, optional): Steps between two looks with a GPU. Defaults to that of ``LoggerHook``.
    """

    # Before IntervalRuntimeInfoHook hands values on.
    priority = 'HIGHEST'

    def __init__(self, patience: int = 10, interval: int | None = None):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f'patience of FiniteLossHook is {patience!r}, expected a number of steps from 1')
        self.patience, self.interval = patience, interval
        self._watched: Any = None
        self._steps: list = []
        self._names: list = []
        self._in_a_row = 0

    def before_train(self, runner: Runner) -> None:
        """Look at what the model's terms add up to, in every step.

        Args:
            runner (Runner): The runner of the training.
        """
        self._steps, self._in_a_row = [], 0
        model = unwrapped(runner.model)
        if is_training(runner) and model is not self._watched and hasattr(model, 'parse_losses'):
            self._watched, parse = model, model.parse_losses

            def parse_and_look(losses: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
                """Parse the losses, then refuse what is no finite number."""
                total, values = parse(losses)
                self._look(runner, total, values)
                return total, values

            model.parse_losses = parse_and_look

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        """Remember which pictures are in the batch.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Collated samples.
        """
        self._names = names_of(data_batch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look at the losses that are still on the device, now and then.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Step of the epoch.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._steps and (
            any(self.every_n_inner_iters(batch_idx, number) for number in self._intervals(runner))
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            self._judge(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are no numbers.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Not changed.

        Raises:
            ValueError: With the name of one of them, and the last good checkpoint.
        """
        self._judge(runner)
        trained = {name for name, weight in unwrapped(runner.model).named_parameters() if weight.requires_grad}
        bad = [name for name, value in checkpoint['state_dict'].items() if name in trained and not torch.isfinite(value).all()]
        if bad:
            raise ValueError(
                f'after epoch {runner.epoch + 1}, {len(bad)} of the weights are no finite numbers any more, among '
                f'them {bad[0]}; {_advice(runner)}'
            )

    def _intervals(self, runner):
        if self.interval is not None:
            return [self.interval]
        return [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)] or [_DEFAULT_INTERVAL]

    def _look(self, runner, total, values):
        step = (
            runner.epoch,
            runner.iter,
            self._names,
            {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in values.items()},
        )
        self._steps.append((torch.isfinite(total.detach()).all(), step))
        if total.device.type == 'cpu':
            self._judge(runner)

    def _judge(self, runner):
        """Look at all steps since the last time, in one transfer."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        for is_finite, (_, step) in zip(torch.stack([finite for finite, _ in steps]).tolist(), steps):
            self._in_a_row = 0 if is_finite else self._in_a_row + 1
            if is_finite:
                continue
            if not _skips_overflows(runner):
                raise ValueError(describe_step(runner, *step))
            if self._in_a_row == 1:
                runner.logger.warning(f'{describe_step(runner, *step)}. The loss scaler skips the step')
            if self._in_a_row >= self.patience:
                raise ValueError(f'{describe_step(runner, *step)}; so it was for {self._in_a_row} steps in a row')


def describe_step(runner: Runner, epoch: int, iteration: int, names: list[str], values: dict[str, Any]) -> str:
    """Put a step whose loss is no number into words.

    Args:
        runner (Runner): The runner of the training.
        epoch (int): Counted from 0.
        iteration (int): Of the training, counted from 0.
        names (list[str]): Pictures of the batch.
        values (dict): Terms of the loss, and what else the model logs.

    Returns:
        str: Epoch, iteration, terms, pictures, the last good checkpoint and what helps.
    """
    terms = {
        name: float(value.mean() if isinstance(value, torch.Tensor) else value)
        for name, value in values.items()
        if 'loss' in name
    }
    bad = ', '.join(f'{name} is {value}' for name, value in terms.items() if not math.isfinite(value) and name != 'loss')
    shown = ', '.join(names[:_SHOWN]) + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')
    return (
        f'the loss is no finite number in epoch {epoch + 1}, iteration {iteration + 1}: {bad or "their sum"}; pictures of '
        f'the batch: {shown or "unnamed"}; {_advice(runner)}'
    )


def names_of(batch: dict[str, Any] | None) -> list[str]:
    """Return how the pictures of a batch are called: by path, else by their number in the data set.

    Args:
        batch (dict | None): Collated samples.

    Returns:
        list[str]: Empty if they have no names.
    """
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return [str(getattr(sample, 'img_path', None) or f'no. {getattr(sample, "sample_idx", "?")}') for sample in samples or ()]


def _skips_overflows(runner):
    """Whether a loss scaler skips steps whose gradient is no number; one for bfloat16 is switched off."""
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _advice(runner):
    last = runner.message_hub.runtime_info.get('last_ckpt')
    return (
        f'the last good checkpoint is {last or "none"}. A smaller learning rate, or clipping '
        '(optim_wrapper.clip_grad="{\'max_norm\': 1.0}"), may help'
    )
