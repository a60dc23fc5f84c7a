"""Classifiers of mmpretrain_mps."""

from .amu_tuning import AMUTuningClassifier
from .clip_adapter import CLIPAdapterClassifier
from .clip_classifier import CLIPClassifier
from .clip_lora import CLIPLoRAClassifier
from .coop import CoOpClassifier
from .linear_probe_classifier import LinearProbeClassifier
from .mps_clip_classifier import MPSCLIPClassifier
from .promptsrc import PromptSRCClassifier
from .tac import TACClassifier
from .tcp import TCPClassifier
from .textrefiner import TCPTextRefinerClassifier, TextRefinerClassifier
from .tip_adapter import TipAdapterClassifier
from .zero_shot_classifier import ZeroShotClassifier

__all__ = [
    'AMUTuningClassifier',
    'CLIPAdapterClassifier',
    'CLIPClassifier',
    'CLIPLoRAClassifier',
    'CoOpClassifier',
    'LinearProbeClassifier',
    'MPSCLIPClassifier',
    'PromptSRCClassifier',
    'TACClassifier',
    'TCPClassifier',
    'TCPTextRefinerClassifier',
    'TextRefinerClassifier',
    'TipAdapterClassifier',
    'ZeroShotClassifier',
]
