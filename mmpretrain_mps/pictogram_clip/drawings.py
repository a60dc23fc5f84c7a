"""The drawings that the pictogram CLIP is pre-trained on, held in memory."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..pictograms import index, read_index, read_sheet
from ..pictograms.building import ICONS_FOLDER
from .captions import Described, describe


class Drawings(NamedTuple):
    """Drawings with what is known of them."""

    pixels: Tensor
    """Straight RGBA ``(N, 64, 64, 4)``, uint8."""
    described: list[Described]
    styles: dict[str, int]
    """Style -> number of drawings."""

    @property
    def rows_by_name(self) -> dict[str, np.ndarray]:
        """dict[str, np.ndarray]: Name -> rows that show it."""
        found: dict[str, list[int]] = {}
        for row, one in enumerate(self.described):
            found.setdefault(one.name, []).append(row)
        return {name: np.array(rows) for name, rows in found.items()}


def read_drawings(folder: Path) -> Drawings:
    """Read the drawings of all styles of one folder.

    Args:
        folder (Path): What ``tools/build_pictograms.py --pretraining`` wrote, or the folder of icons in it.

    Raises:
        ValueError: If a file is missing or damaged, or a style is one that is tested on.
    """
    content = read_index(folder)
    tested = sorted(set(content['sheets']) & set(index()['sheets']))
    if tested:
        raise ValueError(
            f'{folder} holds the styles {", ".join(tested)}, which are there to test on: expected styles for '
            'pre-training alone, as tools/build_pictograms.py --pretraining writes them'
        )
    pixels: list[np.ndarray] = []
    described, styles = [], {}
    for style, sheet in content['sheets'].items():
        drawings = read_sheet(folder, sheet, content['size'])
        pixels += drawings.values()
        described += [describe(content['concepts'][concept]) for concept in drawings]
        styles[style] = len(drawings)
    return Drawings(torch.from_numpy(np.stack(pixels)), described, styles)


def read_all(folder: Path) -> dict[str, Drawings]:
    """Return ``pictograms`` and ``icons`` of a folder for pre-training; see :func:`read_drawings`."""
    return dict(pictograms=read_drawings(folder), icons=read_drawings(Path(folder) / ICONS_FOLDER))
