"""Hooks of mmpretrain_mps."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_hooks import PlainCheckpointHook
from .class_names_hook import ClassNamesHook
from .device_views_hook import DeviceViewsHook
from .epoch_average_hook import EpochAverageHook
from .equal_batches_hook import EqualBatchesHook
from .finite_loss_hook import FiniteLossHook
from .interruption_hook import InterruptionHook
from .interval_runtime_info_hook import IntervalRuntimeInfoHook
from .mid_epoch_hook import MidEpochHook
from .precision_hook import PrecisionHook
from .processes_hook import ProcessesHook
from .reuse_zero_shot_hook import ReuseZeroShotHook
from .short_cuts_hook import ShortCutsHook
from .temperature_hook import TemperatureHook
from .test_features_hook import TestFeaturesHook
from .view_bank_hook import ViewBankHook
from .weight_interpolation_hook import WeightInterpolationHook

__all__ = [
    'AtomicCheckpointHook',
    'ClassNamesHook',
    'DeviceViewsHook',
    'EpochAverageHook',
    'EqualBatchesHook',
    'FiniteLossHook',
    'InterruptionHook',
    'IntervalRuntimeInfoHook',
    'MidEpochHook',
    'PlainCheckpointHook',
    'PrecisionHook',
    'ProcessesHook',
    'ReuseZeroShotHook',
    'ShortCutsHook',
    'TemperatureHook',
    'TestFeaturesHook',
    'ViewBankHook',
    'WeightInterpolationHook',
]
