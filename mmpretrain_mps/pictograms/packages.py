"""Packages of emoji, as ``npm pack`` fetches them: which pictures there are, and under which names."""

import hashlib
import json
import re
import tarfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import yaml

FOLDER = Path(__file__).resolve().parent
VARIATION_SELECTOR = 'fe0f'  # asks for a colour picture; not part of what is shown


class Emoji(NamedTuple):
    """One emoji of Unicode's list."""

    concept: str
    """The name with hyphens, like 'red-apple'."""
    name: str
    """The name in plain English, like 'red apple'."""
    character: str
    group: str
    subgroup: str
    keywords: Sequence[str]

    @property
    def code(self) -> str:
        """str: Code points in hexadecimal digits with hyphens between them."""
        return _plain_code('-'.join(f'{ord(letter):x}' for letter in self.character))


class IconSet:
    """The pictures of one style.

    Args:
        style (str): Its name.
        content (dict): ``file``, ``sha256``, and perhaps ``names`` (icon -> concept), as ``packages.yaml`` has them.
        folder (Path): Where the packages lie.
    """

    def __init__(self, style: str, content: dict, folder: Path):
        files = read_package(Path(folder) / content['file'], content['sha256'], ['icons.json'], ['chars.json'])
        icons = files['icons.json']
        self.style = style
        self._icons, self._default = icons['icons'], icons
        self.names_of_codes = {_plain_code(code): name for code, name in files.get('chars.json', {}).items()}
        # An alias that turns or mirrors its picture is no other name of it.
        aliases = {name: alias['parent'] for name, alias in icons.get('aliases', {}).items() if set(alias) == {'parent'}}
        self._found = {_joined(name): name for name in sorted(self._icons, reverse=True)}
        for name in sorted(aliases):
            self._found.setdefault(_joined(name), self._target(name, aliases))
        self._by_hand = {concept: icon for icon, concept in content.get('names', {}).items()}
        self._taken = set(content.get('names', {}))

    @property
    def icons(self) -> list[str]:
        """list[str]: Names of all icons, sorted."""
        return sorted(self._icons)

    def find(self, emoji: Emoji, other_names: Sequence[str]) -> str:
        """Return the name of the icon that shows an emoji, or ''.

        Args:
            emoji (Emoji): What is looked for.
            other_names (Sequence[str]): Names that other sets give to the same code.
        """
        if emoji.concept in self._by_hand:
            return self._by_hand[emoji.concept]
        if emoji.code in self.names_of_codes:
            return self._found.get(_joined(self.names_of_codes[emoji.code]), '')
        unicode_name = unicodedata.name(emoji.character[0], '') if '-' not in emoji.code else ''
        for name in (emoji.concept, *other_names, unicode_name):
            icon = self._found.get(_joined(name), '')
            if icon and icon not in self._taken:
                return icon
        return ''

    def svg(self, icon: str, margin: float = 0.0) -> str:
        """Return an icon as an SVG picture, square, with a margin in fractions of its side."""
        shape = {
            key: self._icons[icon].get(key, self._default.get(key, default))
            for key, default in dict(left=0, top=0, width=16, height=16).items()
        }
        side = max(shape['width'], shape['height']) * (1 + 2 * margin)
        left = shape['left'] - (side - shape['width']) / 2
        top = shape['top'] - (side - shape['height']) / 2
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
            f'viewBox="{left} {top} {side} {side}" width="{side}" height="{side}">{self._icons[icon]["body"]}</svg>'
        )

    def _target(self, name, aliases):
        while name in aliases:
            name = aliases[name]
        return name


def read_listing(path: Path = FOLDER / 'packages.yaml') -> dict:
    """Return which packages there are: ``emoji``, ``keywords`` and ``styles``."""
    return yaml.safe_load(Path(path).read_text(encoding='utf-8'))


def read_package(path: Path, sha256: str, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, dict]:
    """Read JSON files of an archive ``package/...`` that is the one that was asked for.

    Args:
        path (Path): A ``.tgz`` file.
        sha256 (str): Of the file.
        names (Sequence[str]): Files to read.
        optional (Sequence[str]): Files to read where there are some.

    Returns:
        dict[str, dict]: Name -> content.

    Raises:
        FileNotFoundError: If the archive is missing; the message says how to get it.
        ValueError: If it is another one, or lacks a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; fetch it into that folder with `npm pack`, see docs/pictograms.md')
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f'{path} has the SHA-256 {found}, expected {sha256}: fetch the version that its name tells')
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        missing = [name for name in names if f'package/{name}' not in members]
        if missing:
            raise ValueError(f'{path} lacks {", ".join(missing)}, expected in the folder "package" of the archive')
        wanted = [name for name in (*names, *optional) if f'package/{name}' in members]
        return {name: json.load(cast(IO[bytes], archive.extractfile(members[f'package/{name}']))) for name in wanted}


def read_emoji(listing: dict, folder: Path) -> list[Emoji]:
    """Read the list of all emoji, without skin tones.

    Args:
        listing (dict): Of :func:`read_listing`.
        folder (Path): Where the packages lie.

    Returns:
        list[Emoji]: In Unicode's order.
    """
    emoji, keywords = listing['emoji'], listing['keywords']
    listed = read_package(Path(folder) / emoji['file'], emoji['sha256'], ['data-by-emoji.json'])['data-by-emoji.json']
    files = read_package(Path(folder) / keywords['file'], keywords['sha256'], ['en/data.json', 'meta/groups.json'])
    subgroups = files['meta/groups.json']['subgroups']
    known = {_plain_code(one['hexcode'].lower()): one for one in files['en/data.json']}
    result = []
    for character, one in listed.items():
        item = Emoji(one['slug'].replace('_', '-'), one['name'].replace('’', "'"), character, one['group'], '', ())
        more = known.get(item.code, {})
        result.append(item._replace(subgroup=subgroups.get(str(more.get('subgroup')), ''), keywords=tuple(more.get('tags', ()))))
    return result


def match_icons(emoji: Sequence[Emoji], sets: Sequence[IconSet]) -> dict[str, dict[str, str]]:
    """Find out which icon of each set shows which emoji.

    Returns:
        dict[str, dict[str, str]]: Style -> concept -> icon; what a set does not have is left out.
    """
    found: dict[str, dict[str, str]] = {icon_set.style: {} for icon_set in sets}
    for item in emoji:
        names = list(
            dict.fromkeys(icon_set.names_of_codes[item.code] for icon_set in sets if item.code in icon_set.names_of_codes)
        )
        for icon_set in sets:
            icon = icon_set.find(item, names)
            if icon:
                found[icon_set.style][item.concept] = icon
    return found


def _plain_code(code):
    return '-'.join(part for part in code.split('-') if part != VARIATION_SELECTOR)


def _joined(name):
    """Return a name without blanks, hyphens and a number of a variant at the end: sets write the same name differently."""
    return re.sub(r'-\d+$', '', name.lower()).replace('-', '').replace(' ', '')
