"""Metrics of mmpretrain_mps."""
from .branch_accuracy import BranchAccuracy

__all__ = ['BranchAccuracy']
