"""Order of the training samples."""
from typing import Optional, Sized

from mmengine.dataset import DefaultSampler
from mmpretrain.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class FewShotSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` that tells the data set which epoch it is.

    The order is a function of (seed, epoch); ``DistSamplerSeedHook``, one of mmengine's default hooks, announces the
    epoch. Ranks take turns through the one order.

    Args:
        dataset (Sized): The data set; its ``set_epoch(epoch)`` is called where it has one.
        shuffle (bool): Draw a new order every epoch. Defaults to True.
        seed (int, optional): Seed of the order, the same in all processes. The Runner passes its own. Defaults to the
            data set's ``augment_seed``.
        round_up (bool): Repeat samples so that all ranks have equally many. Defaults to True.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: Optional[int] = None, round_up: bool = True):
        if seed is None:
            seed = getattr(dataset, 'augment_seed', None)
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)

    def set_epoch(self, epoch: int) -> None:
        """Use the order of ``epoch``, counted from 0, and let the data set use its augmentations."""
        super().set_epoch(epoch)
        if hasattr(self.dataset, 'set_epoch'):
            self.dataset.set_epoch(epoch)
