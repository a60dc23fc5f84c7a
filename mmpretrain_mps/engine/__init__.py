"""Engine of mmpretrain_mps: hooks, optimizer wrapper, schedules, start of distributed runs."""

from .hooks import (
    AtomicCheckpointHook,
    ClassNamesHook,
    EpochAverageHook,
    PlainCheckpointHook,
    TemperatureHook,
    WeightInterpolationHook,
)
from .loops import DomainGeneralizationLoop, LinearProbeLoop, StepBudgetTrainLoop
from .optim_wrapper import DeviceAmpOptimWrapper, TrainableOptimWrapperConstructor
from .schedulers import FirstEpochWarmupLR
from .sharding import ShardedDataParallel

__all__ = [
    'AtomicCheckpointHook',
    'ClassNamesHook',
    'DeviceAmpOptimWrapper',
    'DomainGeneralizationLoop',
    'EpochAverageHook',
    'FirstEpochWarmupLR',
    'LinearProbeLoop',
    'PlainCheckpointHook',
    'ShardedDataParallel',
    'StepBudgetTrainLoop',
    'TemperatureHook',
    'TrainableOptimWrapperConstructor',
    'WeightInterpolationHook',
]
