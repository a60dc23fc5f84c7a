"""Labels as programs have them, and names as CLIP reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..datasets.split_readers import readable_name


def places_of(sources: Sequence, labels: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Sort labels out.

    Args:
        sources (Sequence): ``N`` pictures.
        labels (Sequence): Their labels, texts or whole numbers.

    Returns:
        tuple[ndarray, ndarray]: The different labels, sorted; the place among them of every label.

    Raises:
        ValueError: If numbers differ, there are fewer than two classes, or labels are something else.
    """
    given = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels))
    if given.ndim != 1 or len(given) != len(sources):
        raise ValueError(
            f'there are {len(sources)} pictures but labels of the shape {given.shape}; expected one label per picture'
        )
    if given.dtype.kind == 'O' and all(isinstance(label, str) for label in given):
        given = given.astype(str)
    if given.dtype.kind not in 'Uiub':
        raise ValueError(f'labels are of the kind {given.dtype}, expected texts or whole numbers')
    classes, places = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f'there is one class alone, {classes[0]!s}; expected pictures of two or more')
    return classes, places


def class_names_of(classes: np.ndarray, class_names: Sequence[str] | dict[Any, str] | None) -> list[str]:
    """Return the name of every class.

    Args:
        classes (ndarray): Sorted labels.
        class_names (Sequence[str] | dict, optional): Names in the order of the labels, or by label. Numbers count from 0.

    Returns:
        list[str]: One per class.

    Raises:
        ValueError: If labels are numbers without names, or a name is missing.
    """
    labels = classes.tolist()
    if class_names is None:
        if classes.dtype.kind != 'U':
            raise ValueError(
                f'the labels are numbers ({", ".join(map(str, labels[:5]))}), but CLIP reads names: give '
                'class_names=[...], or labels that are names'
            )
        return [readable_name(label) for label in labels]
    if isinstance(class_names, str):
        raise ValueError(f'class_names is the text {class_names!r}, expected a list of names')
    if isinstance(class_names, dict):
        names = class_names
    elif classes.dtype.kind in 'iu':
        names = dict(enumerate(class_names))
    else:
        if len(class_names) != len(labels):
            raise ValueError(
                f'class_names has {len(class_names)} names, but there are {len(labels)} classes: '
                f'{", ".join(map(str, labels[:10]))}'
            )
        names = dict(zip(labels, class_names))
    missing = [label for label in labels if label not in names]
    if missing:
        raise ValueError(f'class_names has no name for the labels {", ".join(map(str, missing[:5]))}')
    return [names[label] for label in labels]
