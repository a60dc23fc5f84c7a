"""Order of the training samples."""

import math
from collections.abc import Sized
from typing import Any

from mmengine.dataset import DefaultSampler, RepeatDataset
from mmpretrain.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class FewShotSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` that tells the data set which epoch it is.

    The order is a function of (seed, epoch); ``DistSamplerSeedHook``, one of mmengine's default hooks, announces the
    epoch. Ranks take turns through the one order, so that their batches of size ``B`` are together the batches of size
    ``ranks * B`` of one process. Once the sampler knows ``B`` (:meth:`deal_batches`), that is so for the last, smaller
    one as well, and the shares of it differ by at most one sample.

    Args:
        dataset (Sized): The data set; its ``set_epoch(epoch)`` is called where it has one.
        shuffle (bool): Draw a new order every epoch. Defaults to True.
        seed (int, optional): Seed of the order, the same in all processes. The Runner passes its own. Defaults to the
            data set's ``augment_seed``.
        round_up (bool): Repeat samples so that all ranks have equally many; after :meth:`deal_batches` only where some
            rank would otherwise have none in the last batch. Defaults to True.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True):
        check_wrappers(dataset)
        if seed is None:
            seed = getattr(dataset, 'augment_seed', None)
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)

    def deal_batches(self, batch_size: int) -> None:
        """Repeat samples only where a rank would otherwise be without one, which the others would wait for.

        A sample that is repeated counts twice where samples are compared with each other. :class:`EqualBatchesHook`
        calls this for trainings. The number of batches stays the same.

        Args:
            batch_size (int): Of each rank, ``B``. The last batch must not be dropped.
        """
        samples = len(self.dataset)
        if not self.round_up or 0 < samples % (self.world_size * batch_size) < self.world_size:
            return
        self.num_samples = math.ceil((samples - self.rank) / self.world_size)
        self.total_size = samples

    @property
    def num_repeated(self) -> int:
        """int: Samples that an epoch shows once more."""
        return self.total_size - len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Use the order of ``epoch``, counted from 0, and let the data set use its augmentations."""
        super().set_epoch(epoch)
        announce_epoch(self.dataset, epoch)


def announce_epoch(dataset: Any, epoch: int) -> bool:
    """Tell a data set, or those that it wraps, which epoch it is.

    Args:
        dataset (Dataset): mmengine's and torch's wrappers keep what they wrap as ``dataset`` or ``datasets``.
        epoch (int): Counted from 0.

    Returns:
        bool: Whether there is one that wants to know.
    """
    if hasattr(dataset, 'set_epoch'):
        dataset.set_epoch(epoch)
        return True
    return any([announce_epoch(inner, epoch) for inner in _wrapped(dataset)])


def check_wrappers(dataset: Any) -> None:
    """Refuse a wrapper that would show the same view of a picture several times in an epoch.

    A sample of :class:`FewShotDataset` is a function of epoch and index: copies within one epoch are equal. Rare classes
    that ``ClassBalancedDataset`` shows more often are meant to weigh more, and may be.

    Args:
        dataset (Dataset): What is trained on.

    Raises:
        ValueError: If a ``RepeatDataset`` is wrapped around a data set that draws its views by the epoch.
    """
    if isinstance(dataset, RepeatDataset) and any(map(_wants_epochs, _wrapped(dataset))):
        raise ValueError(
            f'RepeatDataset(times={dataset.times}) would show every picture {dataset.times} times in an epoch, and each time '
            'the same views of it; leave it out and train for as many more epochs (train_cfg.max_epochs)'
        )
    for inner in _wrapped(dataset):
        check_wrappers(inner)


def _wants_epochs(dataset):
    return hasattr(dataset, 'set_epoch') or any(map(_wants_epochs, _wrapped(dataset)))


def _wrapped(dataset):
    inner = getattr(dataset, 'dataset', None)
    return [*(getattr(dataset, 'datasets', None) or []), *([] if inner is None else [inner])]
