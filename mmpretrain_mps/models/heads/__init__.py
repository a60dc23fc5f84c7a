"""Heads of mmpretrain_mps."""
from .logits_fusion_head import BranchLogits, LogitsFusionHead

__all__ = ['BranchLogits', 'LogitsFusionHead']
