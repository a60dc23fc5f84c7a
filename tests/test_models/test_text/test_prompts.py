import open_clip
import pytest
import torch
from tiny_clip import save_tiny_clip
from tiny_text import make_clip

from mmpretrain_mps import mini_clip
from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.text import (
    TextTower,
    check_prompts,
    context_template,
    count_tokens,
    insert_context,
    num_shared_positions,
    tokenize_prompts,
    word_embeddings,
)

both_tokenizers = pytest.mark.parametrize(
    'tokenizer', [open_clip.get_tokenizer('ViT-B-16'), mini_clip.tokenizer()], ids=['clip', 'mini']
)
# Letters stand for vectors: two prompts with two placeholders X, names 'n' and 'pq', end token E and padding -.
PROMPTS = ['SXXn.E--', 'SXXpq.E-']


def vectors(text):
    return torch.tensor([[float(ord(letter))] for letter in text])


def letters(embeddings):
    return [''.join(chr(int(value)) for value in row[:, 0]) for row in embeddings]


@pytest.mark.parametrize(
    'position, expected',
    [('end', ['Sabcn.E-', 'Sabcpq.E']), ('middle', ['Sanbc.E-', 'Sapqbc.E']), ('front', ['Snabc.E-', 'Spqabc.E'])],
)
def test_the_context_stands_where_it_was_asked_for(position, expected):
    embeddings = torch.stack([vectors('SXXXn.E-'), vectors('SXXXpq.E')])
    assert letters(insert_context(embeddings, torch.tensor([1, 2]), vectors('abc'), position)) == expected


def test_each_class_may_have_its_own_context():
    embeddings, contexts = torch.stack([vectors(text) for text in PROMPTS]), torch.stack([vectors('ab'), vectors('cd')])
    lengths = torch.tensor([1, 2])
    assert letters(insert_context(embeddings, lengths, contexts, 'end')) == ['Sabn.E--', 'Scdpq.E-']
    assert letters(insert_context(embeddings, lengths, contexts, 'middle')) == ['Sanb.E--', 'Scpqd.E-']
    assert letters(insert_context(embeddings, lengths, contexts, 'front')) == ['Snab.E--', 'Spqcd.E-']


def test_the_shared_positions_end_where_prompts_begin_to_differ():
    for position, shared in (('end', 6), ('middle', 3), ('front', 1)):
        assert num_shared_positions(torch.zeros(5, 2), position) == shared
        assert num_shared_positions(torch.zeros(3, 5, 2), position) == 1


@pytest.mark.parametrize(
    'shape, position, message',
    [
        ((2, 4), 'behind', "position must be one of .* but is 'behind'"),
        ((2, 3), 'end', r'take a context \(M, 4\) or \(2, M, 4\), M below 8, but got \(2, 3\)'),
        ((3, 2, 4), 'end', r'but got \(3, 2, 4\)'),
        ((8, 4), 'end', 'M below 8'),
    ],
)
def test_contexts_that_do_not_fit_are_refused(shape, position, message):
    with pytest.raises(ValueError, match=message):
        insert_context(torch.zeros(2, 8, 4), torch.tensor([1, 1]), torch.zeros(shape), position)


@both_tokenizers
def test_tokens_are_counted_beyond_the_context(tokenizer):
    room = tokenizer.context_length
    texts = ['red', '!', 'red ! green', 'red ' * (room - 3), 'red ' * (room - 2), 'red ' * (room - 1), 'red ' * 300]
    assert count_tokens(tokenizer, texts).tolist() == [len(tokenizer.encode(text)) for text in texts]


@both_tokenizers
def test_prompts_that_just_fit_are_tokenised_and_longer_ones_refused_by_name(tokenizer):
    room = tokenizer.context_length - 3
    fits = ' '.join(['red'] * (room - 2))
    token_ids = tokenize_prompts(tokenizer, ['red', fits], context_template(2))
    assert token_ids.tolist() == tokenizer(['X X red.', f'X X {fits}.']).tolist()
    assert token_ids[1, -1] == token_ids.max()
    message = rf"of class 'red red.*' is {room + 4} tokens long .* the context of this CLIP holds {room + 3}; shorten"
    with pytest.raises(ValueError, match=message):
        tokenize_prompts(tokenizer, ['red', f'{fits} red'], context_template(2))


