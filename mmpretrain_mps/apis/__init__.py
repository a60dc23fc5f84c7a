"""Use of tuned models in programs."""

from .classifier import FewShotClassifier
from .inferencer import MPSInferencer

__all__ = ['FewShotClassifier', 'MPSInferencer']
