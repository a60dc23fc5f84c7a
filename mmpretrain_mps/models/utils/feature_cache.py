"""A key-value memory of few-shot pictures: class sums of similarities, and the search of its two numbers.

Keys are features, values are classes, as in `Tip-Adapter <https://arxiv.org/abs/2207.09519>`_, Section 3. Keys of a
class lie together, ``(C, K, D)``, so that what a picture reads of a class is a sum over ``K`` numbers. The product with
one-hot values ``(C K, C)``, which is the same, would cost ``C`` times as many operations, and its gradient again.
"""
from typing import NamedTuple, Optional, Sequence

import torch

# Similarities that are held at once in a search: 16 MB in float32.
_CHUNK = 2**22
LOWEST = 0.1


class ClassKeys(NamedTuple):
    """Features of few-shot pictures, class by class."""

    keys: torch.Tensor
    """``(C, K, D)``; classes with fewer than ``K`` pictures are filled up by zeros."""
    counts: torch.Tensor
    """Pictures of each class ``(C,)``, int64."""
    places: torch.Tensor
    """Where each of the ``N`` pictures lies among the ``C * K`` places ``(N,)``, int64."""


def sort_by_class(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> ClassKeys:
    """Lay features out class by class, within a class in the order given.

    Args:
        features (Tensor): ``(N, D)``.
        labels (Tensor): Class of each ``(N,)``, int64.
        num_classes (int): ``C``.

    Returns:
        ClassKeys: ``keys.flatten(0, 1)[places]`` are the features again.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    order = torch.argsort(labels, stable=True)
    rank = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    width = int(counts.max())
    places = torch.empty_like(labels)
    places[order] = labels[order] * width + rank
    keys = features.new_zeros(num_classes * width, features.shape[1]).index_copy(0, places, features)
    return ClassKeys(keys.view(num_classes, width, -1), counts, places)


def affinities(features: torch.Tensor, keys: torch.Tensor, counts: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Compare features with keys.

    Args:
        features (Tensor): Unit-norm features ``(B, D)``.
        keys (Tensor): ``(C, K, D)``.
        counts (Tensor, optional): Keys of each class ``(C,)``. Defaults to ``K`` for all.

    Returns:
        Tensor: Products ``(B, C, K)``; they leave [-1, 1] where keys are trained, and are minus infinity, infinitely
        far, where there is no key.
    """
    products = (features @ keys.flatten(0, 1).mT).unflatten(1, keys.shape[:2])
    if counts is None:
        return products
    absent = torch.arange(keys.shape[1], device=counts.device) >= counts[:, None]
    return products.masked_fill(absent, -torch.inf)


def cache_logits(affinity: torch.Tensor, beta: float) -> torch.Tensor:
    r"""Read the memory.

    .. math:: r_c = \sum_k \exp(-\beta (1 - a_{ck}))

    Args:
        affinity (Tensor): Of :func:`affinities`, ``(B, C, K)``.
        beta (float): :math:`\beta`, sharpness, unitless, above 0.

    Returns:
        Tensor: ``(B, C)``.
    """
    return (beta * (affinity - 1)).exp().sum(2)


def search_grid(end: float, steps: int) -> list[float]:
    """Return ``steps`` values from 0.1 towards ``end``, which is not among them."""
    return [LOWEST + index * (end - LOWEST) / steps for index in range(steps)]


class SearchResult(NamedTuple):
    """Accuracies in percent over a grid, and the best point of it."""

    accuracies: torch.Tensor
    """``(number of betas, number of alphas)``, float64, on the host."""
    beta: float
    alpha: float
    accuracy: float


@torch.no_grad()
def count_right(features: torch.Tensor, zero_shot: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor,
                betas: Sequence[float], alphas: Sequence[float], counts: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Count right predictions for every pair of sharpness and weight of the memory.

    The same as :func:`cache_logits` for every pair. Zero-shot logits and similarities depend on neither, what is read not on the weight: one product, an exponential per
    beta and an addition per pair. Pictures come in chunks, so that memory does not grow with their number.

    Args:
        features (Tensor): Unit-norm features ``(B, D)``.
        zero_shot (Tensor): Logits ``(B, C)``.
        labels (Tensor): Classes ``(B,)``.
        keys (Tensor): ``(C, K, D)``.
        betas (Sequence[float]): Values of :func:`cache_logits`.
        alphas (Sequence[float]): Weights of what is read.
        counts (Tensor, optional): As for :func:`affinities`.

    Returns:
        Tensor: ``(number of betas, number of alphas)``, int64, on the host.
    """
    right = torch.zeros(len(betas), len(alphas), dtype=torch.int64, device=features.device)
    size = max(1, _CHUNK // (keys.shape[0] * keys.shape[1]))
    for chunk, logits, classes in zip(features.split(size), zero_shot.split(size), labels.split(size)):
        exponent = affinities(chunk, keys, counts) - 1
        scratch = torch.empty_like(exponent)
        for row, beta in enumerate(betas):
            bias = torch.mul(exponent, beta, out=scratch).exp_().sum(2)
            predicted = torch.stack([torch.add(logits, bias, alpha=alpha).argmax(1) for alpha in alphas])
            right[row] += (predicted == classes).sum(1)
    return right.cpu()


def choose_best(right: torch.Tensor, pictures: int, betas: Sequence[float], alphas: Sequence[float]) -> SearchResult:
    """Choose the first pair of the highest accuracy, betas in the outer and alphas in the inner loop.

    Args:
        right (Tensor): Of :func:`count_right`, of all pictures.
        pictures (int): How many they are.
        betas (Sequence[float]): Of the rows.
        alphas (Sequence[float]): Of the columns.

    Returns:
        SearchResult: Among equal accuracies the first, since a later pair has to be strictly better.
    """
    # argmax promises no order among equals; the first True of a comparison is one.
    first = int((right.flatten() == right.max()).nonzero()[0])
    accuracies = 100 * right.double() / pictures
    row, column = divmod(first, len(alphas))
    return SearchResult(accuracies, betas[row], alphas[column], accuracies[row, column].item())
