"""Backbones of mmpretrain_mps."""
from .dual_branch_vit import BranchFeatures, DualBranchViT
from .frozen_vit import FrozenViT

__all__ = ['BranchFeatures', 'DualBranchViT', 'FrozenViT']
