"""Class names as token ids, with the refusal of what tokenizers would cut in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log
from open_clip.tokenizer import SimpleTokenizer

from .prototypes import check_texts, fill_templates

if TYPE_CHECKING:
    from .text_tower import TextTower

# Byte pairs are made within words, so that a filled template has as many tokens as name and template; a name that is
# glued to a letter, as in '{}s', makes a few more or less.
_GLUE = 8


def check_prompts(tokenizer: Callable, class_names: Sequence[str], templates: Sequence[str]) -> None:
    """Refuse prompts that the tokenizer would cut, and warn of names that it takes apart into bytes.

    Args:
        tokenizer (Callable): Of open_clip; those that are not of OpenAI's kind are not looked at.
        class_names (Sequence[str]): ``C`` names.
        templates (Sequence[str]): ``T`` prompt templates.

    Raises:
        ValueError: If a prompt does not fit the context, which could give two classes one prototype; or as
            :func:`fill_templates`.
    """
    if not isinstance(tokenizer, SimpleTokenizer):
        return
    check_texts(class_names, templates)
    limit, lengths = tokenizer(['']).shape[1], count_tokens(tokenizer, class_names)
    sums = lengths[:, None] + count_tokens(tokenizer, [template.replace('{}', '') for template in templates])
    for label, number in (sums + 2 + _GLUE > limit).nonzero().tolist():
        _check_length(tokenizer, templates[number].replace('{}', class_names[label]), class_names[label], limit)
    # A letter of another script is two or more bytes, and OpenAI's vocabulary has few pairs of these.
    strange = [
        name for name, length in zip(class_names, lengths.tolist()) if not name.isascii() and length >= len(name.replace(' ', ''))
    ]
    if strange:
        print_log(
            f'{len(strange)} of {len(class_names)} class names are read byte by byte, among them '
            f'{strange[0]!r}: this CLIP has no words for them. English names usually do better',
            'current',
            logging.WARNING,
        )


def _check_length(tokenizer, text, name, limit):
    length = int(count_tokens(tokenizer, [text])) + 2
    if length > limit:
        shown = text if len(text) <= 80 else f'{text[:60]} ... {text[-15:]}'
        raise ValueError(
            f'the prompt {shown!r} of class {name[:60]!r} is {length} tokens long with start and end, '
            f'but the context of this CLIP holds {limit}; shorten the name or the template'
        )


def tokenize_prompts(tokenizer: Callable, class_names: Sequence[str], template: str) -> torch.Tensor:
    """Put class names in one template and turn them into token ids.

    Args:
        tokenizer (Callable): Of open_clip. Makes ids ``(N, context_length)`` of texts, and cuts what is longer.
        class_names (Sequence[str]): ``C`` names; underscores become spaces.
        template (str): With one ``{}``.

    Returns:
        Tensor: ``(C, context_length)``, int64.

    Raises:
        ValueError: If a prompt does not fit the context, or as :func:`fill_templates`.
    """
    names = [name.replace('_', ' ') if isinstance(name, str) else name for name in class_names]
    texts = fill_templates(names, [template])
    token_ids, lengths = tokenizer(texts), count_tokens(tokenizer, texts)
    for name, text, length in zip(class_names, texts, lengths.tolist()):
        if length + 2 > token_ids.shape[1]:
            _check_length(tokenizer, text, name, token_ids.shape[1])
    return token_ids


def count_tokens(tokenizer: Callable, texts: Sequence[str]) -> torch.Tensor:
    """Count the tokens of texts without start and end, however long they are.

    Args:
        tokenizer (Callable): Of open_clip: it starts each text with one token, ends it with another, and takes a
            ``context_length``.
        texts (Sequence[str]): ``N`` texts.

    Returns:
        Tensor: ``(N,)``, int64.
    """
    texts = list(texts)
    end_id = tokenizer([''])[0, 1]
    token_ids = tokenizer(texts)
    # What was cut ends at the last place, as does what just fits; with one place of padding left, nothing was cut.
    while (token_ids[:, -1] == end_id).any():
        token_ids = tokenizer(texts, context_length=2 * token_ids.shape[1])
    return (token_ids == end_id).int().argmax(1) - 1


def word_embeddings(tower: TextTower, tokenizer: Callable, words: str) -> torch.Tensor:
    """Look up the token embeddings of words, from which a context can start.

    Args:
        tower (TextTower): Its token embeddings are used.
        tokenizer (Callable): Of open_clip.
        words (str): For example ``'a photo of a'``.

    Returns:
        Tensor: ``(M, W)`` for ``M`` words, without gradient.

    Raises:
        ValueError: If a word is more than one token, so that vectors and words would not correspond.
    """
    split = words.replace('_', ' ').split()
    lengths = count_tokens(tokenizer, split) if split else []
    unfit = {word: int(length) for word, length in zip(split, lengths) if length != 1}
    if not split or unfit:
        raise ValueError(f'a context starts from words of one token each, but {words!r} has {unfit or "no word"}')
    token_ids = tokenizer([' '.join(split)])[:, 1 : 1 + len(split)]
    return tower.embed(token_ids)[0]
