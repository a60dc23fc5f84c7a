"""Search of the two numbers by which a logit bias is added to zero-shot logits: one of the bias, and its weight."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

LOWEST = 0.1
Bias = Callable[[float], torch.Tensor]
"""From the number of the bias to the bias ``(B, C)``."""


class SearchResult(NamedTuple):
    """Accuracies in percent over a grid, and the best point of it."""

    accuracies: torch.Tensor
    """``(numbers of the bias, weights)``, float64, on the host."""
    inner: float
    """Number of the bias."""
    alpha: float
    """Weight of the bias."""
    accuracy: float


def search_grid(end: float, steps: int) -> list:
    """Return ``steps`` values from 0.1 towards ``end``, which is not among them."""
    return [LOWEST + index * (end - LOWEST) / steps for index in range(steps)]


@torch.no_grad()
def count_right(
    terms: Callable[[slice], tuple[torch.Tensor, Bias]],
    labels: torch.Tensor,
    inners: Sequence[float],
    alphas: Sequence[float],
    chunk: int,
) -> torch.Tensor:
    """Count right predictions of ``zero_shot + alpha * bias(inner)`` for every pair.

    Zero-shot logits depend on neither number and the bias not on its weight: for each chunk of pictures one bias per
    inner number is computed, and an addition per pair. Memory does not grow with the number of pictures.

    Args:
        terms (Callable): From a slice of the pictures to zero-shot logits ``(B, C)`` and their bias.
        labels (Tensor): Classes ``(N,)``.
        inners (Sequence[float]): Numbers of the bias.
        alphas (Sequence[float]): Weights of the bias.
        chunk (int): Pictures at once.

    Returns:
        Tensor: ``(number of inners, number of alphas)``, int64, on the host.
    """
    right = torch.zeros(len(inners), len(alphas), dtype=torch.int64, device=labels.device)
    for start in range(0, len(labels), chunk):
        pictures = slice(start, start + chunk)
        zero_shot, bias_of = terms(pictures)
        for row, inner in enumerate(inners):
            bias = bias_of(inner)
            predicted = torch.stack([torch.add(zero_shot, bias, alpha=alpha).argmax(1) for alpha in alphas])
            right[row] += (predicted == labels[pictures]).sum(1)
    return right.cpu()


def choose_best(right: torch.Tensor, pictures: int, inners: Sequence[float], alphas: Sequence[float]) -> SearchResult:
    """Choose the first pair of the highest accuracy, inner numbers in the outer and weights in the inner loop.

    Args:
        right (Tensor): Of :func:`count_right`, of all pictures.
        pictures (int): How many they are.
        inners (Sequence[float]): Of the rows.
        alphas (Sequence[float]): Of the columns.

    Returns:
        SearchResult: Among equal accuracies the first, since a later pair has to be strictly better.
    """
    # argmax promises no order among equals; the first True of a comparison is one.
    first = int((right.flatten() == right.max()).nonzero()[0])
    accuracies = 100 * right.double() / pictures
    row, column = divmod(first, len(alphas))
    return SearchResult(accuracies, inners[row], alphas[column], accuracies[row, column].item())
