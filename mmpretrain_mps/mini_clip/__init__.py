"""A tiny CLIP that comes with the package, so that everything runs offline.

The folder of this module is an open_clip ``local-dir`` model: 12 vision
blocks on 32 x 32 pictures, pre-trained on rendered glyphs, drawn digits and
coloured shapes only.  See ``NOTICE.md`` beside this file for what it was
made from and what it is not.

    >>> import open_clip
    >>> from mmpretrain_mps import mini_clip
    >>> model = open_clip.create_model(
    ...     f'local-dir:{mini_clip.folder()}', require_pretrained=True)
    >>> tokens = mini_clip.tokenizer()(['a photo of the number three.'])
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import open_clip

__all__ = [
    'DIGIT_TEMPLATES',
    'GLYPH_TEMPLATES',
    'auxiliary_weights',
    'check_vocabulary',
    'folder',
    'is_model_folder',
    'tokenizer',
    'vocabulary',
]

# The best prompt ensemble on the train half of scikit-learn's digits, never on
# the test half.  Prompt sets differ by half a point at most, as
# results/mini_clip_card.json shows, so the choice matters little.
DIGIT_TEMPLATES = (
    'a photo of the number {}.',
    'a photo of the digit {}.',
    'a handwritten digit {}.',
    'an image of the number {}.',
)
# The like for letters and symbols; not compared with any others.
GLYPH_TEMPLATES = (
    'a photo of a {}.',
    'a photo of the {}.',
    'a handwritten {}.',
    'an image of a {}.',
)

_CONFIG_NAME = 'open_clip_config.json'
_MERGES_NAME = 'bpe_merges.txt.gz'
_VOCABULARY_NAME = 'vocabulary.json'


def folder() -> Path:
    """Folder to give to open_clip as ``local-dir:<folder>``.

    Returns:
        Path: Absolute path of the installed model.
    """
    return Path(__file__).resolve().parent


def auxiliary_weights() -> Path:
    """Weights of the small self-supervised ResNet beside the mini CLIP.

    Returns:
        Path: Of the installed file; :mod:`.self_supervision` has the network.
    """
    return folder() / 'auxiliary_resnet18.safetensors'


def is_model_folder(model_folder: Path) -> bool:
    """Whether a folder holds a model of this form, with words of its own.

    ``tools/pretrain_mini_clip.py`` writes such folders.

    Args:
        model_folder (Path): Of an open_clip ``local-dir:`` model.
    """
    return all((model_folder / name).is_file() for name in (_CONFIG_NAME, _MERGES_NAME, _VOCABULARY_NAME))


@cache
def _vocabulary(model_folder: Path) -> dict:
    with open(model_folder / _VOCABULARY_NAME, encoding='utf-8') as file:
        return json.load(file)


def vocabulary(model_folder: Path | None = None) -> dict:
    """What the text tower knows.

    Args:
        model_folder (Path, optional): Of another model of this form.

    Returns:
        dict: ``words``, every word and punctuation mark of the pre-training
        captions, sorted; ``concepts``, the class names by group (``digits``,
        ``letters``, ``symbols``, ``shapes``, ``colours``).
    """
    known = _vocabulary(model_folder or folder())
    return {
        'words': list(known['words']),
        'concepts': {k: list(v) for k, v in known['concepts'].items()},
    }


@cache
def _tokenizer(model_folder: Path):
    from open_clip.tokenizer import SimpleTokenizer

    with open(model_folder / _CONFIG_NAME, encoding='utf-8') as file:
        text_cfg = json.load(file)['model_cfg']['text_cfg']
    made = SimpleTokenizer(bpe_path=str(model_folder / _MERGES_NAME), context_length=text_cfg['context_length'])
    if made.vocab_size != text_cfg['vocab_size']:
        raise ValueError(
            f'{_MERGES_NAME} gives {made.vocab_size} tokens but {_CONFIG_NAME}'
            f' says {text_cfg["vocab_size"]}; the folder {model_folder} mixes '
            'files of two models'
        )
    spelling = _vocabulary(model_folder).get('spelling')
    if spelling:
        made.clean_fn = partial(_spell, made.clean_fn, spelling)
    return made


def _spell(clean, spelling, text: str) -> str:
    """Write a text as the captions of a model were written."""
    for written, meant in spelling.items():
        text = text.replace(written, meant)
    return clean(text)


def tokenizer(model_folder: Path | None = None) -> open_clip.tokenizer.SimpleTokenizer:
    """open_clip tokenizer with the vocabulary and context of this model.

    Args:
        model_folder (Path, optional): Of another model of this form.

    Returns:
        open_clip.tokenizer.SimpleTokenizer: Call it on texts to get token
        ids ``(N, context_length)``; unused places hold 0.
    """
    return _tokenizer(model_folder or folder())


def _words(text: str, made) -> list[str]:
    """Split a text as the tokenizer does before byte pairs come in."""
    return made.pat.findall(made.clean_fn(text))


def _sample(names: list[str], count: int = 4) -> str:
    return ', '.join(repr(name) for name in names[:count])


def check_vocabulary(texts: Iterable[str], model_folder: Path | None = None) -> None:
    """Refuse texts that the text tower cannot understand.

    A class name made of words that pre-training never saw gets an arbitrary
    vector, and a text longer than the context loses its end token, from
    which the text feature is read.  Both look like low accuracy, not like a
    mistake, hence this check.

    Args:
        texts (Iterable[str]): Captions, i.e. templates already filled with
            class names, or bare class names.
        model_folder (Path, optional): Of another model of this form.

    Raises:
        TypeError: If ``texts`` is one string instead of several.
        ValueError: If a word never occurred in pre-training (the message
            names every such word and examples of known class names), or a
            text does not fit the context (the message quotes both lengths).
    """
    if isinstance(texts, str):
        raise TypeError(f'texts must be several strings, got the single string {texts!r}')
    texts = list(texts)
    made = tokenizer(model_folder)
    known = _vocabulary(model_folder or folder())
    words = set(known['words'])
    unknown = sorted({word for text in texts for word in _words(text, made)} - words)
    if unknown:
        concepts = known['concepts']
        examples = '; '.join(f'{group}: {_sample(names)}' for group, names in concepts.items())
        raise ValueError(
            'the mini CLIP has no meaning for '
            f'{", ".join(repr(word) for word in unknown)}: never part of a '
            f'pre-training caption. Known class names, for example, {examples}'
            f'; {_VOCABULARY_NAME} in the folder of the model lists all'
        )
    for text in texts:
        # Start and end of text take a place each.
        needed = len(made.encode(text)) + 2
        if needed > made.context_length:
            raise ValueError(
                f'{text!r} needs {needed} tokens but the context of the mini '
                f'CLIP holds {made.context_length}; shorten the template'
            )
