"""A fixed number of pre-drawn views per picture, out of which every epoch takes some."""

from typing import Any

import torch
from mmengine.dataset import Compose

from .seeding import seeded
from .transforms import DualView

# In place of an epoch in the keys of random numbers, which count from 0: the view bank, and the views that a memory or a
# layer starts from.
_NO_EPOCH = -1
START_STREAM = -2


class PreDrawnViews:
    """Which views there are and which of them an epoch shows; both are functions of the seed.

    The views of a picture are drawn one after the other from one random stream: of two banks with the same seed, the
    smaller one holds the first views of the larger one.

    Args:
        pipeline (Compose): With one :class:`DualView`, whose views are drawn ``size`` times instead.
        size (int): Views per picture, ``V``.
        pictures (int): Pictures of the data set, ``N``.
        seed (int): Seed of the augmentation.
        stream (int): Below 0; other streams draw other views.
        setting (str): What asks for them, as errors name it.

    Raises:
        ValueError: If the pipeline has no or several ``DualView``, or one with a picture without augmentation, or
            ``size`` is below its number of views.
    """

    def __init__(
        self, pipeline: Compose, size: int, pictures: int, seed: int, stream: int = _NO_EPOCH, setting: str = 'view_bank'
    ):
        transforms = list(getattr(pipeline, 'transforms', ()))
        positions = [position for position, transform in enumerate(transforms) if isinstance(transform, DualView)]
        if len(positions) != 1:
            raise ValueError(
                f'{setting}={size} needs a pipeline with one DualView, whose views are drawn beforehand, '
                f'but found {len(positions)} among {[type(step).__name__ for step in transforms]}.'
            )
        views = transforms[positions[0]]
        if views.has_reference:
            raise ValueError(
                f'view_bank={size} draws views of one kind, but DualView also has a reference, the picture '
                'without augmentation; leave one of them out.'
            )
        self.num_views = len(views.transforms)
        if size < self.num_views:
            raise ValueError(
                f'{setting} is {size}, expected at least num_views={self.num_views} of DualView, since an '
                'epoch shows so many different views of a picture.'
            )
        transforms[positions[0]] = DualView(views.transforms[:1], size)
        self._pipeline = Compose(transforms)
        self.size, self._pictures, self._seed, self._stream = size, pictures, seed, stream
        self._last: tuple[int | None, torch.Tensor] = None, torch.empty(0)

    def load(self, record: dict[str, Any]) -> torch.Tensor:
        """Draw all views of a picture.

        Args:
            record (dict): What the pipeline is given.

        Returns:
            Tensor: ``(V, 3, H, W)``, uint8.
        """
        with seeded(self._seed, self._stream, record['sample_idx']):
            return torch.stack(self._pipeline(dict(record))['inputs'])

    def shown(self, epoch: int) -> torch.Tensor:
        """Say which views an epoch shows.

        Args:
            epoch (int): From 0.

        Returns:
            Tensor: Numbers of different views for each picture, ``(N, num_views)``, int64.
        """
        if self._last[0] != epoch:
            with seeded(self._seed, _NO_EPOCH, _NO_EPOCH, epoch):
                order = torch.rand(self._pictures, self.size).argsort(dim=1, stable=True)
            self._last = epoch, order[:, : self.num_views].contiguous()
        return self._last[1]
