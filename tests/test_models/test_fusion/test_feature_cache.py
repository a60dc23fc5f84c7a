import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.fusion.feature_cache import affinities, cache_bias, cache_logits, sort_by_class

CLASSES = 5


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


LABELS = torch.tensor([3, 0, 1, 3, 2, 4, 0, 3, 1])  # unsorted; two, two, one, three and one pictures of a class


def product_with_one_hot_values(features, keys, labels, beta, num_classes=CLASSES):
    """Return the memory's logits as the paper writes them."""
    return torch.exp(-beta * (1 - features @ keys.T)) @ F.one_hot(labels, num_classes).to(features)


def test_pictures_are_laid_out_class_by_class_in_their_order():
    features = torch.arange(1.0, 10)[:, None]
    keys, counts, places = sort_by_class(features, LABELS, CLASSES)
    assert keys[..., 0].tolist() == [[2, 7, 0], [3, 9, 0], [5, 0, 0], [1, 4, 8], [6, 0, 0]]
    assert counts.tolist() == [2, 2, 1, 3, 1]
    assert torch.equal(keys.flatten(0, 1)[places], features)


def test_a_class_without_pictures_has_no_keys_wherever_it_stands():
    keys, counts, _ = sort_by_class(torch.ones(2, 4), torch.tensor([1, 1]), 3)
    assert keys.shape == (3, 2, 4) and counts.tolist() == [0, 2, 0] and not keys[[0, 2]].any()


@pytest.mark.parametrize('labels', [LABELS, LABELS.sort().values, torch.arange(10) % CLASSES])
@pytest.mark.parametrize('beta', [0.1, 1.0, 5.5])
def test_sums_of_a_class_are_the_product_with_one_hot_values(labels, beta):
    features, pictures = unit(6, 8), unit(len(labels), 8, seed=1)
    keys, counts, _ = sort_by_class(pictures, labels, CLASSES)
    found = cache_logits(affinities(features, keys, counts), beta)
    torch.testing.assert_close(found, product_with_one_hot_values(features, pictures, labels, beta))


def test_gradients_are_those_of_the_product_and_none_reaches_what_is_no_key():
    features, pictures = unit(6, 8), 1.3 * unit(len(LABELS), 8, seed=1)
    sorted_keys, counts, places = sort_by_class(pictures, LABELS, CLASSES)
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    pictures.requires_grad_(), sorted_keys.requires_grad_()
    F.cross_entropy(product_with_one_hot_values(features, pictures, LABELS, 2.5), target).backward()
    F.cross_entropy(cache_logits(affinities(features, sorted_keys, counts), 2.5), target).backward()
    gradient = sorted_keys.grad.flatten(0, 1)
    torch.testing.assert_close(gradient[places], pictures.grad)
    gradient[places] = 0
    assert not gradient.any()


def test_without_counts_every_place_holds_a_key():
    keys, features = unit(3, 2, 8), unit(4, 8, seed=1)
    assert torch.equal(affinities(features, keys), affinities(features, keys, torch.tensor([2, 2, 2])))


def test_the_function_of_beta_gives_what_is_read_at_each():
    keys, counts, _ = sort_by_class(unit(len(LABELS), 8, seed=1), LABELS, CLASSES)
    affinity = affinities(unit(6, 8), keys, counts)
    bias = cache_bias(affinity)
    for beta in (5.5, 0.1, 5.5):
        torch.testing.assert_close(bias(beta), cache_logits(affinity, beta))
