"""Tokenizer files and the check of class names."""

import gzip

import pytest

from mmpretrain_mps import mini_clip
from mmpretrain_mps.mini_clip import byte_pairs, concepts


def test_every_word_of_pretraining_is_one_token():
    tokenizer = mini_clip.tokenizer()
    for word in mini_clip.vocabulary()['words']:
        assert len(tokenizer.encode(word)) == 1, word


def test_tokens_decode_to_the_text():
    tokenizer = mini_clip.tokenizer()
    text = 'a photo of the greek letter omega .'
    assert tokenizer.decode(tokenizer.encode(text)).strip() == text


def test_end_token_is_the_largest_id_of_its_row():
    # open_clip reads the text feature where the id is largest.
    tokenizer = mini_clip.tokenizer()
    row = tokenizer(['a photo of the number three.'])[0]
    assert row.max().item() == tokenizer.eot_token_id


def test_vocabulary_on_disk_is_what_the_code_would_write(tmp_path):
    byte_pairs.write_vocabulary(tmp_path)
    name = 'vocabulary.json'
    assert (tmp_path / name).read_text(encoding='utf-8') == (mini_clip.folder() / name).read_text(encoding='utf-8')
    # Compressed bytes may differ between versions of zlib.
    name = 'bpe_merges.txt.gz'
    assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress((mini_clip.folder() / name).read_bytes())


def test_every_class_name_passes_the_check_in_every_template():
    groups = mini_clip.vocabulary()['concepts']
    mini_clip.check_vocabulary(template.format(name) for name in groups['digits'] for template in mini_clip.DIGIT_TEMPLATES)
    for group, templates in concepts.TEMPLATES.items():
        mini_clip.check_vocabulary(template.format(name) for name in groups[group] for template in templates)


def test_unknown_words_are_named_with_examples_of_known_ones():
    with pytest.raises(ValueError) as error:
        mini_clip.check_vocabulary(['a photo of a zebra.', 'a photo of the number three.', 'a velvet circle'])
    message = str(error.value)
    assert "'velvet', 'zebra'" in message
    assert "'three'" not in message.split('Known')[0]
    assert "'zero'" in message


def test_text_longer_than_the_context_is_refused_with_both_lengths():
    text = ' '.join(['circle'] * 23)
    with pytest.raises(ValueError, match='needs 25 tokens.*holds 24'):
        mini_clip.check_vocabulary([text])


def test_longest_text_that_fits_is_accepted():
    mini_clip.check_vocabulary([' '.join(['circle'] * 22)])


def test_single_string_is_refused():
    with pytest.raises(TypeError, match='single string'):
        mini_clip.check_vocabulary('three')


def test_merges_join_the_most_frequent_pair_first():
    merges = byte_pairs.learn_merges(['aab', 'aac'])
    assert merges[0] == ('a', 'a')
    assert set(merges[1:]) == {('aa', 'b</w>'), ('aa', 'c</w>')}


def test_vocabulary_returns_a_copy():
    mini_clip.vocabulary()['words'].clear()
    assert mini_clip.vocabulary()['words']
