import tracemalloc

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.text.prototypes import encode_prototypes, fill_templates


class CountingModel(torch.nn.Module):
    """Encodes a text by its length and its number of spaces, and remembers how many texts came at a time."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def encode_text(self, tokens):
        self.batches.append(len(tokens))
        return tokens.float()


def tokenize(texts):
    return torch.tensor([[len(text), 1 + text.count(' ')] for text in texts])


def test_templates_vary_fastest():
    assert fill_templates(['a', 'b'], ['{}', 'x {}.']) == ['a', 'x a.', 'b', 'x b.']


def test_braces_in_class_names_are_text():
    assert fill_templates(['{0}'], ['a {}.']) == ['a {0}.']


def test_prototypes_are_means_over_templates():
    features = encode_prototypes(CountingModel(), tokenize, ['ab', 'c d'], ['{}', 'x {}'], normalize_templates=False)
    torch.testing.assert_close(features, torch.tensor([[(2 + 4) / 2, (1 + 2) / 2], [(3 + 5) / 2, (2 + 3) / 2]]))


def test_each_template_can_be_normalised_first():
    features = encode_prototypes(CountingModel(), tokenize, ['ab'], ['{}', 'x {}'], normalize_templates=True)
    expected = (F.normalize(torch.tensor([2.0, 1.0]), dim=0) + F.normalize(torch.tensor([4.0, 2.0]), dim=0)) / 2
    torch.testing.assert_close(features[0], expected)


def test_texts_are_encoded_in_bounded_batches_without_changing_the_result():
    names = [f'class {index}' for index in range(7)]
    whole, parts = CountingModel(), CountingModel()
    expected = encode_prototypes(whole, tokenize, names, ['{}', 'a {}'], batch_size=100)
    torch.testing.assert_close(encode_prototypes(parts, tokenize, names, ['{}', 'a {}'], batch_size=5), expected)
    assert whole.batches == [14] and parts.batches == [4, 4, 4, 2]


def test_there_are_never_more_texts_than_a_batch_has():
    names, templates = [f'class number {n}' for n in range(2000)], [f'a photo {n} of a {{}}.' for n in range(80)]
    tracemalloc.start()
    prototypes = encode_prototypes(CountingModel(), tokenize, names, templates)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(prototypes) == 2000 and peak < 2e6  # all texts together are 160,000 x 80 bytes


def test_two_classes_may_share_a_name():
    features = encode_prototypes(CountingModel(), tokenize, ['sunglasses', 'x', 'sunglasses'], ['{}'])
    assert torch.equal(features[0], features[2]) and len(features) == 3


@pytest.mark.parametrize(
    'names, templates, message',
    [
        ([], ['{}'], '0 names and 1 templates'),
        (['a'], [], '1 names and 0 templates'),
        (['a'], ['a photo'], "exactly one '{}' for the class name, but got 'a photo'"),
        (['a'], ['{} and {}'], 'exactly one'),
        (['a', ' '], ['{}'], "class 1 is ' '"),
        (['a', 7], ['{}'], 'class 1 is 7'),
        ('cat', ['{}'], 'a single string was given: .*cat'),
    ],
)
def test_unusable_names_and_templates_are_refused(names, templates, message):
    with pytest.raises(ValueError, match=message):
        fill_templates(names, templates)
