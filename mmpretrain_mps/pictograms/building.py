"""From packages of emoji to the files of this folder."""

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from . import INDEX_NAME, write_sheet
from .icon_families import draw_family, icons_as_emoji, kinds_of_words, like_any
from .packages import FOLDER, Emoji, IconSet, match_icons, read_emoji
from .rendering import MARGIN, SIZE, render
from .splitting import Drawings, Roles, look_alike, same_drawings, shifted_tests, split_kinds, split_things

MIN_INK, MAX_CUT = 0.02, 0.01  # shares of the picture, and of the ink
STYLE_KEYS = ('role', 'artist', 'licence')
ICONS_FOLDER = 'icons'  # of the folder for pre-training


class Kinds(NamedTuple):
    """What is written by hand in ``kinds.yaml``."""

    kinds: dict[str, list[str]]
    """Kind -> concepts."""
    not_things: Sequence[str]
    """Kinds whose concepts are no single things."""
    excluded: dict[str, dict]
    """Reason -> ``groups``, ``subgroups``, ``pattern`` and ``names`` of emoji."""

    @property
    def kind_of(self) -> dict[str, str]:
        """dict[str, str]: Concept -> kind."""
        return {concept: kind for kind, concepts in self.kinds.items() for concept in concepts}


def read_kinds(path: Path = FOLDER / 'kinds.yaml') -> Kinds:
    """Read the kinds.

    Raises:
        ValueError: If a concept is named more than once.
    """
    content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    kinds = {kind: concepts.split() for kind, concepts in sorted(content['kinds'].items())}
    repeated = [concept for concept, count in Counter(sum(kinds.values(), [])).items() if count > 1]
    if repeated:
        raise ValueError(f'{path} names {", ".join(repeated)} more than once, expected every concept in one kind')
    return Kinds(kinds, content.get('not_things', ()), content.get('excluded', {}))


def build(packages: Path, out: Path, listing: dict, kinds: Kinds, pretraining: Path | None = None) -> dict:
    """Draw everything, and write what is tested on and what may be pre-trained on into two folders.

    Args:
        packages (Path): Where the packages lie.
        out (Path): Folder for the drawings of all styles but those with the role 'pretraining'.
        listing (dict): Of :func:`.packages.read_listing`.
        kinds (Kinds): Of :func:`read_kinds`.
        pretraining (Path, optional): Folder for the others, which are not drawn without it. They show all emoji that are
            not excluded, but for drawings that look like one that is tested on.

    Returns:
        dict: The index of ``out``; see :func:`mmpretrain_mps.pictograms.index`.

    Raises:
        ValueError: If a kind names what is no emoji, or has too few concepts.
        FileNotFoundError: If a package is missing.
    """
    emoji = read_emoji(listing, packages)
    strangers = set(kinds.kind_of).difference(item.concept for item in emoji)
    if strangers:
        raise ValueError(f"kinds.yaml names {', '.join(sorted(strangers))}, expected names of Unicode's list, with hyphens")
    reasons = why_excluded(emoji, kinds)
    styles = listing['styles']
    sets = {style: IconSet(style, content, packages) for style, content in styles.items()}
    icons = match_icons(emoji, list(sets.values()))
    tested = [style for style in styles if styles[style]['role'] != 'pretraining']
    drawn, faults = {}, {}
    for style in tested:
        wanted = [item.concept for item in emoji if item.concept in kinds.kind_of and item.concept in icons[style]]
        drawn[style], faults[style] = draw(sets[style], icons[style], wanted)
    content = divide([item.concept for item in emoji], drawn, roles_of(styles), kinds)
    content['left_out'] = dict(
        emoji=_lists(
            {
                **{item.concept: 'in no kind' for item in emoji if item.concept not in kinds.kind_of},
                **reasons,
                **content.pop('dropped'),
            }
        ),
        drawings={style: _lists(faults[style]) for style in tested},
    )
    _write(
        out,
        content,
        emoji,
        kinds,
        styles,
        {
            style: {concept: drawn[style][concept] for concept in drawn[style] if concept in content['concepts']}
            for style in tested
        },
    )
    if pretraining is not None:
        others = {
            style: draw(sets[style], icons[style], [concept for concept in icons[style] if concept not in reasons])
            for style in styles
            if style not in tested
        }
        _write_pretraining(pretraining, others, drawn, emoji, kinds, styles)
        _write_icons(Path(pretraining) / ICONS_FOLDER, listing.get('icons', {}), packages, drawn, emoji, kinds)
    return content


def roles_of(styles: dict) -> Roles:
    """Sort the styles of ``packages.yaml`` by what they are for."""
    named = {role: [style for style, content in styles.items() if content['role'] == role] for role in Roles._fields}
    roles: dict[str, Any] = {role: tuple(found) if role == 'source' else found[0] for role, found in named.items()}
    return Roles(**roles)


def why_excluded(emoji: Sequence[Emoji], kinds: Kinds) -> dict[str, str]:
    """Return concept -> the first reason of ``kinds.yaml`` to exclude it; what is in a kind is not excluded."""
    result: dict[str, str] = {}
    for item in emoji:
        for reason, rule in kinds.excluded.items():
            fits = (
                item.group in rule.get('groups', ())
                or item.subgroup in rule.get('subgroups', ())
                or item.concept in rule.get('names', '').split()
                or 'pattern' in rule
                and re.search(rule['pattern'], item.concept)
            )
            if fits and item.concept not in kinds.kind_of:
                result.setdefault(item.concept, reason)
    return result


