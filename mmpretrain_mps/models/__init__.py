"""Models of mmpretrain_mps."""
from .backbones import DualBranchViT
from .classifiers import MPSCLIPClassifier
from .heads import LogitsFusionHead
from .losses import GramAlignLoss, HierarchicalSculptLoss

__all__ = ['DualBranchViT', 'GramAlignLoss', 'HierarchicalSculptLoss', 'LogitsFusionHead', 'MPSCLIPClassifier']
