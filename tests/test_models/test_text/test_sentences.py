import json

import open_clip
import pytest
import torch
from tiny_text import make_clip

from mmpretrain_mps.models.text import TextTower
from mmpretrain_mps.models.text.sentences import mean_sentence_features, read_sentences, select_sentences, tokenize_sentences

SENTENCES = {
    'water lily': ['A water lily floats on a pond.', 'Its leaves are round.', 'It is white or pink.'],
    'pug': ['A pug is a small dog.'],
}
TOKENIZER = open_clip.SimpleTokenizer()


def write(folder, content):
    path = folder / 'sentences.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8')
    return path


def test_a_file_is_read_and_the_classes_are_picked_in_their_order(tmp_path):
    content = read_sentences(write(tmp_path, SENTENCES))
    assert content == SENTENCES
    assert select_sentences(content, ['pug', 'water_lily', 'pug'], 'file') == [
        SENTENCES['pug'],
        SENTENCES['water lily'],
        SENTENCES['pug'],
    ]
    assert select_sentences({'water_lily': ['One.']}, ['water lily'], 'file') == [['One.']]


@pytest.mark.parametrize(
    'content, message',
    [
        ('{"pug": [', 'not readable as JSON'),
        (['pug'], 'holds a list; expected a JSON object'),
        ({'pug': 'A dog.'}, "class 'pug' has 'A dog.'; expected a list of sentences"),
        ({'cat': ['A cat.'], 'pug': []}, r"class 'pug' has \[\]; expected a list"),
        ({'pug': ['A dog.', 3]}, "class 'pug' has the sentence 3; expected a text"),
        ({'pug': ['A dog.', '  ']}, "class 'pug' has the sentence '  '"),
        ('{"pug": ["One."], "pug": ["Two."]}', "class 'pug' stands there 2 times"),
    ],
)
def test_what_is_no_file_of_sentences_is_refused_by_file_and_class(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_sentences(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_and_one_in_another_encoding_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.json does not exist; expected a JSON object'):
        read_sentences(tmp_path / 'none.json')
    (tmp_path / 'other.json').write_bytes('{"Mops": ["Ein süßer Hund."]}'.encode('latin-1'))
    with pytest.raises(ValueError, match='other.json is not readable as JSON'):
        read_sentences(tmp_path / 'other.json')


def test_missing_classes_are_counted_and_named():
    with pytest.raises(
        ValueError,
        match=r"a.json has no sentences for 2 of 3 classes: 'cat', 'dog'. It has 2 classes: "
        "'water lily', 'pug'",
    ):
        select_sentences(SENTENCES, ['cat', 'pug', 'dog'], 'a.json')


def test_a_sentence_that_would_be_cut_is_named_with_file_and_class():
    longest = ['word ' * 75]  # 75 words, start and end
    assert tokenize_sentences(TOKENIZER, [longest], ['pug'], 'a.json').token_ids.shape == (1, 77)
    with pytest.raises(
        ValueError,
        match=r"a.json: class 'cat' has a sentence of 78 tokens with start and end, but the "
        "context of this CLIP holds 77; shorten 'word word",
    ):
        tokenize_sentences(TOKENIZER, [longest, ['A cat.', 'word ' * 76]], ['pug', 'cat'], 'a.json')


@pytest.mark.parametrize('batch_size', [1, 2, 100])
def test_features_are_means_of_what_open_clip_makes_of_each_sentence_before_its_norm(batch_size):
    model = make_clip()
    sentences = select_sentences(SENTENCES, list(SENTENCES), 'a.json')
    tokenized = tokenize_sentences(TOKENIZER, sentences, list(SENTENCES), 'a.json')
    assert tokenized.labels.tolist() == [0, 0, 0, 1]
    features = mean_sentence_features(TextTower(model), tokenized, batch_size)
    for row, texts in zip(features, sentences):
        whole = torch.stack([model.encode_text(TOKENIZER([text]))[0] for text in texts]).mean(0)
        torch.testing.assert_close(row, (whole / whole.norm()).float())
    assert not features.requires_grad and features.dtype == torch.float32
