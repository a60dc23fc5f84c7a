"""Icons in one colour, for a pre-training alone: drawn by others than the pictograms, and named in plain English."""

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from .packages import Emoji, IconSet
from .rendering import MARGIN, block_means, distances, normalised, render
from .splitting import LOOK_ALIKE

MIN_INK, MAX_WORDS = 0.02, 4
# How a drawing is made is no part of what it shows.
STYLE_WORDS = frozenset(
    [
        'outline',
        'outlined',
        'filled',
        'fill',
        'alt',
        'variant',
        'regular',
        'solid',
        'one',
        'two',
        'three',
        'four',
        'five',
        'line',
        'simple',
    ]
)
# Signs made of signs, whose names say little of what is seen.
SKIPPED_WORDS = frozenset(
    ['off', 'slash', 'brand', 'alpha', 'numeric', 'letter', 'number', 'negative', 'thin', 'light', 'bold', 'duotone', 'px']
)
SKIPPED_CATEGORIES = frozenset(('Alpha / Numeric', 'Brand / Logo', 'Brand', 'Typography', 'Developer / Languages'))


def plain_name(icon: str) -> str:
    """Return what an icon shows by its name, like 'basset hound head', or '' for one that is not wanted."""
    words = [word for word in icon.lower().split('-') if word not in STYLE_WORDS and not word.isdigit()]
    unwanted = len(words) > MAX_WORDS or SKIPPED_WORDS.intersection(words) or not all(re.fullmatch('[a-z]+', w) for w in words)
    return '' if unwanted else ' '.join(words)


def kinds_of_words(emoji: Sequence[Emoji], kind_of: dict[str, str]) -> dict[str, str]:
    """Return word -> kind, for names of concepts and for keywords that several concepts of one kind alone have.

    Args:
        emoji (Sequence[Emoji]): All of them.
        kind_of (dict): Concept -> kind.
    """
    kinds = defaultdict(list)
    for item in emoji:
        for word in set(item.keywords):
            kinds[word.lower()].append(kind_of.get(item.concept, ''))
    found = {word: held[0] for word, held in kinds.items() if len(held) > 1 and len(set(held)) == 1 and held[0]}
    found.update({item.name.lower(): kind_of[item.concept] for item in emoji if item.concept in kind_of})
    return found


def draw_family(family: str, content: dict, packages: Path) -> dict[str, np.ndarray]:
    """Draw a family of icons.

    Args:
        family (str): Its name.
        content (dict): ``file`` and ``sha256``.
        packages (Path): Where the packages lie.

    Returns:
        dict[str, np.ndarray]: Icon -> straight RGBA ``(64, 64, 4)``, uint8; those that are empty are left out.
    """
    icon_set = IconSet(family, content, packages)
    skipped = {
        icon
        for category, icons in read_categories(Path(packages) / content['file']).items()
        if category in SKIPPED_CATEGORIES
        for icon in icons
    }
    drawn = {}
    for icon in icon_set.icons:
        if icon not in skipped and plain_name(icon) and re.search(content.get('only', ''), icon):
            drawing, _ = render(icon_set.svg(icon, MARGIN))
            if drawing[..., 3].mean() / 255 >= MIN_INK:
                drawn[icon] = drawing
    return drawn


def icons_as_emoji(family: str, concepts: Sequence[str], path: Path) -> list[Emoji]:
    """Describe icons as emoji are described: the category is the group, and the words of the name are the keywords.

    Args:
        family (str): Its name.
        concepts (Sequence[str]): Icons with the family before them, like 'mdi:dog-side'.
        path (Path): The package.
    """
    group_of = {icon: category for category, icons in read_categories(path).items() for icon in icons}
    icons = []
    for concept in concepts:
        name = plain_name(concept.split(':', 1)[1])
        words = name.split()
        icons.append(Emoji(concept, name, '', group_of.get(concept.split(':', 1)[1], ''), '', words if len(words) > 1 else []))
    return icons


def read_categories(path: Path) -> dict[str, list[str]]:
    """Return category -> icons, as the package sorts them; its SHA-256 was checked before."""
    with tarfile.open(path) as archive:
        names = {member.name for member in archive.getmembers()}
        if 'package/metadata.json' not in names:
            return {}
        return json.load(cast(IO[bytes], archive.extractfile('package/metadata.json'))).get('categories', {})


def like_any(drawings: dict[str, np.ndarray], tested: Sequence[np.ndarray]) -> list[str]:
    """Return which drawings look like one of those that are tested on, whatever it shows."""
    pictures = np.stack([normalised(drawing) for drawing in tested])
    means = block_means(pictures)
    found = []
    for name, drawing in drawings.items():
        one = normalised(drawing)
        close = np.flatnonzero(np.abs(means - block_means(one[None])).mean(-1).max((1, 2)) <= LOOK_ALIKE)
        if len(close) and (distances(one, pictures[close]) <= LOOK_ALIKE).any():
            found.append(name)
    return found
