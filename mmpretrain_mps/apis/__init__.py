"""Use of tuned models in programs."""
from .inferencer import MPSInferencer

__all__ = ['MPSInferencer']
