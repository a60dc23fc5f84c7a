"""How much of the pairwise geometry tuning has changed: what manifold alignment is to keep."""

from typing import Any

import numpy as np
from mmpretrain.registry import METRICS

from .feature_metric import BRANCHES, FeatureMetric

_ROWS = 1024


def gram_distortion(tuned: np.ndarray, zero_shot: np.ndarray, p: float = 1.0) -> float:
    r"""Compute the mean p-th power of the difference of two Gram matrices, a stripe of rows at a time.

    .. math:: \mathrm{mean}_{ij} |\langle u_i, u_j \rangle - \langle z_i, z_j \rangle|^p

    Args:
        tuned (ndarray): Unit-norm features ``(N, D)``.
        zero_shot (ndarray): Same shape.
        p (float): Order of the norm.

    Returns:
        float: The mean over all N x N entries, the diagonal included, as in :class:`GramAlignLoss`.
    """
    total = 0.0
    for start in range(0, len(tuned), _ROWS):
        rows = slice(start, start + _ROWS)
        difference = np.abs(tuned[rows] @ tuned.T - zero_shot[rows] @ zero_shot.T)
        total += (difference if p == 1 else difference**p).sum(dtype=np.float64)
    return total / len(tuned) ** 2


@METRICS.register_module()
class GramDistortion(FeatureMetric):
    r"""Distance of the Gram matrices of tuned and frozen features on pictures that were not trained on.

    - ``gram/global``: :func:`gram_distortion` over the [CLS] features of all pictures, not of one batch as in training;
    - ``gram/local``: the same over the tokens of a picture, averaged over the pictures;
    - ``gram/feature_cosine``: the mean cosine of a picture's tuned and frozen [CLS] feature. Alignment keeps relations,
      not points: the cosine may fall far while the distances stay small.

    One view, unweighted; :class:`GramAlignLoss` sums its views. `Preserve and Sculpt
    <https://arxiv.org/abs/2508.12877>`_, Section 3.2.

    Args:
        p (float): Order of the norm, at least 1.
        max_pictures (int, optional): Bound of the pictures of the global Gram matrix, an even sample where there are
            more. Defaults to 2000; None for all. The other two are always over all pictures.
        seed (int): Of the sample.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``gram``, for instance for a second p.

    Raises:
        ValueError: If ``p`` is below 1 or ``max_pictures`` below 2.
    """

    default_prefix = 'gram'

    def __init__(
        self, p: float = 1, max_pictures: int = 2000, seed: int = 0, collect_device: str = 'cpu', prefix: str | None = None
    ):
        super().__init__(max_pictures, seed, collect_device, prefix)
        if not p >= 1:
            raise ValueError(f'p must be 1 or more, but is {p}')
        self.p = float(p)

    @property
    def test_features(self) -> tuple[str, ...]:  # type: ignore[override]
        """tuple[str]: What the model is to compute."""
        return 'cls', f'local:{self.p!r}'

    def figures_of(self, sample: dict[str, Any]) -> dict[str, float]:
        """Return local distance and drift of a picture."""
        tuned, zero_shot = (sample[f'{branch}_features'].double() for branch in BRANCHES)
        return dict(local=sample['local_gram_distances'][self.p], feature_cosine=(tuned @ zero_shot).item())

    def compute_figures(
        self, features: dict[str, np.ndarray], labels: np.ndarray, figures: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Compute the global distance, and average the others; see :class:`FeatureMetric`."""
        return {
            'global': gram_distortion(features['tuned'], features['zero_shot'], self.p),
            'local': figures['local'].mean(),
            'feature_cosine': figures['feature_cosine'].mean(),
        }
