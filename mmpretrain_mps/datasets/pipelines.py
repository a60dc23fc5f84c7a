"""The two pipelines that the configs of all data sets are made of.

They call it through ``__import__``, since mmengine takes an import statement for another kind of config.
"""

from typing import Any


def clip_pipelines(
    architecture: str,
    pretrained: str | None,
    scale: tuple[float, float] = (0.3, 1.0),
    flip_prob: float = 0.5,
    **loading: Any,
) -> tuple[list[dict], list[dict]]:
    """Return the pipelines of a data set: two augmented views of each picture in training, CLIP's own preprocessing in a test.

    Args:
        architecture (str): Of the CLIP, whose preprocessing it is.
        pretrained (str, optional): Its weights.
        scale (tuple[float, float]): Share of a picture's area that a view shows, smallest and largest.
        flip_prob (float): How often a view is mirrored, 0 to 1.
        **loading: Arguments of :class:`LoadRGBImage`.

    Returns:
        tuple[list[dict], list[dict]]: Configs of the transforms, for training and for testing.
    """
    clip = dict(architecture=architecture, pretrained=pretrained)
    view = dict(type='CLIPTrainTransform', **clip, scale=scale, flip_prob=flip_prob)
    load, pack = dict(type='LoadRGBImage', **loading), dict(type='PackInputs')
    train = [load, dict(type='DualView', num_views=2, transforms=[view]), pack]
    return train, [dict(load), dict(type='CLIPTestTransform', **clip), dict(pack)]
