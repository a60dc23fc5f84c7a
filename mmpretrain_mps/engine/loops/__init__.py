"""Loops of mmpretrain_mps."""

from .domain_generalization_loop import DomainGeneralizationLoop
from .feature_start_loop import CacheLoop, FeatureStartLoop
from .linear_probe_loop import LinearProbeLoop
from .step_budget_loop import StepBudgetTrainLoop
from .training_free_loop import TrainingFreeLoop

__all__ = [
    'CacheLoop',
    'DomainGeneralizationLoop',
    'FeatureStartLoop',
    'LinearProbeLoop',
    'StepBudgetTrainLoop',
    'TrainingFreeLoop',
]
