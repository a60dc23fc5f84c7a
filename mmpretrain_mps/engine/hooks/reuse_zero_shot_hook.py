"""Frozen features of validation pictures, computed once per run."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS

_BYTES_PER_MB = 2**20


class KeptFeatures:
    """Features by sample index, up to a limit.

    Args:
        limit_mb (float): In MiB.
    """

    def __init__(self, limit_mb):
        self._left = limit_mb * _BYTES_PER_MB
        self._features = {}

    def __len__(self):
        return len(self._features)

    def get(self, indices, device):
        """Return the features ``(B, D)`` of samples, or None unless all of them are kept."""
        if any(index not in self._features for index in indices):
            return None
        return torch.stack([self._features[index] for index in indices]).to(device)

    def put(self, indices, features):
        """Keep features ``(B, D)``, on the host, if they fit."""
        size = features.numel() * features.element_size()
        if size <= self._left:
            self._left -= size
            self._features.update(zip(indices, features.cpu()))


@HOOKS.register_module()
class ReuseZeroShotHook(Hook):
    """Let repeated validations of a run cost the tuned branch alone.

    The frozen branch gives a picture the same features at every validation. The first one keeps them in memory, 2 kB for
    each picture with ViT-B/16; they belong to this run's model and to one data set with its pipeline, which must not be
    random. Predictions are equal to the last bit.

    Args:
        limit_mb (float): Bound of what is kept of each data set, in MiB; pictures beyond it are computed every time.

    Raises:
        ValueError: If the limit is negative.
    """

    def __init__(self, limit_mb=256):
        if limit_mb < 0:
            raise ValueError(f'limit_mb must not be negative, but is {limit_mb}')
        self.limit_mb = limit_mb
        self._kept = {}

    def before_val_epoch(self, runner):
        """Hand the model what is kept of the data set that it is about to see.

        Args:
            runner (Runner): The runner of the training.
        """
        dataset = runner.val_dataloader.dataset
        # The data set itself is the key's other half: an id alone could come back with another one.
        _, kept = self._kept.setdefault(id(dataset), (dataset, KeptFeatures(self.limit_mb)))
        _unwrap(runner.model).kept_zero_shot = kept

    def after_val_epoch(self, runner, metrics=None):
        """Take it back: other pictures have the same indices."""
        _unwrap(runner.model).kept_zero_shot = None


def _unwrap(model):
    return model.module if is_model_wrapper(model) else model
