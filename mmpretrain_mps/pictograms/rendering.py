"""Pictures of an icon, and how much alike two of them are."""

import io
from typing import Any

import numpy as np
from PIL import Image

SIZE = 64  # pixels: two to one for a model of 32 x 32
MARGIN = 1 / 8  # looked at around the picture, to see what is cut off
COMPARED_SIZE, BLOCK = 32, 4


def render(svg: str) -> tuple[np.ndarray, float]:
    """Draw an SVG that has a margin of :data:`MARGIN`.

    Returns:
        tuple[np.ndarray, float]: Straight RGBA ``(64, 64, 4)``, uint8, 0 where nothing is drawn, and the share of the ink
        that lies in the margin, which is cut off. Empty if the renderer fails.

    Raises:
        ImportError: If resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ImportError(
            f'pictures are rendered by the package resvg-py, which cannot be imported ({error}); install it with '
            '`pip install -e .[pictograms]`.'
        ) from error
    border = round(SIZE * MARGIN)
    side = SIZE + 2 * border
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
    except BaseException as error:  # a panic of the renderer is no Exception
        if type(error).__name__ not in ('PanicException', 'ValueError'):
            raise
        return np.zeros((SIZE, SIZE, 4), np.uint8), 0.0
    whole = np.array(Image.open(io.BytesIO(png)).convert('RGBA'))
    whole[whole[..., 3] == 0] = 0
    inner = whole[border:-border, border:-border]
    ink = float(whole[..., 3].sum())
    return inner, 1 - float(inner[..., 3].sum()) / ink if ink else 0.0


def on_paper(drawing: np.ndarray, paper: Any = (255, 255, 255)) -> np.ndarray:
    """Put a drawing on a paper of one colour.

    Args:
        drawing (np.ndarray): Straight RGBA ``(H, W, 4)``, uint8.
        paper: What numpy broadcasts to ``(H, W, 3)``, 0 to 255. Defaults to white.

    Returns:
        np.ndarray: RGB ``(H, W, 3)``, uint8.
    """
    alpha = drawing[..., 3:] / 255
    return np.rint(drawing[..., :3] * alpha + np.asarray(paper, np.float64) * (1 - alpha)).astype(np.uint8)


def normalised(drawing: np.ndarray) -> np.ndarray:
    """Return what is compared of a drawing: its ink on white, cut out and scaled to ``(32, 32, 3)``, float32."""
    box = Image.fromarray(drawing[..., 3]).point(lambda value: 255 * (value > 16)).getbbox()
    picture = Image.fromarray(on_paper(drawing))
    cut = picture.crop(box) if box else picture
    return np.asarray(cut.resize((COMPARED_SIZE, COMPARED_SIZE), Image.Resampling.BOX), np.float32)


def distances(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Tell how far pictures are from one: by the part in which they differ most.

    Args:
        one (np.ndarray): Of :func:`normalised`, ``(32, 32, 3)``.
        many (np.ndarray): ``(N, 32, 32, 3)``.

    Returns:
        np.ndarray: ``(N,)``, mean difference of the levels (0 to 255) in that block of 4 x 4 pixels where it is largest.
    """
    blocks = COMPARED_SIZE // BLOCK
    difference = np.abs(many - one).mean(-1).reshape(-1, blocks, BLOCK, blocks, BLOCK)
    return difference.mean((2, 4)).max((1, 2))


def block_means(pictures: np.ndarray) -> np.ndarray:
    """Average pictures ``(N, 32, 32, 3)`` over blocks, to ``(N, 8, 8, 3)``: these differ by no more than the pixels do."""
    blocks = COMPARED_SIZE // BLOCK
    return pictures.reshape(-1, blocks, BLOCK, blocks, BLOCK, 3).mean((2, 4))
