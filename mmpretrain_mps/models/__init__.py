"""Models of mmpretrain_mps."""
from .backbones import DualBranchViT, PromptableViT
from .classifiers import LinearProbeClassifier, MPSCLIPClassifier
from .heads import LogitsFusionHead
from .losses import GramAlignLoss, HierarchicalSculptLoss, LogitConsistencyLoss, PointAlignLoss

__all__ = ['DualBranchViT', 'GramAlignLoss', 'HierarchicalSculptLoss', 'LinearProbeClassifier',
           'LogitConsistencyLoss', 'LogitsFusionHead', 'MPSCLIPClassifier', 'PointAlignLoss', 'PromptableViT']
