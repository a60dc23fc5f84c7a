"""Own byte-pair vocabulary in the file format of open_clip's tokenizer."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import concepts as _concepts

_SPECIALS = 2  # start and end of text


def caption_names() -> list[str]:
    """Every name that can stand in a caption, numerals and colours included.

    Returns:
        list[str]: For example ``three``, ``3``, ``red circle``, ``circle``.
    """
    groups = _concepts.concept_groups()
    names = groups['digits'] + list(_concepts.digit_aliases().values())
    names += groups['letters'] + groups['symbols'] + groups['shapes']
    names += [f'{colour} {shape}' for colour in groups['colours'] for shape in groups['shapes']]
    return names


def caption_words() -> list[str]:
    """Words and punctuation of all possible pre-training captions.

    Returns:
        list[str]: Sorted, without repeats, split as the tokenizer splits.
    """
    # The pattern does not depend on the merges, so open_clip's own serve.
    from open_clip.tokenizer import SimpleTokenizer

    splitter = SimpleTokenizer()
    texts = caption_names()
    for templates in _concepts.TEMPLATES.values():
        # One stand-in keeps quotes and stops attached as in a real caption.
        texts += [template.format('zero') for template in templates]
    words = set()
    for text in texts:
        words.update(splitter.pat.findall(splitter.clean_fn(text)))
    return sorted(words)


def learn_merges(words: Iterable[str], limit: int | None = None) -> list[tuple[str, str]]:
    """Byte-pair merges after which every given word is one token.

    The most frequent pair of neighbours is merged until nothing is left to
    merge; ties go to the pair that sorts first, so the result depends on the
    words only.

    Args:
        words (Iterable[str]): Words as the tokenizer splits them, or a
            mapping to how often each occurs (once without it).
        limit (int, optional): Merges at most, so that rare words are several
            tokens.

    Returns:
        list[tuple[str, str]]: Merges in the order of their ranks.
    """
    from open_clip.tokenizer import bytes_to_unicode

    symbols = bytes_to_unicode()
    counts = words if isinstance(words, Mapping) else Counter(words)
    spelled, weights = [], list(counts.values())
    for word in counts:
        letters = [symbols[byte] for byte in word.encode('utf-8')]
        spelled.append(letters[:-1] + [letters[-1] + '</w>'])
    pairs: Counter[tuple[str, str]] = Counter()
    for word, weight in zip(spelled, weights):
        _count(pairs, word, weight)
    merges: list[tuple[str, str]] = []
    while limit is None or len(merges) < limit:
        most = max(pairs.values(), default=0)
        if not most:
            break
        best = min(pair for pair, count in pairs.items() if count == most)
        merges.append(best)
        for place, word in enumerate(spelled):
            merged = _merge(word, best) if best[0] in word else word
            if len(merged) < len(word):
                _count(pairs, word, -weights[place])
                _count(pairs, merged, weights[place])
                spelled[place] = merged
    return merges


def _count(pairs: Counter, word: list[str], weight: int) -> None:
    for pair in zip(word, word[1:]):
        pairs[pair] += weight


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged, position = [], 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append(''.join(pair))
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged


def vocabulary_size(merges: list[tuple[str, str]]) -> int:
    """Number of token ids: bytes, bytes at word ends, merges, specials."""
    return 2 * 256 + len(merges) + _SPECIALS


def write_vocabulary(folder: Path) -> int:
    """Write ``bpe_merges.txt.gz`` and ``vocabulary.json``.

    Args:
        folder (Path): Model folder; must exist.

    Returns:
        int: Vocabulary size for the model's ``text_cfg``.
    """
    words = caption_words()
    return write_words(folder, words, _concepts.concept_groups())


def write_words(
    folder: Path,
    words: Iterable[str],
    concepts: dict[str, list[str]],
    limit: int | None = None,
    spelling: dict[str, str] | None = None,
) -> int:
    """Write the vocabulary of given words and concepts.

    Args:
        folder (Path): Model folder; must exist.
        words (Iterable[str]): As for :func:`learn_merges`.
        concepts (dict[str, list[str]]): Class names by group.
        limit (int, optional): Merges at most.
        spelling (dict[str, str], optional): What the tokenizer is to replace
            in texts by what, as the captions have it.

    Returns:
        int: Vocabulary size for the model's ``text_cfg``.
    """
    merges = learn_merges(words, limit)
    lines = ['#version: mini CLIP'] + [' '.join(merge) for merge in merges]
    # A fixed time stamp keeps the file identical from run to run.  No final
    # line break: the tokenizer would read it as one more, empty merge.
    (folder / 'bpe_merges.txt.gz').write_bytes(gzip.compress('\n'.join(lines).encode('utf-8'), mtime=0))
    known = {'words': sorted(words), 'concepts': concepts}
    if spelling:
        known['spelling'] = spelling
    (folder / 'vocabulary.json').write_text(json.dumps(known, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    return vocabulary_size(merges)
