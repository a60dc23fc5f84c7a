"""Classifiers of mmpretrain_mps."""
from .clip_classifier import CLIPClassifier
from .linear_probe_classifier import LinearProbeClassifier
from .mps_clip_classifier import MPSCLIPClassifier
from .zero_shot_classifier import ZeroShotClassifier

__all__ = ['CLIPClassifier', 'LinearProbeClassifier', 'MPSCLIPClassifier', 'ZeroShotClassifier']
