"""Loops of mmpretrain_mps."""
from .domain_generalization_loop import DomainGeneralizationLoop

__all__ = ['DomainGeneralizationLoop']
