"""Evaluation of mmpretrain_mps."""
from .branch_accuracy import BranchAccuracy, accuracy_table

__all__ = ['BranchAccuracy', 'accuracy_table']