def test_underscores_become_spaces_and_templates_need_a_place_for_the_name():
    tokenizer = open_clip.get_tokenizer('ViT-B-16')
    assert tokenize_prompts(tokenizer, ['water_lily'], 'a {}.').tolist() == tokenizer(['a water lily.']).tolist()
    with pytest.raises(ValueError, match="exactly one '{}'"):
        tokenize_prompts(tokenizer, ['pug'], 'a pug')
    with pytest.raises(ValueError, match='the name of class 1 is 3'):
        tokenize_prompts(tokenizer, ['pug', 3], 'a {}')
    with pytest.raises(ValueError, match='1 or more context vectors, but got 0'):
        context_template(0)


def test_words_give_their_token_embeddings():
    model, tokenizer = make_clip(), open_clip.get_tokenizer('ViT-B-16')
    found = word_embeddings(TextTower(model), tokenizer, 'a photo_of  a')
    expected = model.token_embedding.weight[tokenizer.encode('a photo of a')]
    assert torch.equal(found, expected) and found.shape == (4, 16)


@pytest.mark.parametrize('words, message', [('', "'' has no word"), ('a Boeing737', r"has \{'Boeing737': 4\}")])
def test_words_of_several_tokens_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        word_embeddings(TextTower(make_clip()), open_clip.get_tokenizer('ViT-B-16'), words)


class TestPromptsOfClasses:
    """By OpenAI's tokenizer: 77 places, of which start and end take two."""

    tokenizer = staticmethod(open_clip.get_tokenizer('ViT-B-16'))

    def test_a_prompt_may_fill_the_context_to_the_last_place(self):
        # 'a photo of a', the name and '.': 5 + 70 + 2 = 77.
        check_prompts(self.tokenizer, ['cat', ' '.join(['red'] * 70)], ['a photo of a {}.'])
        with pytest.raises(ValueError, match=r"class 'red red .* is 78 tokens long .* holds 77; shorten the name or"):
            check_prompts(self.tokenizer, ['cat', ' '.join(['red'] * 71)], ['a photo of a {}.'])

    def test_what_is_glued_to_a_name_counts_as_it_is_read(self):
        name = ' '.join(['red'] * 75)
        assert count_tokens(self.tokenizer, [name, f'{name}s', f'{name}zq']).tolist() == [75, 75, 77]
        check_prompts(self.tokenizer, [name], ['{}s'])
        with pytest.raises(ValueError, match='is 79 tokens long'):
            check_prompts(self.tokenizer, [name], ['{}', '{}zq'])

    def test_a_long_template_is_refused_before_two_classes_get_one_prototype(self):
        with pytest.raises(ValueError, match="'a a a .*' of class 'cat' is 103 tokens"):
            check_prompts(self.tokenizer, ['cat', 'dog'], ['{}', 'a ' * 100 + '{}'])

    def test_names_that_are_read_byte_by_byte_are_pointed_out(self, told):
        check_prompts(self.tokenizer, ['cat', '\u9e6d', '\u0161koda'], ['{}'])
        (message,) = told
        assert message.startswith("WARNING - 1 of 3 class names are read byte by byte, among them '\u9e6d'")
        told.clear()
        check_prompts(self.tokenizer, ['cat', 'a', 'caf\u00e9', '7'], ['{}'])
        assert not told

    def test_other_tokenizers_pass(self):
        check_prompts(lambda texts: 1 / 0, ['cat'], ['{}'])


def test_the_prompts_of_a_run_are_shown(told, tmp_path):
    model = MPSCLIPClassifier(save_tiny_clip(tmp_path), None, backbone=dict(group_depths=(2, 2, 2)))
    model.set_classes(['tabby cat', 'dog', 'fox', 'owl'], ['art of a {}.', 'a {}.'])
    assert "INFO - prompts of the classes: 'art of a tabby cat.', 'art of a dog.', 'art of a fox.', ..." in told
    with pytest.raises(ValueError, match='is 98 tokens long'):
        model.set_classes(['dog', 'tabby ' * 94 + 'cat'], ['{}.'])
    assert model.class_names == ('tabby cat', 'dog', 'fox', 'owl')
