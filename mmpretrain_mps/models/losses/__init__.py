"""Losses of mmpretrain_mps."""
from .gram_align_loss import GramAlignLoss, gram_distance, gram_distances
from .hierarchical_sculpt_loss import HierarchicalSculptLoss, sculpt_loss

__all__ = ['GramAlignLoss', 'HierarchicalSculptLoss', 'gram_distance', 'gram_distances', 'sculpt_loss']
