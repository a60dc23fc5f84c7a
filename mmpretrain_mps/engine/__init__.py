"""Engine of mmpretrain_mps: hooks, optimizer wrapper, schedules, start of distributed runs."""
from .hooks import AtomicCheckpointHook, ClassNamesHook, PlainCheckpointHook, TemperatureHook
from .loops import DomainGeneralizationLoop
from .optim_wrapper import DeviceAmpOptimWrapper, TrainableOptimWrapperConstructor
from .schedulers import FirstEpochWarmupLR
from .sharding import ShardedDataParallel

__all__ = [
    'AtomicCheckpointHook', 'ClassNamesHook', 'DeviceAmpOptimWrapper', 'DomainGeneralizationLoop', 'FirstEpochWarmupLR',
    'PlainCheckpointHook', 'ShardedDataParallel', 'TemperatureHook', 'TrainableOptimWrapperConstructor'
]
