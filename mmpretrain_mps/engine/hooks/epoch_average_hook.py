"""The average of the trained weights over epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS

from ..sharding import ShardedDataParallel
from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

CHECKPOINT_KEY = 'epoch_average'
UNIFORM = 'uniform'


class EpochAverage:
    r"""A running weighted sum :math:`\sum_t w_t P_t` of named tensors, in float32.

    Args:
        weights (Sequence[float]): :math:`w_t` of the epochs :math:`t = 1 \dots E`, sum 1.
    """

    def __init__(self, weights: list[float]):
        self.weights, self.epochs = list(weights), 0
        self.sums: dict[str, torch.Tensor] = {}

    def add(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Add what tensors are after the next epoch.

        Args:
            tensors (Iterable[tuple[str, Tensor]]): With their names.
        """
        weight = self.weights[self.epochs]
        with torch.no_grad():
            for name, tensor in tensors:
                if name not in self.sums:
                    self.sums[name] = torch.zeros_like(tensor, dtype=torch.float32)
                self.sums[name].add_(tensor.detach().float(), alpha=weight)
        self.epochs += 1

    @property
    def complete(self) -> bool:
        """bool: Whether all epochs are in it."""
        return self.epochs == len(self.weights)


def epoch_weights(weights: str | dict[str, float], epochs: int) -> list[float]:
    r"""Weigh epochs for an average.

    .. math:: w_t \propto \exp(-(t - \mu)^2 / (2 \sigma^2)), \quad t = 1 \dots E, \quad \sum_t w_t = 1

    Args:
        weights (str | dict): ``'uniform'``, or ``mean`` :math:`\mu` and ``std`` :math:`\sigma`, in epochs.
        epochs (int): :math:`E`.

    Returns:
        list[float]: ``E`` weights.
    """
    if weights == UNIFORM:
        return [1 / epochs] * epochs
    gaussian = cast(dict[str, float], weights)
    exponents = [-((epoch - gaussian['mean']) ** 2) / (2 * gaussian['std'] ** 2) for epoch in range(1, epochs + 1)]
    # Against the largest, so that a mean far outside of the training does not make all of them vanish.
    parts = [math.exp(exponent - max(exponents)) for exponent in exponents]
    return [part / sum(parts) for part in parts]


@HOOKS.register_module()
class EpochAverageHook(Hook):
    r"""Put the average of the trained weights over all epochs in the place of the last ones.

    The weights after the last step of each epoch count, with :func:`epoch_weights`; the training itself never sees the
    average. After the last epoch it takes the place of the weights, before they are validated and saved.
    `Self-regulating Prompts <https://arxiv.org/abs/2307.06948>`_ averages with a Gaussian, TAC uniformly. Only what is
    trained is averaged, in float32; the running sum is in checkpoints, so that a resumed training gives the same
    average.

    Args:
        weights (str | dict): ``'uniform'``, or a dict with ``mean`` and ``std`` of the Gaussian, in epochs counted from
            1.

    Raises:
        ValueError: If the weights are none of these.
    """

    def __init__(self, weights: str | dict[str, float] = UNIFORM):
        if weights != UNIFORM:
            usable = isinstance(weights, dict) and set(weights) == {'mean', 'std'} and weights['std'] > 0
            if not usable:
                raise ValueError(
                    f'weights of EpochAverageHook must be {UNIFORM!r} or dict(mean=..., std=...) with a '
                    f'positive standard deviation, but are {weights!r}'
                )
            weights = {key: float(value) for key, value in cast(dict, weights).items()}
        self.weights = weights
        self._average: Any = None  # an EpochAverage, while there is a training

    def before_run(self, runner: Runner) -> None:
        """Start an empty average; resuming fills it.

        Args:
            runner (Runner): After it built the loops of the task at hand.

        Raises:
            ValueError: If the training has no epochs, or its weights are dealt out to processes.
        """
        if not is_training(runner) or (self._average is not None and self._average.complete):
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                'EpochAverageHook averages over epochs, but the training is a '
                f'{type(runner.train_loop).__name__}; expected an EpochBasedTrainLoop'
            )
        if isinstance(runner.model, ShardedDataParallel):
            raise ValueError(
                'EpochAverageHook averages whole weights, but ShardedDataParallel deals them out to the '
                'processes; leave out the sharding, or the hook'
            )
        self._average = EpochAverage(epoch_weights(self.weights, runner.max_epochs))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take over the running sum of a training that goes on.

        Args:
            runner (Runner): The runner that resumes; a run that only loads weights is left alone.
            checkpoint (dict): Not changed.

        Raises:
            ValueError: If the checkpoint has no sum, or one of other weights or of another number of epochs.
        """
        if not (is_training(runner) and runner._resume):
            return
        state = checkpoint.get(CHECKPOINT_KEY)
        if state is None:
            raise ValueError(
                'EpochAverageHook needs the running sum of a training that goes on, but the checkpoint '
                'has none: it was trained without the hook; start anew, or resume without it'
            )
        if state['weights'] != self.weights or state['max_epochs'] != runner.max_epochs:
            raise ValueError(
                f'the checkpoint averages over {state["max_epochs"]} epochs with the weights '
                f'{state["weights"]}, but this run over {runner.max_epochs} with {self.weights}; resume with '
                'the settings of the checkpoint, or start anew'
            )
        self._average.epochs = state['epochs']
        self._average.sums = dict(state['sums'])

    def after_train_epoch(self, runner: Runner) -> None:
        """Add the weights; after the last epoch, replace them by the average.

        Args:
            runner (Runner): The runner of the training.
        """
        trained = dict(self._trained(runner))
        # A checkpoint is loaded to the device of the run, but weights may have been moved since.
        self._average.sums = {name: total.to(trained[name].device) for name, total in self._average.sums.items()}
        self._average.add(trained.items())
        if self._average.complete:
            with torch.no_grad():
                for name, parameter in trained.items():
                    parameter.copy_(self._average.sums[name])
            runner.logger.info(f'the weights are now their average over {self._average.epochs} epochs ({self._describe()})')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the running sum.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        if self._average is not None:
            sums = {name: total.cpu() for name, total in self._average.sums.items()}
            checkpoint[CHECKPOINT_KEY] = dict(
                weights=self.weights, max_epochs=len(self._average.weights), epochs=self._average.epochs, sums=sums
            )

    def after_train(self, runner: Runner) -> None:
        """Say so where a training was stopped before its last epoch."""
        if not self._average.complete:
            runner.logger.warning(
                f'the training stopped after {self._average.epochs} of {len(self._average.weights)} epochs: its weights '
                'are those of the last one, not the average that EpochAverageHook makes after all of them'
            )

    def _describe(self):
        gaussian = 'Gaussian, mean {mean:g}, std {std:g}'
        return self.weights if self.weights == UNIFORM else gaussian.format(**self.weights)

    @staticmethod
    def _trained(runner):
        return ((name, parameter) for name, parameter in unwrapped(runner.model).named_parameters() if parameter.requires_grad)
