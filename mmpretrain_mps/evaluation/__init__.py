"""Metrics of mmpretrain_mps."""

from .alpha_sweep import AlphaSweep
from .branch_accuracy import BranchAccuracy
from .calibration_error import CalibrationError, expected_calibration_error
from .class_separability import ClassSeparability
from .gram_distortion import GramDistortion
from .gromov_wasserstein import GromovWassersteinDistance

__all__ = [
    'AlphaSweep',
    'BranchAccuracy',
    'CalibrationError',
    'ClassSeparability',
    'GramDistortion',
    'GromovWassersteinDistance',
    'expected_calibration_error',
]
