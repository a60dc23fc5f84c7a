"""Heads of mmpretrain_mps."""

from .logits_fusion_head import FUSIONS, BranchLogits, LogitsFusionHead, check_alpha, fuse_logits

__all__ = ['FUSIONS', 'BranchLogits', 'LogitsFusionHead', 'check_alpha', 'fuse_logits']
