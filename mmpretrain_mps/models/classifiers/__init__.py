"""Classifiers of mmpretrain_mps."""
from .clip_classifier import CLIPClassifier
from .coop_classifier import CoOpClassifier
from .linear_probe_classifier import LinearProbeClassifier
from .mps_clip_classifier import MPSCLIPClassifier
from .prompt_classifier import PromptClassifier
from .tcp_classifier import TCPClassifier
from .zero_shot_classifier import ZeroShotClassifier

__all__ = ['CLIPClassifier', 'CoOpClassifier', 'LinearProbeClassifier', 'MPSCLIPClassifier', 'PromptClassifier',
           'TCPClassifier', 'ZeroShotClassifier']
