"""How a drawing is shown beside :func:`.rendering.on_paper`: as it may lie on a desk, or as a bad picture of it."""

import hashlib

import numpy as np
import scipy
from PIL import Image

from .rendering import on_paper

MAX_TURN = 20  # degrees
SCALES = (0.65, 1.0)


def generator(*key: str) -> np.random.Generator:
    """Return the random numbers that belong to a picture, whatever else is drawn."""
    return np.random.default_rng(list(hashlib.sha256('/'.join(key).encode()).digest()[:16]))


def desk_view(drawing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn a drawing by up to 20 degrees, make it smaller, move it, and put it on light paper of some colour.

    Args:
        drawing (np.ndarray): Straight RGBA ``(S, S, 4)``, uint8.
        rng (np.random.Generator): Source of randomness.

    Returns:
        np.ndarray: RGB ``(S, S, 3)``, uint8.
    """
    return on_paper(_moved(drawing, rng), rng.uniform(170, 255, 3))


def distorted_view(drawing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move a drawing like :func:`desk_view`, on blotched paper, out of focus, with the noise of a sensor.

    Args:
        drawing (np.ndarray): Straight RGBA ``(S, S, 4)``, uint8.
        rng (np.random.Generator): Source of randomness.

    Returns:
        np.ndarray: RGB ``(S, S, 3)``, uint8.
    """
    side = len(drawing)
    blotches = scipy.ndimage.gaussian_filter(rng.normal(size=(side, side, 3)), (rng.uniform(4, 10),) * 2 + (0,), mode='wrap')
    paper = rng.uniform(120, 220, 3) + blotches * (rng.uniform(10, 30) / blotches.std())
    picture = on_paper(_moved(drawing, rng), paper.clip(0, 255)).astype(np.float64)
    picture = scipy.ndimage.gaussian_filter(picture, (rng.uniform(0.5, 2.0),) * 2 + (0,))
    picture += rng.normal(0, rng.uniform(8, 30), picture.shape)
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def _moved(drawing, rng):
    side = len(drawing)
    angle, scale = np.deg2rad(rng.uniform(-MAX_TURN, MAX_TURN)), rng.uniform(*SCALES)
    shift = rng.uniform(-0.5, 0.5, 2) * side * (1 - scale)
    # Pillow asks where each pixel of the result comes from.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    centre = np.full(2, side / 2)
    offset = centre - turn @ (centre + shift)
    matrix = (*turn[0], offset[0], *turn[1], offset[1])
    return np.asarray(Image.fromarray(drawing).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))
