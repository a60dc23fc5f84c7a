import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.text import clustering
from mmpretrain_mps.models.text.clustering import cosine_kmeans, draw_starts


def unit(rows, dims, seed=0):
    return F.normalize(torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def kmeans_by_loops(points, starts):
    """The same, point by point."""
    centers = [points[row] for row in starts]
    while True:
        assignment = [int(np.argmax([point @ center / np.linalg.norm(center) for center in centers])) for point in points]
        means = [
            np.mean([p for p, a in zip(points, assignment) if a == k], axis=0) if k in assignment else center
            for k, center in enumerate(centers)
        ]
        moved = sum(np.linalg.norm(new - old) for new, old in zip(means, centers))
        centers = means
        if moved**2 < 1e-4:
            return np.stack(centers), assignment


@pytest.mark.parametrize('rows, clusters', [(7, 5), (40, 5), (200, 3), (5, 5)])
def test_equals_a_loop_over_points(rows, clusters):
    points = unit(rows, 12, seed=rows)
    starts = draw_starts(points, clusters, seed=1)
    ours = cosine_kmeans(points, starts)
    centers, assignment = kmeans_by_loops(points.numpy(), starts.tolist())
    torch.testing.assert_close(ours.centers, torch.from_numpy(centers))
    assert ours.assignment.tolist() == assignment


def test_two_pairs_by_hand_end_in_their_means_which_are_not_of_unit_norm():
    points = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0], [-0.6, -0.8]])
    clusters = cosine_kmeans(points, torch.tensor([0, 2]))
    assert clusters.assignment.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(clusters.centers, torch.tensor([[0.8, 0.4], [-0.8, -0.4]]))


def test_it_stops_as_soon_as_all_centres_together_move_by_less_than_a_hundredth(monkeypatch):
    points = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.019], [0.0, 1.0]]), dim=-1)
    monkeypatch.setattr(clustering, 'MAX_ITERATIONS', 1)  # longer than this would be a warning
    warned = []
    monkeypatch.setattr(
        clustering.MMLogger,
        'get_current_instance',
        lambda: type('Logger', (), dict(warning=lambda self, text: warned.append(text)))(),
    )
    cosine_kmeans(points, torch.tensor([0, 2]))  # the first centre moves by 0.0095
    assert not warned
    cosine_kmeans(F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.021], [0.0, 1.0]]), dim=-1), torch.tensor([0, 2]))
    assert len(warned) == 1 and 'not come to rest in 1 iterations' in warned[0]


def test_equal_points_and_empty_clusters_end_without_nan():
    same = unit(1, 6).expand(9, -1)
    clusters = cosine_kmeans(same, torch.tensor([0, 3, 4, 5, 8]))
    torch.testing.assert_close(clusters.centers, same[:5])
    assert clusters.assignment.tolist() == [0] * 9
    # Two starts at one place, which nothing leaves: the second never gets a point, and stays there.
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    twice = cosine_kmeans(points, torch.tensor([0, 1, 2]))
    assert twice.assignment.tolist() == [0, 0, 2] and torch.equal(twice.centers, points)


def test_opposite_points_whose_mean_is_zero_end_too():
    clusters = cosine_kmeans(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), torch.tensor([2]))
    assert clusters.centers.isfinite().all()


def test_starts_are_different_rows_a_function_of_the_seed_and_of_no_global_state():
    points = unit(30, 4)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = draw_starts(points, 5, seed=3)
    assert len(set(first.tolist())) == 5 and (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert torch.equal(draw_starts(points, 5, seed=3), first)
    assert any(not torch.equal(draw_starts(points, 5, seed), first) for seed in range(3))


def test_starts_are_points_at_different_places_as_long_as_there_are_some():
    places = unit(5, 4)
    points = places[[0] * 20 + [1, 2, 3, 4]]
    for seed in range(20):
        assert len({tuple(row) for row in points[draw_starts(points, 5, seed)].tolist()}) == 5
    assert len(set(draw_starts(places[[0, 0, 0, 1, 1, 1]], 5, 0).tolist())) == 5  # different rows at least


def test_every_point_may_be_a_start_as_numpy_draws_them():
    points = unit(6, 4)
    assert draw_starts(points, 4, seed=7).tolist() == np.random.RandomState(7).choice(6, 4, replace=False).tolist()
    assert {row for seed in range(60) for row in draw_starts(points, 2, seed).tolist()} == set(range(6))


@pytest.mark.parametrize('clusters', [0, 5])
def test_more_clusters_than_points_are_refused(clusters):
    with pytest.raises(ValueError, match=f'{clusters} clusters were asked for of 4 points; expected 1 to 4'):
        draw_starts(unit(4, 3), clusters, 0)
