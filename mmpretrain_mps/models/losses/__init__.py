"""Losses of mmpretrain_mps."""

from .gram_align_loss import GramAlignLoss, gram_distance, gram_distances
from .hierarchical_sculpt_loss import HierarchicalSculptLoss, sculpt_loss
from .point_losses import LogitConsistencyLoss, PointAlignLoss, PointConstraint, logit_divergences, point_distances

__all__ = [
    'GramAlignLoss',
    'HierarchicalSculptLoss',
    'LogitConsistencyLoss',
    'PointAlignLoss',
    'PointConstraint',
    'gram_distance',
    'gram_distances',
    'logit_divergences',
    'point_distances',
    'sculpt_loss',
]
