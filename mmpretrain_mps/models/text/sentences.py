"""Sentences about classes: files of them, and their mean features."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger

from ..caches.prototype_cache import cached_prototypes
from .prompt_tokens import count_tokens
from .prototypes import encode_prototypes, fill_templates

if TYPE_CHECKING:
    from .text_tower import TextTower

_EXPECTED = 'expected a JSON object of the form {"class name": ["a sentence", "another"]}'


class TokenizedSentences(NamedTuple):
    """``S`` sentences of ``C`` classes."""

    token_ids: torch.Tensor
    """``(S, context_length)``, int64."""
    labels: torch.Tensor
    """Class of each, ``(S,)``, int64, in ascending order."""


class ClassSentences:
    """What is said about classes: sentences of a file, or prompt templates in their place.

    It is looked at as soon as it is made, so that whatever is wrong with it is known before anything is computed.

    Args:
        class_names (Sequence[str]): ``C`` names; underscores may stand for spaces.
        tokenizer (Callable): Of open_clip.
        templates (Sequence[str], optional): In the place of a file.
        path (str, optional): The file, where there are no templates; see :func:`read_sentences`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is none of sentences, a class is missing in it, or one has a sentence that is too long.
    """

    def __init__(
        self, class_names: Sequence[str], tokenizer: Callable, templates: Sequence[str] | None = None, path: str | None = None
    ):
        self.class_names, self.templates = [_plain(name) for name in class_names], templates
        self._tokenizer, self._sentences, self._tokenized = tokenizer, None, None
        if templates is not None:
            said = (
                'no file of sentences about classes is given; prompt templates take their place: '
                f'{len(templates)} ({templates[0]!r}{", ..." if len(templates) > 1 else ""})'
            )
        else:
            self._sentences = select_sentences(read_sentences(path), class_names, path)
            self._tokenized = tokenize_sentences(tokenizer, self._sentences, class_names, path)
            said = f'{len(self._tokenized.labels)} sentences about {len(self.class_names)} classes from {path}'
        MMLogger.get_current_instance().info(said)

    def texts(self) -> Iterable[str]:
        """Return all sentences."""
        if self._sentences is None:
            return fill_templates(self.class_names, self.templates)
        return [sentence for of_class in self._sentences for sentence in of_class]

    @torch.no_grad()
    def encode(self, tower: TextTower, cache: bool = True) -> torch.Tensor:
        """Compute the mean of the features of each class's sentences, themselves not of unit norm.

        Args:
            tower (TextTower): Frozen.
            cache (bool): Look on disk for what templates were encoded to before.

        Returns:
            Tensor: ``(C, D)``, unit norm, float32.
        """
        if self._tokenized is not None:
            return mean_sentence_features(tower, self._tokenized)
        encode = cached_prototypes if cache else encode_prototypes
        return F.normalize(
            encode(tower.model, self._tokenizer, self.class_names, self.templates, normalize_templates=False), dim=-1
        )


def read_sentences(path: str | Path) -> dict[str, list[str]]:
    """Read a file of sentences.

    Args:
        path (str | Path): JSON, ``{class name: [sentences]}``, UTF-8.

    Returns:
        dict[str, list[str]]: By the name of the class, as it stands in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such JSON; the message names file and class.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'the file of sentences {Path(path).absolute()} does not exist; {_EXPECTED}')
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'), object_pairs_hook=_without_doubles)
    except ValueError as error:  # also of texts in another encoding
        raise ValueError(f'{path} is not readable as JSON: {error}; {_EXPECTED}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}; {_EXPECTED}')
    for name, sentences in content.items():
        if not isinstance(sentences, list) or not sentences:
            raise ValueError(f'{path}: class {name!r} has {_shorten(sentences)}; expected a list of sentences')
        for sentence in sentences:
            if not isinstance(sentence, str) or not sentence.strip():
                raise ValueError(f'{path}: class {name!r} has the sentence {_shorten(sentence)}; expected a text')
    return content


def select_sentences(content: dict[str, list[str]], class_names: Sequence[str], source: str) -> list[list[str]]:
    """Pick the sentences of classes.

    Args:
        content (dict[str, list[str]]): Of :func:`read_sentences`.
        class_names (Sequence[str]): ``C`` names; underscores may stand for spaces.
        source (str): The file, for the message.

    Returns:
        list[list[str]]: Of each class.

    Raises:
        ValueError: If classes are missing.
    """
    by_name = {**{_plain(name): sentences for name, sentences in content.items()}, **content}
    missing = [name for name in class_names if name not in by_name and _plain(name) not in by_name]
    if missing:
        raise ValueError(
            f'{source} has no sentences for {len(missing)} of {len(class_names)} classes: '
            f'{", ".join(map(repr, missing[:5]))}{", ..." if len(missing) > 5 else ""}. It has '
            f'{len(content)} classes: {", ".join(map(repr, list(content)[:5]))}'
            f'{", ..." if len(content) > 5 else ""}'
        )
    return [by_name[name if name in by_name else _plain(name)] for name in class_names]


def tokenize_sentences(
    tokenizer: Callable, sentences: Sequence[Sequence[str]], class_names: Sequence[str], source: str
) -> TokenizedSentences:
    """Turn the sentences of classes into token ids, and refuse those that tokenizers would cut in silence.

    Args:
        tokenizer (Callable): Of open_clip.
        sentences (Sequence[Sequence[str]]): Of each of ``C`` classes.
        class_names (Sequence[str]): ``C`` names, for the message.
        source (str): Where the sentences come from, for the message.

    Returns:
        TokenizedSentences: Of all classes.

    Raises:
        ValueError: If a sentence does not fit the context; the message names source, class and sentence.
    """
    texts = [sentence for of_class in sentences for sentence in of_class]
    labels = torch.tensor([label for label, of_class in enumerate(sentences) for _ in of_class])
    token_ids, lengths = tokenizer(texts), count_tokens(tokenizer, texts) + 2
    for row in (lengths > token_ids.shape[1]).nonzero()[:1, 0].tolist():
        raise ValueError(
            f'{source}: class {class_names[labels[row]]!r} has a sentence of {lengths[row]} tokens with '
            f'start and end, but the context of this CLIP holds {token_ids.shape[1]}; shorten {texts[row]!r}'
        )
    return TokenizedSentences(token_ids, labels)


@torch.no_grad()
def mean_sentence_features(tower: TextTower, sentences: TokenizedSentences, batch_size: int = 256) -> torch.Tensor:
    """Compute the mean of the features of each class's sentences, themselves not of unit norm.

    Args:
        tower (TextTower): Frozen.
        sentences (TokenizedSentences): Of ``C`` classes.
        batch_size (int): Sentences that are encoded at a time.

    Returns:
        Tensor: ``(C, D)``, unit norm, float32.
    """
    with torch.autocast(tower.device.type, enabled=False):
        features = torch.cat([tower.encode_text(part) for part in sentences.token_ids.split(batch_size)]).float()
    # Class by class: sums by index have no fixed order on a GPU, and all processes need the same.
    counts = sentences.labels.bincount().tolist()
    return F.normalize(torch.stack([of_class.mean(0) for of_class in features.split(counts)]), dim=-1)


def _plain(name):
    return name.replace('_', ' ')


def _shorten(value):
    return repr(value) if len(repr(value)) < 60 else f'{repr(value)[:56]} ...'


def _without_doubles(pairs):
    names = [name for name, _ in pairs]
    doubles = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubles:
        raise ValueError(f'class {doubles[0]!r} stands there {names.count(doubles[0])} times')
    return dict(pairs)
