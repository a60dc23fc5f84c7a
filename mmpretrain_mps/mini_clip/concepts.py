"""What the mini CLIP is taught: concept names, their characters, captions.

A *concept* is a class name as it stands in a caption, for example ``three``,
``capital letter q`` or ``red circle``.  Every list here is plain data, so
importing this module costs nothing.
"""

DIGIT_NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

SHAPE_NAMES = (
    'circle',
    'ring',
    'square',
    'rectangle',
    'triangle',
    'diamond',
    'pentagon',
    'hexagon',
    'octagon',
    'star',
    'cross',
    'arrow',
    'heart',
    'crescent',
    'oval',
    'trapezoid',
)

# Red, green, blue in 0..255.  Jittered at pre-training time.
COLOURS = {
    'red': (220, 30, 30),
    'green': (30, 160, 50),
    'blue': (35, 70, 220),
    'yellow': (240, 220, 40),
    'orange': (245, 140, 25),
    'purple': (130, 40, 170),
    'pink': (250, 140, 190),
    'brown': (120, 75, 35),
    'cyan': (40, 210, 220),
    'gray': (128, 128, 128),
    'black': (10, 10, 10),
    'white': (245, 245, 245),
}

_GREEK = {
    'alpha': 'α',
    'beta': 'β',
    'gamma': 'γ',
    'delta': 'δ',
    'epsilon': 'ε',
    'zeta': 'ζ',
    'eta': 'η',
    'theta': 'θ',
    'iota': 'ι',
    'kappa': 'κ',
    'lambda': 'λ',
    'mu': 'μ',
    'nu': 'ν',
    'xi': 'ξ',
    'pi': 'π',
    'rho': 'ρ',
    'sigma': 'σ',
    'tau': 'τ',
    'upsilon': 'υ',
    'phi': 'φ',
    'chi': 'χ',
    'psi': 'ψ',
    'omega': 'ω',
}
# Capitals that no Latin capital resembles.
_GREEK_CAPITALS = {
    'gamma': 'Γ',
    'delta': 'Δ',
    'theta': 'Θ',
    'lambda': 'Λ',
    'xi': 'Ξ',
    'pi': 'Π',
    'sigma': 'Σ',
    'phi': 'Φ',
    'psi': 'Ψ',
    'omega': 'Ω',
}
# Capitals and small letters look alike here, so both stand for one concept.
_CYRILLIC = {
    'be': 'Бб',
    've': 'в',
    'ghe': 'г',
    'de': 'Дд',
    'zhe': 'Жж',
    'ze': 'Зз',
    'ii': 'Ии',
    'iot': 'Йй',
    'ka': 'к',
    'el': 'Лл',
    'em': 'м',
    'en': 'н',
    'te': 'т',
    'ef': 'Фф',
    'tse': 'Цц',
    'che': 'Чч',
    'sha': 'Шш',
    'shcha': 'Щщ',
    'yeru': 'Ыы',
    'yer': 'Ъъ',
    'reversed e': 'Ээ',
    'yu': 'Юю',
    'ya': 'Яя',
}
_SYMBOLS = {
    'plus sign': '+',
    'minus sign': '-',
    'equals sign': '=',
    'question mark': '?',
    'exclamation mark': '!',
    'hash sign': '#',
    'percent sign': '%',
    'ampersand': '&',
    'at sign': '@',
    'asterisk': '*',
    'dollar sign': '$',
    'euro sign': '€',
    'pound sign': '£',
    'yen sign': '¥',
    'cent sign': '¢',
    'section sign': '§',
    'paragraph sign': '¶',
    'copyright sign': '©',
    'registered sign': '®',
    'trademark sign': '™',
    'degree sign': '°',
    'less than sign': '<',
    'greater than sign': '>',
    'left parenthesis': '(',
    'right parenthesis': ')',
    'left bracket': '[',
    'right bracket': ']',
    'left brace': '{',
    'right brace': '}',
    'forward slash': '/',
    'backward slash': '\\',
    'vertical bar': '|',
    'tilde': '~',
    'circumflex': '^',
    'colon': ':',
    'semicolon': ';',
    'multiplication sign': '×',
    'division sign': '÷',
    'infinity sign': '∞',
    'integral sign': '∫',
    'square root sign': '√',
    'summation sign': '∑',
    'product sign': '∏',
    'partial derivative sign': '∂',
    'not equal sign': '≠',
    'approximately equal sign': '≈',
    'less or equal sign': '≤',
    'greater or equal sign': '≥',
    'plus minus sign': '±',
    'left arrow': '←',
    'right arrow': '→',
    'up arrow': '↑',
    'down arrow': '↓',
    'double arrow': '↔',
    'for all sign': '∀',
    'there exists sign': '∃',
    'empty set sign': '∅',
    'element sign': '∈',
    'subset sign': '⊂',
    'union sign': '∪',
    'intersection sign': '∩',
    'logical not sign': '¬',
    'proportional sign': '∝',
    'nabla sign': '∇',
    'angle sign': '∠',
    'per mille sign': '‰',
    'dagger': '†',
    'double dagger': '‡',
    'bullet': '•',
    'ellipsis': '…',
    'inverted question mark': '¿',
    'inverted exclamation mark': '¡',
    'left quotation mark': '«',
    'right quotation mark': '»',
    'spade': '♠',
    'club': '♣',
    'heart suit': '♥',
    'diamond suit': '♦',
    'music note': '♪',
    'music sharp': '♯',
    'music flat': '♭',
    'female sign': '♀',
    'male sign': '♂',
    'sharp s': 'ß',
    'letter ae': 'æ',
    'letter oe': 'œ',
    'letter thorn': 'þ',
    'letter eth': 'ð',
    'letter slashed o': 'ø',
}

