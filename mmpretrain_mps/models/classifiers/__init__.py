"""Classifiers of mmpretrain_mps."""
from .mps_clip_classifier import MPSCLIPClassifier

__all__ = ['MPSCLIPClassifier']
