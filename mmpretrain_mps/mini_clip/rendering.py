"""Pictures of glyphs and shapes, and the fonts they come from.

Fonts are split by family.  ``held_out`` families are never seen in
pre-training, so glyphs of theirs are an honest test of a model; they come
with matplotlib and need no extra.  All functions are pure: randomness comes
from a generator or a seed that the caller passes.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import concepts as _concepts

IMAGE_SIZE = 32
_BIG = 160  # glyphs and shapes are drawn at this size and then reduced


class FontFace(NamedTuple):
    """One font file.

    Attributes:
        family (str): The design it belongs to; the split is by family.
        name (str): File name without folder.
        path (Path): Where the file lies on this machine.
        licence (str): Short name of its licence.
    """

    family: str
    name: str
    path: Path
    licence: str


# package -> (folder of the fonts, (family, file names, licence), ...)
_HELD_OUT = {
    'matplotlib': (
        'mpl-data/fonts/ttf',
        (
            (
                'DejaVu Serif',
                ('DejaVuSerif.ttf', 'DejaVuSerif-Bold.ttf', 'DejaVuSerif-Italic.ttf', 'DejaVuSerif-BoldItalic.ttf'),
                'DejaVu',
            ),
            ('Computer Modern', ('cmr10.ttf', 'cmb10.ttf', 'cmss10.ttf', 'cmtt10.ttf'), 'BaKoMa'),
        ),
    ),
}
_TRAINING = {
    'matplotlib': (
        'mpl-data/fonts/ttf',
        (
            (
                'DejaVu Sans',
                ('DejaVuSans.ttf', 'DejaVuSans-Bold.ttf', 'DejaVuSans-Oblique.ttf', 'DejaVuSans-BoldOblique.ttf'),
                'DejaVu',
            ),
            ('DejaVu Sans Mono', ('DejaVuSansMono.ttf', 'DejaVuSansMono-Bold.ttf', 'DejaVuSansMono-Oblique.ttf'), 'DejaVu'),
            (
                'STIX General',
                ('STIXGeneral.ttf', 'STIXGeneralBol.ttf', 'STIXGeneralItalic.ttf', 'STIXGeneralBolIta.ttf'),
                'STIX Font License',
            ),
        ),
    ),
    'font_amatic_sc': ('files', (('Amatic SC', ('AmaticSC-Regular.ttf', 'AmaticSC-Bold.ttf'), 'OFL 1.1'),)),
    'font_intuitive': ('files', (('Intuitive', ('Intuitive.ttf',), 'OFL 1.1'),)),
    'font_fredoka_one': ('files', (('Fredoka One', ('FredokaOne-Regular.ttf',), 'OFL 1.1'),)),
    'font_caladea': ('files', (('Caladea', ('Caladea-Regular.ttf', 'Caladea-BoldItalic.ttf'), 'Apache 2.0'),)),
    'font_lato': ('files', (('Lato', ('Lato-Light.ttf', 'Lato-Italic.ttf', 'Lato-Black.ttf'), 'OFL 1.1'),)),
    'font_roboto': ('files', (('Roboto', ('Roboto-Regular.ttf', 'Roboto-Thin.ttf', 'Roboto-BlackItalic.ttf'), 'Apache 2.0'),)),
    'font_hanken_grotesk': (
        'files',
        (('Hanken Grotesk', ('HankenGrotesk-Regular.otf', 'HankenGrotesk-BoldItalic.otf'), 'OFL 1.1'),),
    ),
    'font_manrope': ('files', (('Manrope', ('Manrope-Light.ttf', 'Manrope-ExtraBold.ttf'), 'OFL 1.1'),)),
    'font_source_sans_pro': (
        'files',
        (('Source Sans Pro', ('SourceSansPro-ExtraLight.ttf', 'SourceSansPro-Semibold.ttf', 'SourceSansPro-It.ttf'), 'OFL 1.1'),),
    ),
    'font_source_serif_pro': (
        'files',
        (
            (
                'Source Serif Pro',
                ('SourceSerifPro-Regular.ttf', 'SourceSerifPro-Black.ttf', 'SourceSerifPro-LightIt.ttf'),
                'OFL 1.1',
            ),
        ),
    ),
}


def _faces(table: dict) -> list[FontFace]:
    """Turn a font table into faces, checking that every file is there."""
    faces = []
    for package, (folder, families) in table.items():
        spec = find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(
                f"fonts of the package '{package.replace('_', '-')}' are "
                'needed to pre-train the mini CLIP; install the extra: '
                "pip install -e '.[pretrain]'"
            )
        root = Path(next(iter(cast(list, spec.submodule_search_locations)))) / folder
        for family, names, licence in families:
            for name in names:
                if not (root / name).is_file():
                    raise FileNotFoundError(f'font {name} is missing from the package {package}')
                faces.append(FontFace(family, name, root / name, licence))
    return faces


def font_faces(split: str) -> list[FontFace]:
    """Faces of one side of the font split.

    Args:
        split (str): ``train`` (needs the extra ``pretrain``), ``train_basic``
            (those of them that matplotlib brings along) or ``held_out``
            (matplotlib's, too).

    Returns:
        list[FontFace]: In a fixed order.

    Raises:
        ValueError: If ``split`` is none of them.
        ModuleNotFoundError: If a font package is not installed.
        FileNotFoundError: If an installed package lacks an expected file.
    """
    if split == 'train':
        return _faces(_TRAINING)
    if split == 'train_basic':
        return _faces({'matplotlib': _TRAINING['matplotlib']})
    if split == 'held_out':
        return _faces(_HELD_OUT)
    raise ValueError(f"split must be 'train', 'train_basic' or 'held_out', got {split!r}")


@cache
def _covered(path: Path) -> frozenset:
    """Code points a font file can draw."""
    # fontTools comes with matplotlib.
    from fontTools.ttLib import TTFont

    with TTFont(str(path), lazy=True) as font:
        return frozenset(font.getBestCmap())


def can_draw(face: FontFace, character: str) -> bool:
    """Whether a face has its own glyph for a character.

    Args:
        face (FontFace): The face.
        character (str): One character.

    Returns:
        bool: ``False`` where the face would draw its 'missing' box.
    """
    if face.family == 'Computer Modern':
        # These files keep TeX's order: only ASCII letters and digits lie
        # where Unicode has them.
        return character.isascii() and character.isalnum()
    return ord(character) in _covered(face.path)


def _centred(ink: Image.Image, size: int, fill: float) -> np.ndarray:
    """Crop to the ink and centre it so that its longer side is ``fill``."""
    box = ink.getbbox()
    if box is None:
        return np.zeros((size, size), np.uint8)
    ink = ink.crop(box)
    scale = fill * size / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    canvas = Image.new('L', (size, size))
    canvas.paste(
        ink.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR),
        ((size - width) // 2, (size - height) // 2),
    )
    return np.asarray(canvas)


def render_glyph(face: FontFace, character: str, size: int = IMAGE_SIZE, fill: float = 0.85) -> np.ndarray:
    """Draw one character, centred on its ink.

    Args:
        face (FontFace): The face to draw with.
        character (str): One character.
        size (int): Side of the picture in pixels.
        fill (float): Longer side of the ink as a fraction of the picture.

    Returns:
        np.ndarray: ``(size, size)`` uint8, ink 255 on 0.

    Raises:
        ValueError: If the face has no glyph for the character.
    """
    if len(character) != 1 or not can_draw(face, character):
        raise ValueError(f'{face.name} cannot draw {character!r}')
    font = ImageFont.truetype(str(face.path), _BIG)
    ink = Image.new('L', (3 * _BIG, 3 * _BIG))
    ImageDraw.Draw(ink).text((_BIG, _BIG // 2), character, font=font, fill=255)
    return _centred(ink, size, fill)


def _regular(corners: int, turn: float = 0.0, inner: float = 1.0) -> list:
    """Corners of a regular polygon or, with ``inner`` < 1, of a star."""
    count = corners if inner == 1.0 else 2 * corners
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2 + turn
    radius = np.where(np.arange(count) % 2, inner, 1.0)
    return list(zip(radius * np.cos(angle), radius * np.sin(angle)))


def _heart() -> list:
    t = np.linspace(0, 2 * np.pi, 60)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return list(zip(x / 17, -y / 17))


def _ellipse(width: float, height: float) -> list:
    t = np.linspace(0, 2 * np.pi, 60)
    return list(zip(width * np.cos(t), height * np.sin(t)))


def _crescent(depth: float) -> list:
    t = np.linspace(-2.1, 2.1, 40)
    outer = list(zip(-np.cos(t), np.sin(t)))
    tip = np.array(outer[0])
    s = np.linspace(1, -1, 40)
    return outer + list(zip(tip[0] - depth * (1 - s**2), -tip[1] * s))


def _shape_outline(name: str, rng: np.random.Generator) -> list:
    """Corners ``(x, y)`` of a shape, about -1..1, y down."""
    u = rng.uniform
    if name in ('circle', 'ring'):
        return _ellipse(1, 1)
    if name == 'oval':
        return _ellipse(1, u(0.45, 0.65))
    if name == 'square':
        return [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if name == 'rectangle':
        h = u(0.35, 0.6)
        return [(-1, -h), (1, -h), (1, h), (-1, h)]
    if name == 'trapezoid':
        top, h = u(0.35, 0.6), u(0.5, 0.7)
        return [(-top, -h), (top, -h), (1, h), (-1, h)]
    if name == 'triangle':
        return [(u(-0.3, 0.3), -1), (1, 0.8), (-1, 0.8)]
    if name == 'diamond':
        w = u(0.55, 0.75)
        return [(0, -1), (w, 0), (0, 1), (-w, 0)]
    if name in ('pentagon', 'hexagon', 'octagon'):
        corners = {'pentagon': 5, 'hexagon': 6, 'octagon': 8}[name]
        return _regular(corners, np.pi / 8 if corners == 8 else 0.0)
    if name == 'star':
        return _regular(5, inner=u(0.35, 0.5))
    if name == 'cross':
        a = u(0.22, 0.4)
        return [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
    if name == 'arrow':
        a, b = u(0.15, 0.3), u(-0.1, 0.3)
        return [(-1, -a), (b, -a), (b, -0.7), (1, 0), (b, 0.7), (b, a), (-1, a)]
    if name == 'heart':
        return _heart()
    if name == 'crescent':
        return _crescent(u(0.15, 0.45))
    raise ValueError(f'unknown shape {name!r}; known: {", ".join(_concepts.SHAPE_NAMES)}')


def render_shape(name: str, rng: np.random.Generator, size: int = IMAGE_SIZE, fill: float = 0.85) -> np.ndarray:
    """Draw one shape with random proportions, filled or as an outline.

    Args:
        name (str): One of :data:`concepts.SHAPE_NAMES`.
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the picture in pixels.
        fill (float): Longer side of the shape as a fraction of the picture.

    Returns:
        np.ndarray: ``(size, size)`` uint8, shape 255 on 0.

    Raises:
        ValueError: If the name is unknown.
    """
    outline = np.array(_shape_outline(name, rng)) * 0.9 + 1
    corners = [tuple(corner) for corner in outline * _BIG]
    ink = Image.new('L', (2 * _BIG, 2 * _BIG))
    draw = ImageDraw.Draw(ink)
    # A circle's outline would be a ring, so circles are always filled.
    if name == 'ring':
        draw.polygon(corners, fill=255)
        hole = (outline - 1) * rng.uniform(0.5, 0.8) + 1
        draw.polygon([tuple(c) for c in hole * _BIG], fill=0)
    elif name == 'circle' or rng.random() < 0.75:
        draw.polygon(corners, fill=255)
    else:
        draw.line(corners + corners[:2], fill=255, width=int(_BIG * rng.uniform(0.12, 0.25)), joint='curve')
    return _centred(ink, size, fill)


def _place(glyph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, resize and shift a 64 pixel glyph into an evaluation picture."""
    picture = Image.fromarray(glyph)
    picture = picture.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    side = int(round(IMAGE_SIZE * rng.uniform(0.7, 1.0)))
    picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    margin = IMAGE_SIZE - side
    canvas = Image.new('L', (IMAGE_SIZE, IMAGE_SIZE))
    canvas.paste(picture, (int(rng.integers(margin + 1)), int(rng.integers(margin + 1))))
    return np.asarray(canvas)


def heldout_concepts(group: str) -> tuple[str, ...]:
    """Concepts that at least one held-out face can draw.

    Args:
        group (str): ``digits``, ``letters`` or ``symbols``.

    Returns:
        tuple[str]: Names in the order of :func:`concepts.glyph_characters`.

    Raises:
        ValueError: If the group has no characters.
    """
    faces = font_faces('held_out')
    return tuple(
        name
        for name, characters in _concepts.glyph_characters(group).items()
        if any(can_draw(face, c) for face in faces for c in characters)
    )


def render_heldout_glyphs(concepts: Sequence[str], per_font: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Glyphs of fonts that pre-training never saw, as a test set.

    Each picture is white on black with a small random turn, size and place.
    Faces without a concept's character are passed over.

    Args:
        concepts (Sequence[str]): Concept names, e.g. ``DIGIT_NAMES``.
        per_font (int): Pictures per concept, character and face.
        seed (int): Seed of a local generator.

    Returns:
        tuple[np.ndarray, np.ndarray]: Images ``(N, 32, 32, 3)`` uint8 and
        labels ``(N,)`` int64, positions in ``concepts``.

    Raises:
        ValueError: If a name is no glyph concept, no held-out face can draw
            it, or ``per_font`` is not positive.
    """
    if per_font < 1:
        raise ValueError(f'per_font must be at least 1, got {per_font}')
    characters: dict[str, str] = {}
    for group in ('digits', 'letters', 'symbols'):
        characters.update(_concepts.glyph_characters(group))
    faces = font_faces('held_out')
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for label, name in enumerate(concepts):
        if name not in characters:
            raise ValueError(f'{name!r} is not the name of a glyph; examples: {", ".join(list(characters)[:12])}')
        drawn = [(face, c) for face in faces for c in characters[name] if can_draw(face, c)]
        if not drawn:
            raise ValueError(f'no held-out font can draw {name!r}')
        for face, character in drawn:
            glyph = render_glyph(face, character, size=64)
            for _ in range(per_font):
                images.append(_place(glyph, rng))
                labels.append(label)
    grey = np.stack(images)
    return np.repeat(grey[..., None], 3, axis=-1), np.array(labels, np.int64)
