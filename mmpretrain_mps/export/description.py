"""What an exported file says of itself, so that nothing but the file is needed to use it."""

from typing import Any

from ..version import __version__

EXPORT_FORMAT = 'mmpretrain_mps-export-1'
PIPELINE = ('LoadRGBImage', 'CLIPTestTransform', 'PackInputs')


def describe_export(classifier: Any) -> dict[str, Any]:
    """Describe a classifier in plain values.

    Args:
        classifier (FewShotClassifier): Fitted.

    Returns:
        dict: Classes, what decides predictions, how pictures are prepared, and what it was made from.

    Raises:
        ValueError: If pictures are prepared in a way that this has no words for.
    """
    model = classifier.model_
    return dict(
        format=EXPORT_FORMAT,
        version=__version__,
        method=classifier.method,
        architecture=model.architecture,
        pretrained=model.pretrained,
        labels=classifier.classes_.tolist(),
        class_names=list(model.class_names),
        templates=list(model.templates),
        preprocessing=_describe_preprocessing(classifier._pipeline.transforms, model),
        temperature=classifier.temperature_,
        threshold=classifier.threshold_,
        conformal_level=classifier.conformal_level_,
        alpha=model.head.alpha,
        fusion=model.head.fusion,
        logit_scale=model.logit_scale,
    )


def _describe_preprocessing(steps: list[Any], model: Any) -> dict[str, Any]:
    """Return how a picture becomes numbers: size, resizing, and normalisation of RGB on a scale of 0 to 1."""
    found = tuple(type(step).__name__ for step in steps)
    if found != PIPELINE:
        raise ValueError(
            f'pictures are prepared by {", ".join(found)}, but exported files can describe '
            f'{", ".join(PIPELINE)} alone; use the pipeline of the configs'
        )
    load, resize, _ = steps
    wanted, size = resize.preprocess, resize.size
    if wanted.resize_mode == 'longest' or (wanted.resize_mode == 'shortest' and size[0] != size[1]):
        raise ValueError(
            f'pictures are resized in the mode {wanted.resize_mode!r} to {size} pixels (height, width), but exported '
            "files can describe 'shortest' to a square and 'squash' alone; set resize_mode of CLIPTestTransform"
        )
    normalisation = {name: (getattr(model.data_preprocessor, name).flatten() / 255).tolist() for name in ('mean', 'std')}
    return dict(
        exif=load.exif,
        background=load.background,
        image_size=list(size),
        resize_mode=wanted.resize_mode,
        interpolation=resize.interpolation,
        **normalisation,
    )
