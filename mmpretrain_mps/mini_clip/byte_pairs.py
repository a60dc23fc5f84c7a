"""Own byte-pair vocabulary in the file format of open_clip's tokenizer."""
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Iterable, List, Tuple

from . import concepts as _concepts

_SPECIALS = 2  # start and end of text


def caption_names() -> List[str]:
    """Every name that can stand in a caption, numerals and colours included.

    Returns:
        list[str]: For example ``three``, ``3``, ``red circle``, ``circle``.
    """
    groups = _concepts.concept_groups()
    names = groups['digits'] + list(_concepts.digit_aliases().values())
    names += groups['letters'] + groups['symbols'] + groups['shapes']
    names += [
        f'{colour} {shape}' for colour in groups['colours']
        for shape in groups['shapes']
    ]
    return names


def caption_words() -> List[str]:
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


def learn_merges(words: Iterable[str]) -> List[Tuple[str, str]]:
    """Byte-pair merges after which every given word is one token.

    The most frequent pair of neighbours is merged until nothing is left to
    merge; ties go to the pair that sorts first, so the result depends on the
    words only.

    Args:
        words (Iterable[str]): Words as the tokenizer splits them.

    Returns:
        list[tuple[str, str]]: Merges in the order of their ranks.
    """
    from open_clip.tokenizer import bytes_to_unicode
    symbols = bytes_to_unicode()
    spelled = []
    for word in words:
        letters = [symbols[byte] for byte in word.encode('utf-8')]
        spelled.append(letters[:-1] + [letters[-1] + '</w>'])
    merges = []
    while True:
        pairs = Counter(
            pair for word in spelled for pair in zip(word, word[1:]))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(word, best) for word in spelled]


def _merge(word: List[str], pair: Tuple[str, str]) -> List[str]:
    merged, position = [], 0
    while position < len(word):
        if tuple(word[position:position + 2]) == pair:
            merged.append(''.join(pair))
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged


def vocabulary_size(merges: List[Tuple[str, str]]) -> int:
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
    merges = learn_merges(words)
    lines = ['#version: mini CLIP'] + [' '.join(merge) for merge in merges]
    # A fixed time stamp keeps the file identical from run to run.  No final
    # line break: the tokenizer would read it as one more, empty merge.
    (folder / 'bpe_merges.txt.gz').write_bytes(
        gzip.compress('\n'.join(lines).encode('utf-8'), mtime=0))
    known = {'words': words, 'concepts': _concepts.concept_groups()}
    (folder / 'vocabulary.json').write_text(
        json.dumps(known, indent=1, ensure_ascii=False) + '\n',
        encoding='utf-8')
    return vocabulary_size(merges)
