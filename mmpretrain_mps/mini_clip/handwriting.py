"""Handwriting-like digits drawn from short lists of control points.

Fonts alone do not cover how people write digits: sevens with a bar, fours
left open, twos with a loop.  Each such habit is one *skeleton* here, a few
strokes in a unit box (x to the right, y down).  A skeleton is bent at random,
turned into smooth curves and drawn with a round pen.  No picture of a real
handwritten digit is used anywhere.
"""

from typing import NamedTuple

import numpy as np

_SAMPLES_PER_STROKE = 24


class Stroke(NamedTuple):
    """One pen stroke.

    Attributes:
        points (tuple): Control points ``((x, y), ...)`` in the unit box.
        smooth (bool): Whether the pen runs through the points in a curve
            (``True``) or in straight pieces with corners.
    """

    points: tuple[tuple[float, float], ...]
    smooth: bool = True


def _curve(*points) -> Stroke:
    return Stroke(tuple(points), True)


def _lines(*points) -> Stroke:
    return Stroke(tuple(points), False)


_LOOP = ((0.5, 0), (0.12, 0.2), (0.02, 0.5), (0.14, 0.82), (0.5, 1), (0.86, 0.8), (0.98, 0.5), (0.85, 0.18), (0.5, 0))

# Per digit: (weight, strokes).  Weights are rough guesses of how usual a way
# of writing is; they were not fitted to any data set.
SKELETONS = {
    0: (
        (4.0, (_curve(*_LOOP),)),
        (2.0, (_curve((0.62, 0.02), *_LOOP[1:8], (0.45, -0.02), (0.3, 0.06)),)),
        (
            1.0,
            (
                _curve(
                    (0.75, 0.1), (0.4, 0), (0.08, 0.3), (0.05, 0.7), (0.4, 1), (0.85, 0.85), (1, 0.45), (0.8, 0.1), (0.55, 0.12)
                ),
            ),
        ),
        (0.3, (_curve(*_LOOP), _lines((0.85, 0.08), (0.15, 0.92)))),
    ),
    1: (
        (4.0, (_lines((0.5, 0), (0.5, 1)),)),
        (3.0, (_lines((0.25, 0.22), (0.52, 0), (0.52, 1)),)),
        (1.5, (_lines((0.2, 0.25), (0.52, 0), (0.52, 1)), _lines((0.2, 1), (0.84, 1)))),
        (1.0, (_lines((0.5, 0), (0.5, 1)), _lines((0.3, 1), (0.7, 1)))),
        (1.0, (_curve((0.4, 0.2), (0.55, 0), (0.52, 0.5), (0.5, 1)),)),
    ),
    2: (
        (4.0, (_curve((0.08, 0.25), (0.45, 0), (0.88, 0.22), (0.7, 0.55), (0.08, 1)), _lines((0.08, 1), (0.95, 0.98)))),
        (
            3.0,
            (
                _curve(
                    (0.1, 0.2),
                    (0.5, 0),
                    (0.85, 0.25),
                    (0.6, 0.62),
                    (0.2, 0.95),
                    (0.08, 0.86),
                    (0.3, 0.78),
                    (0.6, 0.95),
                    (0.95, 0.95),
                ),
            ),
        ),
        (1.5, (_curve((0.05, 0.12), (0.5, 0.02), (0.9, 0.15), (0.6, 0.6), (0.1, 0.96), (0.5, 0.93), (0.95, 1)),)),
        (1.0, (_lines((0.1, 0.08), (0.85, 0.05), (0.1, 1), (0.92, 1)),)),
        (1.0, (_curve((0.2, 0.35), (0.15, 0.12), (0.5, 0), (0.85, 0.2), (0.7, 0.55), (0.12, 0.98), (0.55, 0.9), (0.95, 1)),)),
    ),
    3: (
        (
            4.0,
            (
                _curve((0.1, 0.12), (0.5, 0), (0.85, 0.2), (0.7, 0.42), (0.4, 0.48)),
                _curve((0.4, 0.48), (0.8, 0.55), (0.92, 0.78), (0.5, 1), (0.05, 0.88)),
            ),
        ),
        (3.0, (_curve((0.12, 0.1), (0.55, 0), (0.85, 0.2), (0.4, 0.47), (0.9, 0.62), (0.8, 0.92), (0.4, 1), (0.05, 0.88)),)),
        (
            1.0,
            (
                _lines((0.1, 0.02), (0.85, 0.02), (0.42, 0.42)),
                _curve((0.42, 0.42), (0.85, 0.55), (0.85, 0.88), (0.4, 1), (0.05, 0.88)),
            ),
        ),
        (
            1.0,
            (
                _curve(
                    (0.05, 0.2),
                    (0.4, 0),
                    (0.8, 0.18),
                    (0.6, 0.45),
                    (0.35, 0.5),
                    (0.3, 0.44),
                    (0.6, 0.46),
                    (0.9, 0.7),
                    (0.6, 1),
                    (0.1, 0.95),
                ),
            ),
        ),
    ),
    4: (
        (3.0, (_lines((0.15, 0), (0.1, 0.55), (0.92, 0.52)), _lines((0.75, 0.05), (0.7, 1)))),
        (3.0, (_lines((0.65, 0), (0.05, 0.65), (0.98, 0.65)), _lines((0.65, 0), (0.65, 1)))),
        (2.0, (_lines((0.45, 0), (0.05, 0.6), (0.98, 0.58)), _lines((0.72, 0.3), (0.68, 1)))),
        (2.0, (_curve((0.12, 0.02), (0.08, 0.35), (0.3, 0.52), (0.8, 0.45)), _lines((0.85, 0), (0.75, 1)))),
        (1.5, (_curve((0.1, 0.05), (0.1, 0.4), (0.4, 0.52), (0.8, 0.4), (0.9, 0.02)), _lines((0.88, 0.05), (0.75, 1)))),
        (1.0, (_lines((0.75, 1), (0.75, 0), (0.05, 0.55), (0.98, 0.55)),)),
    ),
    5: (
        (
            3.0,
            (
                _lines((0.88, 0.02), (0.22, 0.04), (0.16, 0.42)),
                _curve((0.16, 0.42), (0.6, 0.36), (0.95, 0.65), (0.6, 0.97), (0.06, 0.92)),
            ),
        ),
        (
            3.0,
            (
                _curve((0.22, 0.05), (0.16, 0.42), (0.6, 0.4), (0.92, 0.68), (0.6, 0.98), (0.06, 0.9)),
                _lines((0.22, 0.04), (0.95, 0.02)),
            ),
        ),
        (2.0, (_curve((0.9, 0.03), (0.35, 0.05), (0.18, 0.3), (0.5, 0.45), (0.85, 0.65), (0.65, 0.95), (0.06, 0.95)),)),
        (1.0, (_lines((0.95, 0), (0.4, 0.03), (0.25, 0.4)), _curve((0.25, 0.4), (0.75, 0.5), (0.75, 0.85), (0.3, 1), (0, 0.92)))),
    ),
    6: (
        (
            4.0,
            (_curve((0.72, 0.02), (0.3, 0.28), (0.08, 0.68), (0.35, 0.99), (0.8, 0.9), (0.85, 0.62), (0.5, 0.5), (0.14, 0.7)),),
        ),
        (3.0, (_curve((0.55, 0), (0.2, 0.35), (0.08, 0.75), (0.4, 1), (0.85, 0.82), (0.65, 0.55), (0.25, 0.68), (0.2, 0.85)),)),
        (1.5, (_curve((0.4, 0), (0.15, 0.5), (0.2, 0.92), (0.6, 0.98), (0.85, 0.75), (0.6, 0.58), (0.2, 0.8)),)),
        (1.0, (_curve((0.95, 0.08), (0.5, 0.05), (0.1, 0.45), (0.15, 0.88), (0.55, 1), (0.9, 0.75), (0.55, 0.5), (0.12, 0.65)),)),
    ),
    7: (
        (3.0, (_lines((0.05, 0.05), (0.92, 0.04), (0.4, 1)),)),
        (2.0, (_lines((0.08, 0.2), (0.1, 0.03), (0.92, 0.03), (0.4, 1)),)),
        (2.5, (_lines((0.05, 0.05), (0.92, 0.04), (0.4, 1)), _lines((0.25, 0.5), (0.85, 0.48)))),
        (2.0, (_curve((0.05, 0.12), (0.4, 0.04), (0.9, 0.06), (0.7, 0.4), (0.5, 0.7), (0.42, 1)),)),
        (1.0, (_curve((0.05, 0.12), (0.4, 0.04), (0.9, 0.06), (0.65, 0.45), (0.45, 1)), _lines((0.3, 0.5), (0.9, 0.45)))),
    ),
    8: (
        (
            4.0,
            (
                _curve(
                    (0.8, 0.15),
                    (0.5, 0),
                    (0.18, 0.2),
                    (0.5, 0.47),
                    (0.88, 0.76),
                    (0.5, 1),
                    (0.1, 0.78),
                    (0.5, 0.48),
                    (0.82, 0.2),
                    (0.75, 0.1),
                ),
            ),
        ),
        (
            2.0,
            (
                _curve((0.5, 0.48), (0.18, 0.24), (0.5, 0), (0.82, 0.24), (0.5, 0.48)),
                _curve((0.5, 0.48), (0.08, 0.75), (0.5, 1), (0.92, 0.75), (0.5, 0.48)),
            ),
        ),
        (
            1.5,
            (
                _curve(
                    (0.85, 0.05),
                    (0.45, 0),
                    (0.2, 0.2),
                    (0.5, 0.45),
                    (0.8, 0.75),
                    (0.4, 1),
                    (0.12, 0.8),
                    (0.4, 0.52),
                    (0.95, 0.02),
                ),
            ),
        ),
        (
            1.0,
            (
                _curve(
                    (0.3, 0.05),
                    (0.15, 0.25),
                    (0.5, 0.5),
                    (0.8, 0.8),
                    (0.5, 1),
                    (0.2, 0.85),
                    (0.45, 0.55),
                    (0.75, 0.25),
                    (0.6, 0.02),
                    (0.3, 0.05),
                ),
            ),
        ),
    ),
    9: (
        (
            3.0,
            (
                _curve((0.82, 0.15), (0.45, 0), (0.1, 0.25), (0.35, 0.5), (0.75, 0.38), (0.85, 0.12)),
                _lines((0.85, 0.1), (0.75, 1)),
            ),
        ),
        (3.0, (_curve((0.85, 0.2), (0.5, 0), (0.12, 0.22), (0.3, 0.5), (0.78, 0.35), (0.85, 0.12), (0.82, 0.5), (0.7, 1)),)),
        (2.0, (_curve((0.85, 0.2), (0.5, 0), (0.12, 0.22), (0.35, 0.5), (0.82, 0.3), (0.9, 0.6), (0.65, 0.95), (0.15, 0.92)),)),
        (
            1.5,
            (
                _curve((0.5, 0.02), (0.1, 0.2), (0.3, 0.46), (0.75, 0.36), (0.85, 0.1), (0.5, 0.02)),
                _curve((0.85, 0.12), (0.82, 0.5), (0.5, 1)),
            ),
        ),
    ),
}


