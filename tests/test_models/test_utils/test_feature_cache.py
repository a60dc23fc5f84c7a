import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recorded_operators import RecordOperators

from mmpretrain_mps.models.utils import feature_cache
from mmpretrain_mps.models.utils.feature_cache import (affinities, cache_logits, choose_best, count_right,
                                                       search_grid, sort_by_class)

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


def test_the_upper_end_of_a_grid_is_not_reached():
    assert search_grid(1.1, 4) == pytest.approx([0.1, 0.35, 0.6, 0.85])
    assert len(search_grid(12, 200)) == 200 and search_grid(12, 200)[-1] == pytest.approx(12 - 11.9 / 200)


def searched(pictures=40, seed=3):
    """Return arguments of the search in which pictures are right at some points and wrong at others."""
    keys, counts, _ = sort_by_class(unit(len(LABELS), 8, seed=1), LABELS, CLASSES)
    zero_shot = 3 * torch.randn(pictures, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(pictures) % CLASSES
    return dict(features=unit(pictures, 8, seed=seed), zero_shot=zero_shot, labels=labels, keys=keys,
                betas=search_grid(6, 12), alphas=search_grid(9, 7), counts=counts)


def plain_search(features, zero_shot, labels, keys, betas, alphas, counts):
    """Return accuracies and the best pair of a loop that computes everything again at each pair."""
    flat = torch.cat([keys[label, :count] for label, count in enumerate(counts)])
    values = torch.repeat_interleave(torch.arange(CLASSES), counts)
    accuracies, best = np.zeros((len(betas), len(alphas))), (0, 0, 0.0)
    for i, beta in enumerate(betas):
        for j, alpha in enumerate(alphas):
            logits = zero_shot + alpha * product_with_one_hot_values(features, flat, values, beta)
            accuracies[i, j] = 100 * (logits.argmax(1) == labels).double().mean().item()
            if accuracies[i, j] > best[2]:
                best = beta, alpha, accuracies[i, j]
    return accuracies, best


@pytest.mark.parametrize('chunk', [1, 7 * 15, 10**6])
def test_every_point_of_the_search_has_the_accuracy_of_a_plain_loop(monkeypatch, chunk):
    monkeypatch.setattr(feature_cache, '_CHUNK', chunk)
    arguments = searched()
    found = choose_best(count_right(**arguments), 40, arguments['betas'], arguments['alphas'])
    accuracies, best = plain_search(**arguments)
    assert len(np.unique(accuracies)) >= 5
    np.testing.assert_allclose(found.accuracies.numpy(), accuracies)
    assert found[1:] == pytest.approx(best)


def test_among_equals_the_first_in_the_order_of_the_loops_wins():
    right = torch.tensor([[1, 3, 2], [3, 3, 0]])
    assert choose_best(right, 4, [0.1, 0.2], [1.0, 2.0, 3.0])[1:] == (0.1, 2.0, 75.0)


@pytest.mark.parametrize('chunk, parts', [(10**6, 1), (10 * 15, 4)])
def test_the_search_needs_one_product_and_an_exponential_per_beta(monkeypatch, chunk, parts):
    monkeypatch.setattr(feature_cache, '_CHUNK', chunk)
    arguments = searched()
    with RecordOperators() as recorded:
        count_right(**arguments)
    counts = [recorded.names.count(name) for name in ('mm', 'exp_', 'argmax')]
    assert counts == [parts, 12 * parts, 12 * 7 * parts] and 'exp' not in recorded.names
    # Similarities of one chunk of pictures, however many pictures there are.
    assert recorded.largest == 40 // parts * 15
