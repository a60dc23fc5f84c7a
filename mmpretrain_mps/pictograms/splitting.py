"""Which drawings are trained and tested on."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .rendering import block_means, distances, normalised

TRAIN_PICTURES, VAL_PICTURES = 16, 4  # of a kind at least, in all source styles together
NUM_THINGS = 250  # more classes would make a training long, and the figures no surer

# Distances of `rendering.distances`, chosen by looking at pairs: two concepts of one style that are one drawing, and two drawings
# of one concept that hardly differ. Simple white things (clouds, paper) come near each other without being alike, and so the
# first limit is the stricter one.
SAME_DRAWING, LOOK_ALIKE = 26, 40

Drawings = dict[str, dict[str, np.ndarray]]
"""Style -> concept -> ``(64, 64, 4)``."""


class Roles(NamedTuple):
    """Styles by what they are for."""

    source: Sequence[str]
    """Tuned on, and tested on."""
    older: str
    other_artist: str
    sketch: str

    @property
    def targets(self) -> tuple[str, ...]:
        """tuple[str]: Styles that nothing is tuned on."""
        return self.older, self.other_artist, self.sketch


def same_drawings(drawn: Drawings, styles: Sequence[str], concepts: Sequence[str]) -> dict[str, str]:
    """Find concepts that some style draws as it draws an earlier one.

    Args:
        drawn (Drawings): All drawings.
        styles (Sequence[str]): Styles to look at.
        concepts (Sequence[str]): In their order.

    Returns:
        dict[str, str]: The later concept -> the earlier one.
    """
    found: dict[str, str] = {}
    for style in styles:
        names = [concept for concept in concepts if concept in drawn[style]]
        pictures = np.stack([normalised(drawn[style][name]) for name in names])
        means = block_means(pictures)
        for place, name in enumerate(names[1:], 1):
            # Few come near in their means, and only these are worth the pixels.
            close = np.flatnonzero(np.abs(means[:place] - means[place]).mean(-1).max((1, 2)) <= SAME_DRAWING)
            near = close[distances(pictures[place], pictures[close]) <= SAME_DRAWING] if len(close) else close
            first = next((names[earlier] for earlier in near if names[earlier] not in found), None)
            if first is not None:
                found.setdefault(name, first)
    return found


def look_alike(drawn: Drawings, concept: str, one: str, others: Sequence[str]) -> bool:
    """Whether a style draws a concept as one of the others does; those that do not draw it do not count."""
    there = [normalised(drawn[style][concept]) for style in others if concept in drawn[style]]
    return bool(there) and bool((distances(normalised(drawn[one][concept]), np.stack(there)) <= LOOK_ALIKE).any())


def split_kinds(kinds: dict[str, list[str]], drawn: Drawings, roles: Roles) -> dict[str, dict[str, list[str]]]:
    """Divide the concepts of every kind, in the order of the SHA-256 of their names.

    The first concept that all styles draw is tested on, so that no class is without a picture in any domain; the next ones
    are trained on until they have 16 pictures, the next ones are for validation until they have 4, and all others are tested on.

    Args:
        kinds (dict): Kind -> concepts.
        drawn (Drawings): All drawings.
        roles (Roles): What the styles are for.

    Returns:
        dict: Kind -> ``train``, ``val`` and ``test`` -> concepts, sorted.

    Raises:
        ValueError: If there are not enough.
    """
    result = {}
    for kind, concepts in kinds.items():
        waiting = sorted(concepts, key=_hash)
        first = next((concept for concept in waiting if all(concept in drawn[style] for style in drawn)), None)
        parts: dict[str, list[str]] = dict(train=[], val=[], test=[])
        if first is not None:
            waiting.remove(first)
            parts['test'].append(first)
        for part, pictures in (('train', TRAIN_PICTURES), ('val', VAL_PICTURES)):
            while waiting and _pictures(parts[part], drawn, roles.source) < pictures:
                parts[part].append(waiting.pop(0))
        parts['test'] += waiting
        if first is None or _pictures(parts['val'], drawn, roles.source) < VAL_PICTURES:
            raise ValueError(
                f'the kind "{kind}" has {len(concepts)} concepts, too few for {TRAIN_PICTURES} pictures to train on, '
                f'{VAL_PICTURES} for validation and one that every style draws to test on: name more in kinds.yaml'
            )
        result[kind] = {part: sorted(members) for part, members in parts.items()}
    return result


def split_things(
    concepts: Sequence[str], drawn: Drawings, roles: Roles, limit: int = NUM_THINGS
) -> dict[str, dict[str, list[str]]]:
    """Choose the concepts that are classes of their own, and whose drawings of each are trained and tested on.

    Two artists of the source are trained on, and the third is tested on, by the SHA-256 of the name; the older style is for
    validation. Concepts that a style lacks, or of which two of these drawings look alike, are no classes.

    Args:
        concepts (Sequence[str]): What there is.
        drawn (Drawings): All drawings.
        roles (Roles): What the styles are for.
        limit (int): Number of classes; the first ones by the same order.

    Returns:
        dict: Concept -> ``train``, ``val`` and ``test`` -> styles.
    """
    result: dict[str, dict] = {}
    used = (*roles.source, roles.older)
    for concept in sorted(concepts, key=_hash):
        if len(result) == limit:
            break
        if not all(concept in drawn[style] for style in drawn):
            continue
        if any(look_alike(drawn, concept, style, used[:place]) for place, style in enumerate(used)):
            continue
        tested = roles.source[int(_hash(concept), 16) % len(roles.source)]
        result[concept] = dict(train=[style for style in roles.source if style != tested], val=[roles.older], test=[tested])
    return dict(sorted(result.items()))


def shifted_tests(kinds: dict, drawn: Drawings, roles: Roles) -> dict[str, list[str]]:
    """Return style -> test concepts of the kinds that are shown in it: not those that look as in the source.

    Raises:
        ValueError: If a kind is left without one.
    """
    shown = {
        style: [
            concept
            for parts in kinds.values()
            for concept in parts['test']
            if concept in drawn[style] and not look_alike(drawn, concept, style, roles.source)
        ]
        for style in roles.targets
    }
    for kind, parts in kinds.items():
        bare = [style for style, concepts in shown.items() if not set(concepts) & set(parts['test'])]
        if bare:
            raise ValueError(f'the kind "{kind}" has no picture to test on in {", ".join(bare)}: name more in kinds.yaml')
    return shown


def _pictures(concepts, drawn, styles):
    return sum(concept in drawn[style] for concept in concepts for style in styles)


def _hash(concept):
    return hashlib.sha256(concept.encode()).hexdigest()
