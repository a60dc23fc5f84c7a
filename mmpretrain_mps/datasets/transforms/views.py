"""Several independent augmentations of one decoded picture."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from mmpretrain.datasets.transforms import MultiView
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DualView(MultiView):
    """Augment one picture ``num_views`` times, independently.

    Reading stands before this transform in the pipeline, so that a picture is decoded once. Afterwards ``img`` is a
    list of ``num_views`` arrays, which ``PackInputs`` and ``default_collate`` turn into a list of batches. With
    ``reference`` the picture without augmentation follows as the last item of that list.

    Args:
        transforms (Sequence[dict | callable]): The augmentation, the same for all views but drawn anew for each.
        num_views (int): Number of views. Defaults to 2.
        reference (Sequence[dict | callable], optional): What makes the picture without augmentation, of equal size.
            Only models that say so (``takes_reference``) know what to do with it. Defaults to none.
    """

    def __init__(
        self, transforms: Sequence[dict | Callable], num_views: int = 2, reference: Sequence[dict | Callable] | None = None
    ):
        if isinstance(num_views, bool) or not isinstance(num_views, int) or num_views < 1:
            raise ValueError(f'num_views is {num_views!r}, expected a whole number of at least 1.')
        # Built here, because the parent's Compose looks names up in the default scope, which scripts need not set.
        steps = [
            [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]
            for pipeline in (transforms, *([] if reference is None else [reference]))
        ]
        super().__init__(steps, [num_views, 1][: len(steps)])

    @property
    def has_reference(self) -> bool:
        """bool: Whether the last view is the picture without augmentation."""
        return len(self.pipelines) > 1

    def transform(self, results: dict) -> dict:
        """Replace ``img`` by the list of views, and ``img_shape`` by the shape of a view."""
        results = super().transform(results)
        results['img_shape'] = results['img'][0].shape[:2]
        return results


def with_views(pipeline: Sequence[dict], num_views: int | None = None, reference: str | None = None, **changes: Any) -> list:
    """Draw other views in a pipeline that has a :class:`DualView`.

    Args:
        pipeline (Sequence[dict]): Configs of transforms.
        num_views (int, optional): Number of views. Defaults to that of the pipeline.
        reference (str, optional): Resize mode of :class:`CLIPTestTransform`, which makes the picture without
            augmentation of the model's size, see :class:`DualView`. Defaults to what the pipeline has.
        **changes: Arguments of the :class:`CLIPTrainTransform` in it, such as ``scale``.

    Returns:
        list[dict]: A changed copy.

    Raises:
        ValueError: If there is no ``DualView``, or no ``CLIPTrainTransform`` in it that could be changed.
    """
    changed = copy.deepcopy(list(pipeline))
    kinds = [step.get('type') for step in changed]
    views = [step for step in changed if step.get('type') in ('DualView', DualView)]
    augmentations = [step for view in views for step in view['transforms'] if step.get('type') == 'CLIPTrainTransform']
    of_clip = changes or reference is not None
    if not views or (of_clip and not augmentations):
        found = kinds if not views else [step.get('type') for view in views for step in view['transforms']]
        raise ValueError(
            f'views need a DualView{" of CLIPTrainTransform" if of_clip else ""} in the pipeline, but it has '
            f'{found}; leave views out, or give the data set a training pipeline.'
        )
    for view in views:
        view.update({} if num_views is None else dict(num_views=num_views))
        if reference is not None:
            clip = {key: augmentations[0][key] for key in ('architecture', 'pretrained') if key in augmentations[0]}
            view['reference'] = [dict(type='CLIPTestTransform', resize_mode=reference, **clip)]
    for augmentation in augmentations:
        augmentation.update(changes)
    return changed
