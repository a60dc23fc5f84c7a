"""What the base file of a method trains with, to be compared with what its authors' code does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from mmpretrain.registry import OPTIMIZERS, PARAM_SCHEDULERS

from ...utils.config import apply_options
from ...utils.methods import read_method

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def recipe_optimizer(method: str, parameters: Iterable[nn.Parameter], **changes: Any) -> Optimizer:
    """Build the optimizer of a method's recipe.

    Args:
        method (str): Name of its base file.
        parameters (Iterable[Parameter]): To be trained.
        **changes: Arguments of the optimizer that take the place of the recipe's.

    Returns:
        Optimizer: At the full rate.
    """
    settings = dict(read_method(method).optim_wrapper.optimizer)
    return OPTIMIZERS.build({**settings, **changes, 'params': list(parameters)})


def recipe_rates(method: str, epochs: int, rate: float | None = None) -> torch.Tensor:
    """Compute the learning rate of every epoch.

    Args:
        method (str): Name of a base file with schedules by epoch.
        epochs (int): Length of the training.
        rate (float, optional): Full rate. Defaults to the recipe's.

    Returns:
        Tensor: ``(epochs,)``, float64.
    """
    cfg = read_method(method)
    options = {'train_cfg.max_epochs': epochs}
    apply_options(cfg, options if rate is None else {**options, 'optim_wrapper.optimizer.lr': rate})
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = OPTIMIZERS.build({**cfg.optim_wrapper.optimizer, 'params': [weight]})
    schedulers = [PARAM_SCHEDULERS.build({**section, 'optimizer': optimizer}) for section in cfg.param_scheduler]
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)