_GLYPH_TEMPLATES = (
    '{}',
    'the {}.',
    'a {}.',
    'a photo of {}.',
    'a photo of a {}.',
    'a photo of the {}.',
    'an image of {}.',
    'an image of a {}.',
    'a picture of the {}.',
    'a drawing of the {}.',
    'a handwritten {}.',
    'a printed {}.',
    'a blurry photo of the {}.',
    'a low resolution image of the {}.',
)
_DIGIT_TEMPLATES = _GLYPH_TEMPLATES + (
    'the number {}.',
    'the digit {}.',
    'a photo of the number {}.',
    'a photo of the digit {}.',
    'a photo of the number: "{}".',
    'a handwritten digit {}.',
    'a handwritten number {}.',
    'an image of the digit {}.',
    'an image of the number {}.',
    'a drawing of the digit {}.',
    'a printed digit {}.',
    'a blurry photo of the digit {}.',
    'a low resolution photo of the number {}.',
    'a white digit {} on a black background.',
)
_SHAPE_TEMPLATES = _GLYPH_TEMPLATES[:10] + (
    'a {} on a plain background.',
    'the shape of a {}.',
)
TEMPLATES = {
    'digits': _DIGIT_TEMPLATES,
    'letters': _GLYPH_TEMPLATES,
    'symbols': _GLYPH_TEMPLATES,
    'shapes': _SHAPE_TEMPLATES,
}


def glyph_characters(group: str) -> dict[str, str]:
    """Characters that picture each concept of a group.

    Args:
        group (str): ``digits``, ``letters`` or ``symbols``.

    Returns:
        dict[str, str]: Concept name to the characters that stand for it.

    Raises:
        ValueError: If the group has no characters.
    """
    if group == 'digits':
        return {name: str(value) for value, name in enumerate(DIGIT_NAMES)}
    if group == 'letters':
        alphabet = 'abcdefghijklmnopqrstuvwxyz'
        letters = {f'capital letter {c}': c.upper() for c in alphabet}
        letters.update({f'small letter {c}': c for c in alphabet})
        return letters
    if group == 'symbols':
        symbols = dict(_SYMBOLS)
        symbols.update({f'greek letter {name}': c for name, c in _GREEK.items()})
        symbols.update({f'greek capital letter {name}': c for name, c in _GREEK_CAPITALS.items()})
        symbols.update({f'cyrillic letter {name}': c for name, c in _CYRILLIC.items()})
        return symbols
    raise ValueError(f"group must be 'digits', 'letters' or 'symbols', got {group!r}")


def concept_groups() -> dict[str, list[str]]:
    """Every concept of pre-training by group.

    Returns:
        dict[str, list[str]]: ``digits`` (10), ``letters`` (52), ``symbols``,
        ``shapes`` (16, without a colour) and ``colours`` (12).  A caption
        of a shape reads ``red circle`` or just ``circle``.
    """
    groups = {group: list(glyph_characters(group)) for group in ('digits', 'letters', 'symbols')}
    groups['shapes'] = list(SHAPE_NAMES)
    groups['colours'] = list(COLOURS)
    return groups


def digit_aliases() -> dict[str, str]:
    """Numerals that captions use now and then in place of the number word.

    Returns:
        dict[str, str]: ``{'zero': '0', ...}``.
    """
    return {name: str(value) for value, name in enumerate(DIGIT_NAMES)}
