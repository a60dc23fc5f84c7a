"""Backbones of mmpretrain_mps."""

from .dual_branch_vit import BranchFeatures, DualBranchViT
from .promptable_vit import PromptableViT, VisionFeatures

__all__ = ['BranchFeatures', 'DualBranchViT', 'PromptableViT', 'VisionFeatures']
