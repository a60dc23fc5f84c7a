"""Loops of mmpretrain_mps."""
from .domain_generalization_loop import DomainGeneralizationLoop
from .linear_probe_loop import LinearProbeLoop

__all__ = ['DomainGeneralizationLoop', 'LinearProbeLoop']
