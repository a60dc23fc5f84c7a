"""Several independent augmentations of one decoded picture."""
from typing import Callable, Sequence, Union

from mmpretrain.datasets.transforms import MultiView
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DualView(MultiView):
    """Augment one picture ``num_views`` times, independently.

    Reading stands before this transform in the pipeline, so that a picture is decoded once. Afterwards ``img`` is a
    list of ``num_views`` arrays, which ``PackInputs`` and ``default_collate`` turn into a list of batches.

    Args:
        transforms (Sequence[dict | callable]): The augmentation, the same for all views but drawn anew for each.
        num_views (int): Number of views. Defaults to 2.
    """

    def __init__(self, transforms: Sequence[Union[dict, Callable]], num_views: int = 2):
        if isinstance(num_views, bool) or not isinstance(num_views, int) or num_views < 1:
            raise ValueError(f'num_views is {num_views!r}, expected a whole number of at least 1.')
        # Built here, because the parent's Compose looks names up in the default scope, which scripts need not set.
        super().__init__([[TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]], num_views)

    def transform(self, results: dict) -> dict:
        """Replace ``img`` by the list of views, and ``img_shape`` by the shape of a view."""
        results = super().transform(results)
        results['img_shape'] = results['img'][0].shape[:2]
        return results
