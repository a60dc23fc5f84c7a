"""Testing between the frozen and the tuned weights."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from mmpretrain.registry import HOOKS

from .loops import unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner


@HOOKS.register_module()
class WeightInterpolationHook(Hook):
    """Test with weights between the frozen and the tuned ones, without training anything again.

    `Robust fine-tuning of zero-shot models <https://arxiv.org/abs/2109.01903>`_ (WiSE-FT). While a test runs, with all
    the targets that it has, each tuned weight is ``(1 - share) * frozen + share * tuned``; adapters, which start at
    zero, are ``share * adapter``. What a test reports as the tuned branch is then the interpolated model; the head
    fuses its logits with the zero-shot ones as ever (``model.head.alpha=1`` leaves the interpolated model alone).

    The tuned weights are back at the end of the test to the last bit, also after an error. Checkpoints that are saved
    meanwhile hold the tuned weights.

        python tools/test.py CONFIG CHECKPOINT --cfg-options \\
            default_hooks.weight_interpolation.type=WeightInterpolationHook default_hooks.weight_interpolation.share=0.5

    Args:
        share (float): Share of the tuned weights; 0 tests the zero-shot model, 1 the tuned model as it is.
        val (bool): Interpolate for validations, too.

    Raises:
        ValueError: If ``share`` lies outside [0, 1].
    """

    def __init__(self, share: float, val: bool = False):
        if not 0 <= share <= 1:
            raise ValueError(f'share must lie between 0 (frozen) and 1 (tuned), but is {share}')
        self.share, self.val = share, val
        self._own: dict[str, Any] | None = None  # the tuned weights, while interpolated ones are in use

    def before_run(self, runner: Runner) -> None:
        """Put the interpolation round the loops. Hooks of a loop would not do: none is called after an error.

        Args:
            runner (Runner): After it built the loops of the task at hand.

        Raises:
            ValueError: If its model has nothing to interpolate.
        """
        model = unwrapped(runner.model)
        if not hasattr(getattr(model, 'backbone', None), 'interpolated'):
            raise ValueError(
                'WeightInterpolationHook needs a model with a frozen and a tuned branch, as '
                f'MPSCLIPClassifier has them on DualBranchViT, but this is a {type(model).__name__}'
            )
        for loop in (runner._test_loop, *([runner._val_loop] if self.val else [])):
            if isinstance(loop, BaseLoop):
                loop.run = functools.partial(self._run, runner, loop)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the tuned weights, not the interpolated ones.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        for name, value in (self._own or {}).items():
            checkpoint['state_dict'][f'backbone.{name}'] = value.cpu()

    def _run(self, runner, loop):
        # The loop's class has the method as it was: a second run does not interpolate what is interpolated.
        run = functools.partial(type(loop).run, loop)
        runner.logger.info(f'weights: {1 - self.share:g} x frozen + {self.share:g} x tuned')
        with unwrapped(runner.model).backbone.interpolated(self.share) as self._own:
            try:
                return run()
            finally:
                self._own = None
