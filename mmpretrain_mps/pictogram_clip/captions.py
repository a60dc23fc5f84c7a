"""What the pictogram CLIP is told about a drawing."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

TEMPLATES = (
    '{}',
    'a {}.',
    'the {}.',
    'a photo of a {}.',
    'a photo of the {}.',
    'a picture of a {}.',
    'a picture of the {}.',
    'a drawing of a {}.',
    'a drawing of the {}.',
    'an image of a {}.',
    'an image of the {}.',
    'a sketch of a {}.',
    'an icon of a {}.',
    'a pictogram of a {}.',
    'a black and white drawing of a {}.',
    'a low resolution photo of a {}.',
    'a blurry photo of a {}.',
    'a small {} on a white background.',
)
KIND_TEMPLATES = TEMPLATES + ('a kind of {}.', 'one of many: {}.')
# Captions have no apostrophes and no hyphens: womans hat, t shirt.
SPELLING = {"'": '', '’': '', '-': ' '}
# A mirrored arrow is another one, and so are letters and clocks.
_ONE_WAY = re.compile(r'left|right|clock|letter|text|sign|button|symbol|keycap|input|curving|turn')


class Described(NamedTuple):
    """What is known of one drawing."""

    name: str
    keywords: Sequence[str]
    """Without the name."""
    kind: str
    """Empty if it is of none."""
    can_be_mirrored: bool


def plain(text: str) -> str:
    """Return a text in the words of a caption: small letters, blanks for all that is no letter and no digit."""
    return ' '.join(re.findall(r'[a-z0-9]+', text.lower().replace("'", '').replace('’', '')))


def describe(emoji: dict) -> Described:
    """Describe a drawing by what ``pictograms.json`` says of it."""
    name = plain(emoji['name'])
    groups = [emoji['group'], emoji['subgroup']] if emoji['subgroup'] else [emoji['group']]
    keywords = [plain(word) for word in (*emoji['keywords'], *groups)]
    keywords = [word for word in dict.fromkeys(keywords) if word and word != name and len(word.split()) < 5]
    one_way = bool(_ONE_WAY.search(name)) or emoji['group'] == 'Symbols'
    return Described(name, keywords, plain(emoji['kind']), not one_way)


def texts_of(described: Sequence[Described]) -> Counter:
    """Count all that a caption can speak of: names, keywords and kinds."""
    found: Counter[str] = Counter()
    for one in described:
        found.update([one.name, *one.keywords, *([one.kind] if one.kind else [])])
    return found


def count_words(texts: dict[str, int], split: Callable[[str], Sequence[str]]) -> Counter:
    """Count the words of all captions.

    Args:
        texts (dict): Text -> how often; those of the templates are added.
        split (callable): Text -> words, as the tokenizer splits it.
    """
    words: Counter[str] = Counter()
    for text, count in texts.items():
        for word in split(text):
            words[word] += count
    for template in KIND_TEMPLATES:
        for word in split(template.format('zero')):
            words[word] += 1000
    return words


def concept_groups(described: Sequence[Described]) -> dict[str, list[str]]:
    """Return names by group, as ``vocabulary.json`` keeps them: ``kinds``, and ``things`` that some kind has, and ``others``."""
    things = {one.name for one in described if one.kind}
    return dict(
        kinds=sorted({one.kind for one in described if one.kind}),
        things=sorted(things),
        others=sorted({one.name for one in described} - things),
    )
