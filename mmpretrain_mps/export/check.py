"""Whether an exported file predicts what the classifier does, on pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..apis.calibration import probabilities_of
from ..apis.prediction import Predictions

TOLERANCE = 1e-4


def sample_pictures() -> list[np.ndarray]:
    """Return parts of the two photographs that scikit-learn brings: wide, high and square, uint8 RGB ``(H, W, 3)``."""
    from sklearn.datasets import load_sample_images  # a part of scikit-learn that nothing else needs

    temple, flower = load_sample_images().images
    return [temple, flower[:, 200:440], flower[:300, :300], temple[100:180, 50:600]]


def prepared_pictures(pipeline: Any, sources: Sequence, how: dict[str, Any]) -> np.ndarray:
    """Prepare pictures with the numbers that the file will state, not with those of the model.

    Args:
        pipeline (Compose): Of the classifier; resizes and crops.
        sources (Sequence): ``N`` pictures.
        how (dict): Of the description.

    Returns:
        ndarray: Normalised, float32 ``(N, 3, H, W)``.
    """
    pixels = [
        pipeline(dict(img_path=source) if isinstance(source, str) else dict(img=source, img_path=None))['inputs']
        for source in sources
    ]
    mean, std = (np.float32(how[name]).reshape(3, 1, 1) for name in ('mean', 'std'))
    return (np.stack(pixels).astype(np.float32) / 255 - mean) / std


def check_agreement(
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    images: np.ndarray,
    expected: Predictions,
    about: dict[str, Any],
    path: Path,
) -> None:
    """Compare what a file predicts with what the classifier does, all pictures at once and one alone.

    Args:
        run (Callable): Takes pictures, returns arrays ``(N, C)`` by their names.
        images (ndarray): Normalised, float32 ``(N, 3, H, W)``.
        expected (Predictions): Of the classifier, of the same pictures.
        about (dict): The description.
        path (Path): For the message.

    Raises:
        ValueError: If a number differs by more than 1e-4, of logits above 1 by more than 1e-4 of them.
    """
    values = {**{name: part.numpy() for name, part in expected._asdict().items()}, 'logits': expected.fused.numpy()}
    values['probabilities'] = probabilities_of(values['logits'], about['temperature'])
    for batch in (slice(None), slice(1)):
        for name, found in run(images[batch]).items():
            wanted = values[name][batch]
            if found.shape != wanted.shape:
                raise ValueError(f'{path} was not written: its {name} have the shape {found.shape}, expected {wanted.shape}')
            excess = (np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).max()
            if not excess <= TOLERANCE:  # so that what is no number is refused as well
                raise ValueError(
                    f'{path} was not written: of {len(wanted)} pictures its {name} differ from those of the classifier '
                    f'by up to {excess:.1e}, expected {TOLERANCE} at most. Another version of the libraries may do '
                    'better, or another format'
                )
