import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.fusion.feature_cache import affinities, cache_bias, sort_by_class
from mmpretrain_mps.models.fusion.fusion_search import choose_best, count_right, search_grid

CLASSES, PICTURES = 5, 40
KEY_LABELS = torch.tensor([3, 0, 1, 3, 2, 4, 0, 3, 1])


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


FEATURES, KEYS = unit(PICTURES, 8, seed=3), unit(len(KEY_LABELS), 8, seed=1)
ZERO_SHOT = 3 * torch.randn(PICTURES, CLASSES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.arange(PICTURES) % CLASSES
BETAS, ALPHAS = search_grid(6, 12), search_grid(9, 7)


def plain_search():
    """Return accuracies and the best pair of a loop that computes everything again at each pair."""
    accuracies, best = np.zeros((len(BETAS), len(ALPHAS))), (0, 0, 0.0)
    for i, beta in enumerate(BETAS):
        for j, alpha in enumerate(ALPHAS):
            memory = torch.exp(-beta * (1 - FEATURES @ KEYS.T)) @ F.one_hot(KEY_LABELS, CLASSES).double()
            accuracies[i, j] = 100 * ((ZERO_SHOT + alpha * memory).argmax(1) == LABELS).double().mean().item()
            if accuracies[i, j] > best[2]:
                best = beta, alpha, accuracies[i, j]
    return accuracies, best


def terms(pictures):
    keys, counts, _ = sort_by_class(KEYS, KEY_LABELS, CLASSES)
    return ZERO_SHOT[pictures], cache_bias(affinities(FEATURES[pictures], keys, counts))


def test_the_upper_end_of_a_grid_is_not_reached():
    assert search_grid(1.1, 4) == pytest.approx([0.1, 0.35, 0.6, 0.85])
    assert len(search_grid(12, 200)) == 200 and search_grid(12, 200)[-1] == pytest.approx(12 - 11.9 / 200)


@pytest.mark.parametrize('chunk', [1, 7, 1000])
def test_every_point_of_the_search_has_the_accuracy_of_a_plain_loop(chunk):
    found = choose_best(count_right(terms, LABELS, BETAS, ALPHAS, chunk), PICTURES, BETAS, ALPHAS)
    accuracies, best = plain_search()
    assert len(np.unique(accuracies)) >= 5
    np.testing.assert_allclose(found.accuracies.numpy(), accuracies)
    assert found[1:] == pytest.approx(best)


def test_among_equals_the_first_in_the_order_of_the_loops_wins():
    right = torch.tensor([[1, 3, 2], [3, 3, 0]])
    assert choose_best(right, 4, [0.1, 0.2], [1.0, 2.0, 3.0])[1:] == (0.1, 2.0, 75.0)


def test_each_chunk_is_asked_for_once_and_for_each_number_of_the_bias_once():
    asked = []

    def recorded(pictures):
        zero_shot, bias = terms(pictures)
        return zero_shot, lambda beta: asked.append((pictures.start, beta)) or bias(beta)

    count_right(recorded, LABELS, BETAS, ALPHAS, 16)
    assert asked == [(start, beta) for start in (0, 16, 32) for beta in BETAS]
