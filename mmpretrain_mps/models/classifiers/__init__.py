"""Classifiers of mmpretrain_mps."""
from .linear_probe_classifier import LinearProbeClassifier
from .mps_clip_classifier import MPSCLIPClassifier

__all__ = ['LinearProbeClassifier', 'MPSCLIPClassifier']
