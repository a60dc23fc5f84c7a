"""Metrics of mmpretrain_mps."""
from .alpha_sweep import AlphaSweep
from .branch_accuracy import BranchAccuracy
from .calibration_error import CalibrationError, expected_calibration_error

__all__ = ['AlphaSweep', 'BranchAccuracy', 'CalibrationError', 'expected_calibration_error']
