"""Handwriting-like digits drawn from short lists of control points.

Fonts alone do not cover how people write digits: sevens with a bar, fours
left open, twos with a loop.  Each such habit is one *skeleton* here, a few
strokes in a unit box (x to the right, y down).  A skeleton is bent at random,
turned into smooth curves and drawn with a round pen.  No picture of a real
handwritten digit is used anywhere.
"""
from typing import List, NamedTuple, Tuple

import numpy as np

_SAMPLES_PER_STROKE = 24


class Stroke(NamedTuple):
    """One pen stroke.

    Attributes:
        points (tuple): Control points ``((x, y), ...)`` in the unit box.
        smooth (bool): Whether the pen runs through the points in a curve
            (``True``) or in straight pieces with corners.
    """
    points: Tuple[Tuple[float, float], ...]
    smooth: bool = True


def _curve(*points) -> Stroke:
    return Stroke(tuple(points), True)


def _lines(*points) -> Stroke:
    return Stroke(tuple(points), False)


_LOOP = ((.5, 0), (.12, .2), (.02, .5), (.14, .82), (.5, 1), (.86, .8),
         (.98, .5), (.85, .18), (.5, 0))

# Per digit: (weight, strokes).  Weights are rough guesses of how usual a way
# of writing is; they were not fitted to any data set.
SKELETONS = {
    0: (
        (4., (_curve(*_LOOP), )),
        (2., (_curve((.62, .02), *_LOOP[1:8], (.45, -.02), (.3, .06)), )),
        (1., (_curve((.75, .1), (.4, 0), (.08, .3), (.05, .7), (.4, 1),
                     (.85, .85), (1, .45), (.8, .1), (.55, .12)), )),
        (.3, (_curve(*_LOOP), _lines((.85, .08), (.15, .92)))),
    ),
    1: (
        (4., (_lines((.5, 0), (.5, 1)), )),
        (3., (_lines((.25, .22), (.52, 0), (.52, 1)), )),
        (1.5, (_lines((.2, .25), (.52, 0), (.52, 1)),
               _lines((.2, 1), (.84, 1)))),
        (1., (_lines((.5, 0), (.5, 1)), _lines((.3, 1), (.7, 1)))),
        (1., (_curve((.4, .2), (.55, 0), (.52, .5), (.5, 1)), )),
    ),
    2: (
        (4., (_curve((.08, .25), (.45, 0), (.88, .22), (.7, .55), (.08, 1)),
              _lines((.08, 1), (.95, .98)))),
        (3., (_curve((.1, .2), (.5, 0), (.85, .25), (.6, .62), (.2, .95),
                     (.08, .86), (.3, .78), (.6, .95), (.95, .95)), )),
        (1.5, (_curve((.05, .12), (.5, .02), (.9, .15), (.6, .6), (.1, .96),
                      (.5, .93), (.95, 1)), )),
        (1., (_lines((.1, .08), (.85, .05), (.1, 1), (.92, 1)), )),
        (1., (_curve((.2, .35), (.15, .12), (.5, 0), (.85, .2), (.7, .55),
                     (.12, .98), (.55, .9), (.95, 1)), )),
    ),
    3: (
        (4., (_curve((.1, .12), (.5, 0), (.85, .2), (.7, .42), (.4, .48)),
              _curve((.4, .48), (.8, .55), (.92, .78), (.5, 1), (.05, .88)))),
        (3., (_curve((.12, .1), (.55, 0), (.85, .2), (.4, .47), (.9, .62),
                     (.8, .92), (.4, 1), (.05, .88)), )),
        (1., (_lines((.1, .02), (.85, .02), (.42, .42)),
              _curve((.42, .42), (.85, .55), (.85, .88), (.4, 1),
                     (.05, .88)))),
        (1., (_curve((.05, .2), (.4, 0), (.8, .18), (.6, .45), (.35, .5),
                     (.3, .44), (.6, .46), (.9, .7), (.6, 1),
                     (.1, .95)), )),
    ),
    4: (
        (3., (_lines((.15, 0), (.1, .55), (.92, .52)),
              _lines((.75, .05), (.7, 1)))),
        (3., (_lines((.65, 0), (.05, .65), (.98, .65)),
              _lines((.65, 0), (.65, 1)))),
        (2., (_lines((.45, 0), (.05, .6), (.98, .58)),
              _lines((.72, .3), (.68, 1)))),
        (2., (_curve((.12, .02), (.08, .35), (.3, .52), (.8, .45)),
              _lines((.85, 0), (.75, 1)))),
        (1.5, (_curve((.1, .05), (.1, .4), (.4, .52), (.8, .4), (.9, .02)),
               _lines((.88, .05), (.75, 1)))),
        (1., (_lines((.75, 1), (.75, 0), (.05, .55), (.98, .55)), )),
    ),
    5: (
        (3., (_lines((.88, .02), (.22, .04), (.16, .42)),
              _curve((.16, .42), (.6, .36), (.95, .65), (.6, .97),
                     (.06, .92)))),
        (3., (_curve((.22, .05), (.16, .42), (.6, .4), (.92, .68), (.6, .98),
                     (.06, .9)), _lines((.22, .04), (.95, .02)))),
        (2., (_curve((.9, .03), (.35, .05), (.18, .3), (.5, .45), (.85, .65),
                     (.65, .95), (.06, .95)), )),
        (1., (_lines((.95, 0), (.4, .03), (.25, .4)),
              _curve((.25, .4), (.75, .5), (.75, .85), (.3, 1),
                     (0, .92)))),
    ),
    6: (
        (4., (_curve((.72, .02), (.3, .28), (.08, .68), (.35, .99),
                     (.8, .9), (.85, .62), (.5, .5), (.14, .7)), )),
        (3., (_curve((.55, 0), (.2, .35), (.08, .75), (.4, 1), (.85, .82),
                     (.65, .55), (.25, .68), (.2, .85)), )),
        (1.5, (_curve((.4, 0), (.15, .5), (.2, .92), (.6, .98), (.85, .75),
                      (.6, .58), (.2, .8)), )),
        (1., (_curve((.95, .08), (.5, .05), (.1, .45), (.15, .88),
                     (.55, 1), (.9, .75), (.55, .5), (.12, .65)), )),
    ),
    7: (
        (3., (_lines((.05, .05), (.92, .04), (.4, 1)), )),
        (2., (_lines((.08, .2), (.1, .03), (.92, .03), (.4, 1)), )),
        (2.5, (_lines((.05, .05), (.92, .04), (.4, 1)),
               _lines((.25, .5), (.85, .48)))),
        (2., (_curve((.05, .12), (.4, .04), (.9, .06), (.7, .4), (.5, .7),
                     (.42, 1)), )),
        (1., (_curve((.05, .12), (.4, .04), (.9, .06), (.65, .45),
                     (.45, 1)), _lines((.3, .5), (.9, .45)))),
    ),
    8: (
        (4., (_curve((.8, .15), (.5, 0), (.18, .2), (.5, .47), (.88, .76),
                     (.5, 1), (.1, .78), (.5, .48), (.82, .2), (.75, .1)), )),
        (2., (_curve((.5, .48), (.18, .24), (.5, 0), (.82, .24), (.5, .48)),
              _curve((.5, .48), (.08, .75), (.5, 1), (.92, .75),
                     (.5, .48)))),
        (1.5, (_curve((.85, .05), (.45, 0), (.2, .2), (.5, .45), (.8, .75),
                      (.4, 1), (.12, .8), (.4, .52), (.95, .02)), )),
        (1., (_curve((.3, .05), (.15, .25), (.5, .5), (.8, .8), (.5, 1),
                     (.2, .85), (.45, .55), (.75, .25), (.6, .02),
                     (.3, .05)), )),
    ),
    9: (
        (3., (_curve((.82, .15), (.45, 0), (.1, .25), (.35, .5), (.75, .38),
                     (.85, .12)), _lines((.85, .1), (.75, 1)))),
        (3., (_curve((.85, .2), (.5, 0), (.12, .22), (.3, .5), (.78, .35),
                     (.85, .12), (.82, .5), (.7, 1)), )),
        (2., (_curve((.85, .2), (.5, 0), (.12, .22), (.35, .5), (.82, .3),
                     (.9, .6), (.65, .95), (.15, .92)), )),
        (1.5, (_curve((.5, .02), (.1, .2), (.3, .46), (.75, .36), (.85, .1),
                      (.5, .02)), _curve((.85, .12), (.82, .5), (.5, 1)))),
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
    padded = np.concatenate([
        2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]
    ])
    position = np.linspace(0, len(points) - 1, samples)
    piece = np.minimum(position.astype(int), len(points) - 2)
    t = (position - piece)[:, None]
    before, start, end, after = (padded[piece + i] for i in range(4))
    return .5 * (2 * start + (end - before) * t +
                 (2 * before - 5 * start + 4 * end - after) * t**2 +
                 (3 * start - before - 3 * end + after) * t**3)


def _polyline(points: np.ndarray, samples: int) -> np.ndarray:
    """Like :func:`_catmull_rom`, but straight from point to point."""
    # Whole corners must survive the sampling, hence samples per piece.
    per_piece = np.full(len(points) - 1, samples // (len(points) - 1))
    per_piece[-1] = samples - per_piece[:-1].sum()
    pieces = [
        a + (b - a) * np.linspace(0, 1, n)[:, None]
        for a, b, n in zip(points[:-1], points[1:], per_piece)
    ]
    return np.concatenate(pieces)


def random_digit_strokes(digit: int, rng: np.random.Generator,
                         wobble: float = 0.045) -> List[np.ndarray]:
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
    width = rng.uniform(.2, .5) if digit == 1 else rng.uniform(.45, .9)
    slant = rng.normal(.08, .18)
    angle = rng.normal(0, .1)
    turn = np.array([[np.cos(angle), -np.sin(angle)],
                     [np.sin(angle), np.cos(angle)]])
    bend = rng.normal(0, .12, size=(2, 2))
    paths = []
    for stroke in strokes:
        points = np.array(stroke.points) + rng.normal(
            0, wobble, size=(len(stroke.points), 2))
        sample = _catmull_rom if stroke.smooth else _polyline
        path = sample(points, _SAMPLES_PER_STROKE) - .5
        # A slow bend of the whole stroke, shared by all strokes of a digit.
        path = path + np.stack([
            bend[0, 0] * path[:, 1]**2 + bend[0, 1] * path[:, 0] * path[:, 1],
            bend[1, 0] * path[:, 0]**2 + bend[1, 1] * path[:, 0] * path[:, 1]
        ], 1)
        path[:, 0] = path[:, 0] * width - slant * path[:, 1]
        paths.append(path @ turn.T)
    return paths


def _pen_coverage(paths: List[np.ndarray], size: int,
                  pen: float) -> np.ndarray:
    """Ink of a round pen along paths, with soft edges one pixel wide.

    Args:
        paths (list[np.ndarray]): Paths ``(N, 2)`` in pixels.
        size (int): Side of the picture in pixels.
        pen (float): Width of the pen in pixels.

    Returns:
        np.ndarray: ``(size, size)`` float32 in 0..1, ink is 1.
    """
    starts = np.concatenate([p[:-1] for p in paths]).astype(np.float32)
    steps = np.concatenate([np.diff(p, axis=0)
                            for p in paths]).astype(np.float32)
    centres = np.arange(size, dtype=np.float32) + .5
    dx = centres[None, None, :] - starts[:, 0, None, None]
    dy = centres[None, :, None] - starts[:, 1, None, None]
    step_x, step_y = steps[:, 0, None, None], steps[:, 1, None, None]
    length = np.maximum(step_x**2 + step_y**2, 1e-6)
    along = np.clip((dx * step_x + dy * step_y) / length, 0, 1)
    distance = np.sqrt(
        ((dx - along * step_x)**2 + (dy - along * step_y)**2).min(0))
    return np.clip(pen / 2 + .5 - distance, 0, 1)


def draw_digit(digit: int, rng: np.random.Generator,
               size: int = 40) -> np.ndarray:
    """Draw one randomly written digit that fills most of the picture.

    Args:
        digit (int): 0 to 9.
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the picture in pixels.

    Returns:
        np.ndarray: ``(size, size)`` uint8, ink 255 on 0.
    """
    paths = random_digit_strokes(digit, rng, wobble=rng.uniform(.02, .07))
    points = np.concatenate(paths)
    low, high = points.min(0), points.max(0)
    pen = size * rng.uniform(.05, .19)
    # Fit the longer side to the frame; the pen must stay inside it.
    scale = (.92 * size - pen) / (high - low).max()
    paths = [(p - (low + high) / 2) * scale + size / 2 for p in paths]
    return (255 * _pen_coverage(paths, size, pen)).astype(np.uint8)
