"""What a training pipeline would draw for its views, without their pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmpretrain.datasets.transforms import PackInputs

from .transforms import CLIPTestTransform, CLIPTrainTransform, DualView

_NEEDED = (
    'views on the device need a pipeline of a transform that loads, a CLIPTrainTransform or a DualView of one, and PackInputs'
)


class ViewBoxes:
    """Draws crop boxes and flips in the place of views, from the same random numbers.

    Args:
        transforms (Sequence[callable]): The pipeline: loading, a :class:`CLIPTrainTransform` or a :class:`DualView` of
            one, whose reference may be a picture that is squashed to size, and ``PackInputs``.
        sizes (Sequence[tuple[int, int]]): Height and width of each decoded picture.

    Raises:
        ValueError: If the pipeline has any other steps, whose work would not be done.
    """

    def __init__(self, transforms: Sequence[Callable], sizes: Sequence[tuple[int, int]]):
        self._augmentation, self._num_views, self._has_reference = _parse(list(transforms))
        self._pack, self._sizes = transforms[-1], [tuple(map(int, size)) for size in sizes]

    @property
    def size(self) -> tuple[int, int]:
        """tuple[int, int]: Height and width of a view."""
        return self._augmentation.size

    @property
    def interpolation(self) -> str:
        """str: How views are resized."""
        return self._augmentation.interpolation

    def load(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Draw the views of a picture.

        Args:
            entry (dict): What the pipeline is given, with ``sample_idx``.

        Returns:
            dict: ``inputs``: a dict of ``pictures``, the number of the picture, and ``boxes``, int64: top, left, height,
            width and flip of a view ``(5,)``, or of the views of a ``DualView``, ``(V, 5)``. ``data_samples`` as the
            pipeline gives it.
        """
        index = entry['sample_idx']
        height, width = self._sizes[index]
        results = dict(entry, ori_shape=(height, width), img_shape=self.size)
        if self._num_views is None:
            box, of_flip = self._augmentation.draw((height, width))
            boxes = torch.tensor(box)
            results.update(of_flip)
        else:
            drawn = [self._augmentation.draw((height, width))[0] for _ in range(self._num_views)]
            boxes = torch.tensor(drawn + [(0, 0, height, width, 0)] * self._has_reference)
        packed = self._pack(dict(results, img=boxes))
        return dict(packed, inputs=dict(pictures=torch.tensor(index), boxes=packed['inputs']))


def _parse(transforms):
    """Return the augmentation, the number of its views (None without a DualView) and whether a squashed picture follows."""
    names = [type(step).__name__ for step in transforms]
    if len(transforms) != 3 or type(transforms[2]) is not PackInputs:
        raise ValueError(f'{_NEEDED}, but found {names}')
    views = transforms[1]
    if type(views) is CLIPTrainTransform:
        return views, None, False
    if type(views) is not DualView:
        raise ValueError(f'{_NEEDED}, but found {names}')
    augmentation, *references = [list(pipeline.transforms) for pipeline in views.pipelines]
    if [type(step) for step in augmentation] != [CLIPTrainTransform]:
        raise ValueError(f'{_NEEDED}, but found DualView of {[type(step).__name__ for step in augmentation]}')
    for steps in references:
        squashes = (len(steps) == 1 and type(steps[0]) is CLIPTestTransform and steps[0].preprocess.resize_mode == 'squash') and (
            steps[0].size,
            steps[0].interpolation,
        ) == (augmentation[0].size, augmentation[0].interpolation)
        if not squashes:
            raise ValueError(
                'views on the device need a reference of a CLIPTestTransform with resize_mode=squash to the size of the views, '
                f'but found {steps}'
            )
    return augmentation[0], views.num_views[0], bool(references)
