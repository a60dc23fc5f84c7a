"""Small pictures of what there is, to look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from . import read_index, read_sheet
from .rendering import on_paper
from .views import desk_view, distorted_view, generator

TILE, COLUMNS, PER_KIND = 32, 28, 3


def write_contact_sheets(where: Path, out: Path) -> None:
    """Write one PNG per style, one of distorted drawings and one of drawings on a desk, of up to three concepts per kind.

    Args:
        where (Path): Folder of the drawings.
        out (Path): Folder to write.
    """
    index = read_index(where)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    drawings = {style: read_sheet(where, sheet, index['size']) for style, sheet in index['sheets'].items()}
    for style, drawn in drawings.items():
        _write(out / f'{style}.png', [on_paper(drawn[concept]) for concept in _examples(index, drawn)])
    source = next(style for style, sheet in index['sheets'].items() if sheet['role'] == 'source')
    for name, show in (('desk', desk_view), ('distorted', distorted_view)):
        _write(
            out / f'{name}.png',
            [show(drawings[source][concept], generator(name, concept)) for concept in _examples(index, drawings[source])],
        )


def _examples(index, drawn):
    """Return the first concepts of each kind that are tested on and drawn."""
    return [
        concept
        for parts in index['kinds'].values()
        for concept in [concept for concept in parts['test'] if concept in drawn][:PER_KIND]
    ]


def _write(path, pictures):
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new('RGB', (COLUMNS * TILE, rows * TILE), 'white')
    for place, picture in enumerate(pictures):
        small = Image.fromarray(np.ascontiguousarray(picture)).resize((TILE, TILE), Image.Resampling.BOX)
        sheet.paste(small, (place % COLUMNS * TILE, place // COLUMNS * TILE))
    sheet.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
