"""Loops of mmpretrain_mps."""
from .domain_generalization_loop import DomainGeneralizationLoop
from .linear_probe_loop import LinearProbeLoop
from .step_budget_loop import StepBudgetTrainLoop

__all__ = ['DomainGeneralizationLoop', 'LinearProbeLoop', 'StepBudgetTrainLoop']
