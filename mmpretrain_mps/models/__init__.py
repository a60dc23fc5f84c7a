"""Models of mmpretrain_mps."""
from .backbones import DualBranchViT, FrozenViT
from .classifiers import LinearProbeClassifier, MPSCLIPClassifier
from .heads import LogitsFusionHead
from .losses import GramAlignLoss, HierarchicalSculptLoss, LogitConsistencyLoss, PointAlignLoss

__all__ = ['DualBranchViT', 'FrozenViT', 'GramAlignLoss', 'HierarchicalSculptLoss', 'LinearProbeClassifier',
           'LogitConsistencyLoss', 'LogitsFusionHead', 'MPSCLIPClassifier', 'PointAlignLoss']
