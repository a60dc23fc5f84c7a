"""Backbones of mmpretrain_mps."""
from .dual_branch_vit import BranchFeatures, DualBranchViT

__all__ = ['BranchFeatures', 'DualBranchViT']
