"""Metrics of features get the features that they need."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...models.classifiers.test_features import NO_FEATURES, TestFeatures
from .loops import unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner


@HOOKS.register_module()
class TestFeaturesHook(Hook):
    """Let predictions carry what the metrics of an evaluator need, for as long as it is in use.

    A metric says so by its attribute ``test_features``, see :class:`TestFeatures`. Without such a metric nothing is
    computed or carried.
    """

    __test__ = False  # pytest would take it for tests

    def __init__(self):
        self._own = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Ask for what the metrics of the validation need."""
        self._ask(runner.model, runner.val_evaluator)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Ask for what the metrics of the set at hand need; a test may go over several sets."""
        if batch_idx == 0:
            self._restore(runner.model)
            self._ask(runner.model, runner.test_loop.evaluator)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Ask for no more than the model's config does."""
        self._restore(runner.model)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Ask for no more than the model's config does."""
        self._restore(runner.model)

    def _ask(self, model, evaluator):
        needed = functools.reduce(
            operator.or_, (TestFeatures.of(getattr(metric, 'test_features', ())) for metric in evaluator.metrics), NO_FEATURES
        )
        model = unwrapped(model)
        # Of a model that has no such features the metric itself complains, by its name.
        if needed != NO_FEATURES and hasattr(model, 'test_features'):
            self._own = model.test_features
            model.test_features = self._own | needed

    def _restore(self, model):
        if self._own is not None:
            unwrapped(model).test_features, self._own = self._own, None