def draw(icon_set: IconSet, icons: dict[str, str], wanted: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Draw what is wanted of a set.

    Returns:
        tuple[dict, dict]: Concept -> drawing ``(64, 64, 4)``, and concept -> why there is none.
    """
    drawn, faults = {}, {}
    for concept in wanted:
        drawing, cut = render(icon_set.svg(icons[concept], MARGIN))
        if drawing[..., 3].mean() / 255 < MIN_INK:
            faults[concept] = 'empty, or not to be rendered'
        elif cut > MAX_CUT:
            faults[concept] = 'cut off at the border'
        else:
            drawn[concept] = drawing
    return drawn, faults


def divide(order: Sequence[str], drawn: Drawings, roles: Roles, kinds: Kinds) -> dict:
    """Decide which concepts there are, and what is trained and tested on.

    Args:
        order (Sequence[str]): All concepts, in Unicode's order.
        drawn (Drawings): All drawings of the styles that are tested on.
        roles (Roles): What the styles are for.
        kinds (Kinds): Which concepts are of which kind.

    Returns:
        dict: ``concepts``, ``kinds``, ``shown``, ``things``, and ``dropped`` (concept -> reason).
    """
    kept = [concept for concept in order if concept in kinds.kind_of]
    dropped = {
        concept: 'drawn by less than two artists of the source'
        for concept in kept
        if sum(concept in drawn[style] for style in roles.source) < 2
    }
    kept = [concept for concept in kept if concept not in dropped]
    dropped.update({concept: f'drawn like {other}' for concept, other in same_drawings(drawn, roles.source, kept).items()})
    members = {kind: [concept for concept in concepts if concept not in dropped] for kind, concepts in kinds.kinds.items()}
    split = split_kinds(members, drawn, roles)
    things = [concept for kind, concepts in members.items() if kind not in kinds.not_things for concept in concepts]
    return dict(
        concepts=sorted(sum(members.values(), [])),
        kinds=split,
        shown=shifted_tests(split, drawn, roles),
        things=split_things(things, drawn, roles),
        dropped=dropped,
    )


def _write(out, content, emoji, kinds, styles, drawn):
    """Write sheets and index; what is written about concepts and sheets joins the content."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    content['size'] = SIZE
    known = {item.concept: item for item in emoji}
    content['concepts'] = {
        concept: dict(
            name=known[concept].name,
            character=known[concept].character,
            group=known[concept].group,
            subgroup=known[concept].subgroup,
            keywords=known[concept].keywords,
            kind=kinds.kind_of.get(concept, ''),
        )
        for concept in content['concepts']
    }
    content['sheets'] = {}
    for style, drawings in drawn.items():
        concepts = sorted(drawings)
        sha256 = write_sheet(out / f'{style}.webp', np.stack([drawings[concept] for concept in concepts]))
        content['sheets'][style] = dict(
            file=f'{style}.webp', sha256=sha256, concepts=concepts, **{key: styles[style][key] for key in STYLE_KEYS}
        )
    (out / INDEX_NAME).write_text(_lines(content), encoding='utf-8')


def _write_pretraining(out, others, drawn, emoji, kinds, styles):
    left_out, kept = {}, {}
    for style, (drawings, faults) in others.items():
        copies = {concept for concept in drawings if _looks_like_any(drawings[concept], concept, drawn)}
        left_out[style] = _lists({**faults, **dict.fromkeys(copies, 'looks like a drawing of the tests')})
        kept[style] = {concept: drawing for concept, drawing in drawings.items() if concept not in copies}
    concepts = sorted({concept for drawings in kept.values() for concept in drawings})
    content = dict(concepts=concepts, kinds={}, shown={}, things={}, left_out=dict(emoji={}, drawings=left_out))
    _write(out, content, emoji, kinds, styles, kept)


def _write_icons(out, families, packages, drawn, emoji, kinds):
    """Write the icons in one colour, each of which is a concept of its own with the family before its name."""
    tested = [drawing for drawings in drawn.values() for drawing in drawings.values()]
    kind_of_word = kinds_of_words(emoji, kinds.kind_of)
    left_out, kept, icons = {}, {}, []
    for family, content in families.items():
        drawings = draw_family(family, content, packages)
        copies = like_any(drawings, tested)
        left_out[family] = {'looks like a drawing of the tests': copies}
        named = {f'{family}:{icon}': drawing for icon, drawing in drawings.items() if icon not in set(copies)}
        icons += icons_as_emoji(family, sorted(named), Path(packages) / content['file'])
        kept[family] = named
    kind_of = {icon.concept: kind_of_word[icon.name] for icon in icons if icon.name in kind_of_word}
    members = {kind: [concept for concept, other in kind_of.items() if other == kind] for kind in kinds.kinds}
    content = dict(
        concepts=sorted(icon.concept for icon in icons),
        kinds={},
        shown={},
        things={},
        left_out=dict(emoji={}, drawings=left_out),
    )
    _write(out, content, icons, kinds._replace(kinds=members), families, kept)


def _looks_like_any(drawing, concept, drawn):
    return look_alike({**drawn, '': {concept: drawing}}, concept, '', list(drawn))


def _lists(reasons):
    """Turn concept -> reason into reason -> concepts."""
    return {
        reason: sorted(concept for concept, other in reasons.items() if other == reason)
        for reason in sorted(set(reasons.values()))
    }


def _lines(content):
    """Write JSON with one line for each key of the sections, so that a difference can be read."""
    plain = functools.partial(json.dumps, ensure_ascii=False, sort_keys=True)
    sections = []
    for key, value in sorted(content.items()):
        lines = [f'  {plain(name)}: {plain(value[name])}' for name in sorted(value)] if isinstance(value, dict) else []
        sections.append(f' {plain(key)}: ' + ('{\n' + ',\n'.join(lines) + '\n }' if lines else plain(value)))
    return '{\n' + ',\n'.join(sections) + '\n}\n'
