"""Learning-rate schedules that mmengine's own cannot express."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.optim import LinearLR
from mmpretrain.registry import PARAM_SCHEDULERS

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper


@PARAM_SCHEDULERS.register_module()
class FirstEpochWarmupLR(LinearLR):
    r"""Raise the learning rate linearly, iteration by iteration, over the first epoch.

    .. math:: \eta_i = \eta \left(f + (1 - f) \frac{i}{n}\right), \qquad 0 \le i \le n

    with :math:`n` iterations per epoch and the start factor :math:`f`. The full rate is reached when the epoch ends,
    from where a schedule by epoch takes over.

    mmengine's ``LinearLR(end=1, convert_to_iter_based=True)`` reaches the full rate one iteration earlier, at
    :math:`i = n - 1`. With one iteration per epoch, usual with few shots, it never leaves the start: the whole training
    then runs at :math:`f \eta`.

    The config must say ``convert_to_iter_based=True``; only then the runner tells how many iterations an epoch has.

    Args:
        optimizer (OptimWrapper): Filled in by the runner.
        start_factor (float): :math:`f`, the first rate as a part of the full one.
        by_epoch (bool): False once the runner has converted it.
        **kwargs: Of mmengine's ``LinearLR``.

    Raises:
        ValueError: If it has not been converted to iterations.
    """

    def __init__(self, optimizer: OptimWrapper, start_factor: float, by_epoch: bool = True, **kwargs: Any):
        if by_epoch:
            raise ValueError('FirstEpochWarmupLR works by iteration; add convert_to_iter_based=True to its config')
        super().__init__(optimizer, start_factor=start_factor, by_epoch=False, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, epoch_length: int, begin: int = 0, end: int | None = None, by_epoch: bool = True, **kwargs: Any
    ) -> FirstEpochWarmupLR:
        """Build it for an epoch of known length; mmengine calls this for ``convert_to_iter_based=True``.

        Args:
            *args: Passed on.
            epoch_length (int): :math:`n`.
            begin, end, by_epoch: Filled in by the runner for schedules by epoch; the warm-up is always the first epoch.
            **kwargs: Passed on.

        Returns:
            FirstEpochWarmupLR: By iteration.
        """
        return cls(*args, begin=0, end=epoch_length + 1, by_epoch=False, **kwargs)  # type: ignore[misc]