def _catmull_rom(points: np.ndarray, samples: int) -> np.ndarray:
    """Sample a smooth curve that passes through every control point.

    Args:
        points (np.ndarray): Control points ``(P, 2)``, ``P >= 2``.
        samples (int): Number of points wanted along the curve.

    Returns:
        np.ndarray: ``(samples, 2)``.
    """
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    position = np.linspace(0, len(points) - 1, samples)
    piece = np.minimum(position.astype(int), len(points) - 2)
    t = (position - piece)[:, None]
    before, start, end, after = (padded[piece + i] for i in range(4))
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def _polyline(points: np.ndarray, samples: int) -> np.ndarray:
    """Like :func:`_catmull_rom`, but straight from point to point."""
    # Whole corners must survive the sampling, hence samples per piece.
    per_piece = np.full(len(points) - 1, samples // (len(points) - 1))
    per_piece[-1] = samples - per_piece[:-1].sum()
    pieces = [a + (b - a) * np.linspace(0, 1, n)[:, None] for a, b, n in zip(points[:-1], points[1:], per_piece)]
    return np.concatenate(pieces)


def random_digit_strokes(digit: int, rng: np.random.Generator, wobble: float = 0.045) -> list[np.ndarray]:
    """Pen paths of one randomly written digit.

    Args:
        digit (int): 0 to 9.
        rng (np.random.Generator): Source of randomness.
        wobble (float): Standard deviation of the shift of each control
            point, in fractions of the digit's box.

    Returns:
        list[np.ndarray]: Paths ``(24, 2)`` in a unit box whose centre is the
        origin; x to the right, y down.

    Raises:
        ValueError: If ``digit`` is not 0 to 9.
    """
    if digit not in SKELETONS:
        raise ValueError(f'digit must be 0 to 9, got {digit!r}')
    weights = np.array([weight for weight, _ in SKELETONS[digit]])
    chosen = rng.choice(len(weights), p=weights / weights.sum())
    strokes = SKELETONS[digit][chosen][1]
    width = rng.uniform(0.2, 0.5) if digit == 1 else rng.uniform(0.45, 0.9)
    slant = rng.normal(0.08, 0.18)
    angle = rng.normal(0, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bend = rng.normal(0, 0.12, size=(2, 2))
    paths = []
    for stroke in strokes:
        points = np.array(stroke.points) + rng.normal(0, wobble, size=(len(stroke.points), 2))
        sample = _catmull_rom if stroke.smooth else _polyline
        path = sample(points, _SAMPLES_PER_STROKE) - 0.5
        # A slow bend of the whole stroke, shared by all strokes of a digit.
        path = path + np.stack(
            [
                bend[0, 0] * path[:, 1] ** 2 + bend[0, 1] * path[:, 0] * path[:, 1],
                bend[1, 0] * path[:, 0] ** 2 + bend[1, 1] * path[:, 0] * path[:, 1],
            ],
            1,
        )
        path[:, 0] = path[:, 0] * width - slant * path[:, 1]
        paths.append(path @ turn.T)
    return paths


def _pen_coverage(paths: list[np.ndarray], size: int, pen: float) -> np.ndarray:
    """Ink of a round pen along paths, with soft edges one pixel wide.

    Args:
        paths (list[np.ndarray]): Paths ``(N, 2)`` in pixels.
        size (int): Side of the picture in pixels.
        pen (float): Width of the pen in pixels.

    Returns:
        np.ndarray: ``(size, size)`` float32 in 0..1, ink is 1.
    """
    starts = np.concatenate([p[:-1] for p in paths]).astype(np.float32)
    steps = np.concatenate([np.diff(p, axis=0) for p in paths]).astype(np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    dx = centres[None, None, :] - starts[:, 0, None, None]
    dy = centres[None, :, None] - starts[:, 1, None, None]
    step_x, step_y = steps[:, 0, None, None], steps[:, 1, None, None]
    length = np.maximum(step_x**2 + step_y**2, 1e-6)
    along = np.clip((dx * step_x + dy * step_y) / length, 0, 1)
    distance = np.sqrt(((dx - along * step_x) ** 2 + (dy - along * step_y) ** 2).min(0))
    return np.clip(pen / 2 + 0.5 - distance, 0, 1)


def draw_digit(digit: int, rng: np.random.Generator, size: int = 40) -> np.ndarray:
    """Draw one randomly written digit that fills most of the picture.

    Args:
        digit (int): 0 to 9.
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the picture in pixels.

    Returns:
        np.ndarray: ``(size, size)`` uint8, ink 255 on 0.
    """
    paths = random_digit_strokes(digit, rng, wobble=rng.uniform(0.02, 0.07))
    points = np.concatenate(paths)
    low, high = points.min(0), points.max(0)
    pen = size * rng.uniform(0.05, 0.19)
    # Fit the longer side to the frame; the pen must stay inside it.
    scale = (0.92 * size - pen) / (high - low).max()
    paths = [(p - (low + high) / 2) * scale + size / 2 for p in paths]
    return (255 * _pen_coverage(paths, size, pen)).astype(np.uint8)
