"""A key-value memory of few-shot pictures: class sums of similarities.

Keys are features, values are classes, as in `Tip-Adapter <https://arxiv.org/abs/2207.09519>`_, Section 3. Keys of a
class lie together, ``(C, K, D)``, so that what a picture reads of a class is a sum over ``K`` numbers. The product with
one-hot values ``(C K, C)``, which is the same, would cost ``C`` times as many operations, and its gradient again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch


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


def affinities(features: torch.Tensor, keys: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
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


def cache_bias(affinity: torch.Tensor) -> Callable[[float], torch.Tensor]:
    """Return :func:`cache_logits` as a function of ``beta``, for many values and without gradient.

    Args:
        affinity (Tensor): Of :func:`affinities`, ``(B, C, K)``.

    Returns:
        Callable: ``beta`` to ``(B, C)``; an exponential each time, in the same memory.
    """
    exponent = affinity - 1
    scratch = torch.empty_like(exponent)
    return lambda beta: torch.mul(exponent, beta, out=scratch).exp_().sum(2)
