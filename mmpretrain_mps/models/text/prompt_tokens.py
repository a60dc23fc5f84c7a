"""Class names as token ids, with the refusal of what tokenizers would cut in silence."""
from typing import Callable, Sequence

import torch

from ..utils.text_prototypes import fill_templates


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
            raise ValueError(f'the prompt {text!r} of class {name!r} is {length + 2} tokens long with start and end, '
                             f'but the context of this CLIP holds {token_ids.shape[1]}; shorten name or context')
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


def word_embeddings(tower, tokenizer: Callable, words: str) -> torch.Tensor:
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
    token_ids = tokenizer([' '.join(split)])[:, 1:1 + len(split)]
    return tower.embed(token_ids)[0]
