"""K-means by cosine, for a few centres of text features."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger

# Of the squared sum of the distances that the centres move, as in the package kmeans-pytorch.
TOLERANCE = 1e-4
MAX_ITERATIONS = 1000


class Clusters(NamedTuple):
    """What k-means made of ``N`` points."""

    centers: torch.Tensor
    """Means of the members, ``(K, D)``, not of unit norm."""
    assignment: torch.Tensor
    """Cluster of each point, ``(N,)``, int64; the one that the centres are the means of."""


def draw_starts(points: torch.Tensor, num_clusters: int, seed: int) -> torch.Tensor:
    """Draw the points that k-means starts from, without replacement, by a random stream of its own.

    Points that equal an earlier one are drawn only if there are too few others: two equal starts would leave a cluster
    without members.

    Args:
        points (Tensor): ``(N, D)``.
        num_clusters (int): ``K``.
        seed (int): Of NumPy's generator.

    Returns:
        Tensor: Rows, ``(K,)``, int64.

    Raises:
        ValueError: If there are fewer points than clusters.
    """
    if not 1 <= num_clusters <= len(points):
        raise ValueError(f'{num_clusters} clusters were asked for of {len(points)} points; expected 1 to {len(points)}')
    order = np.random.RandomState(seed).permutation(len(points))
    _, firsts = np.unique(points.detach().cpu().numpy()[order], axis=0, return_index=True)
    is_first = np.zeros(len(points), bool)
    is_first[firsts] = True
    return torch.from_numpy(np.concatenate([order[is_first], order[~is_first]])[:num_clusters])


@torch.no_grad()
def cosine_kmeans(points: torch.Tensor, starts: torch.Tensor) -> Clusters:
    r"""Cluster points by cosine until the centres stand still.

    Each point goes to the centre with the largest cosine, of equal ones to the first; each centre becomes the plain
    mean of its points. That ends when :math:`(\sum_k \|\Delta c_k\|)^2 < 10^{-4}`. A centre without points stays where
    it is, so that the sum of all cosines never decreases, and equal points are no harm.

    Args:
        points (Tensor): ``(N, D)``, of any norm above 0.
        starts (Tensor): Rows of the points that are the first centres, ``(K,)``, int64.

    Returns:
        Clusters: On the device of the points.
    """
    centers, directions = points[starts.to(points.device)], F.normalize(points, dim=-1)
    for _ in range(MAX_ITERATIONS):
        assignment = (directions @ F.normalize(centers, dim=-1).mT).argmax(1)
        members = F.one_hot(assignment, len(centers)).to(points.dtype)
        counts = members.sum(0)[:, None]
        means = torch.where(counts > 0, members.mT @ points / counts.clamp(min=1), centers)
        moved = (means - centers).norm(dim=-1).sum()
        centers = means
        if moved**2 < TOLERANCE:
            break
    else:
        # Rounding could in theory let a point swing between two centres that are equally near.
        MMLogger.get_current_instance().warning(
            f'k-means has not come to rest in {MAX_ITERATIONS} iterations; its centres still move by {moved.item():.1e}'
        )
    return Clusters(centers, assignment)
