"""Hooks of mmpretrain_mps."""
from .checkpoint_hooks import AtomicCheckpointHook, PlainCheckpointHook
from .class_names_hook import ClassNamesHook
from .epoch_average_hook import EpochAverageHook
from .equal_batches_hook import EqualBatchesHook
from .interval_runtime_info_hook import IntervalRuntimeInfoHook
from .precision_hook import PrecisionHook
from .processes_hook import ProcessesHook
from .reuse_zero_shot_hook import ReuseZeroShotHook
from .short_cuts_hook import ShortCutsHook
from .temperature_hook import TemperatureHook
from .test_features_hook import TestFeaturesHook
from .view_bank_hook import ViewBankHook
from .weight_interpolation_hook import WeightInterpolationHook

__all__ = ['AtomicCheckpointHook', 'ClassNamesHook', 'EpochAverageHook', 'EqualBatchesHook', 'IntervalRuntimeInfoHook',
           'PlainCheckpointHook', 'PrecisionHook', 'ProcessesHook', 'ReuseZeroShotHook', 'ShortCutsHook',
           'TemperatureHook', 'TestFeaturesHook', 'ViewBankHook', 'WeightInterpolationHook']
