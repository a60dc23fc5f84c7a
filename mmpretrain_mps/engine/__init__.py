"""Engine of mmpretrain_mps: hooks, optimizer wrapper, schedules, start of distributed runs."""
from .hooks import AtomicCheckpointHook, ClassNamesHook, PlainCheckpointHook, TemperatureHook, WeightInterpolationHook
from .loops import DomainGeneralizationLoop, LinearProbeLoop
from .optim_wrapper import DeviceAmpOptimWrapper, TrainableOptimWrapperConstructor
from .schedulers import FirstEpochWarmupLR
from .sharding import ShardedDataParallel

__all__ = [
    'AtomicCheckpointHook', 'ClassNamesHook', 'DeviceAmpOptimWrapper', 'DomainGeneralizationLoop', 'FirstEpochWarmupLR',
    'LinearProbeLoop', 'PlainCheckpointHook', 'ShardedDataParallel', 'TemperatureHook',
    'TrainableOptimWrapperConstructor', 'WeightInterpolationHook'
]
