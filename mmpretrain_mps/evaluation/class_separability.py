"""How well classes lie apart, layer by layer, before and after tuning: what hierarchical sculpting is to improve."""

from typing import Any

import numpy as np
from mmpretrain.registry import METRICS

from .feature_metric import BRANCHES, FeatureMetric, own_array


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    r"""Compute the ratio of the traces of within-class and between-class scatter.

    .. math:: \frac{\mathrm{tr}\, S_W}{\mathrm{tr}\, S_B} =
        \frac{\sum_i \|x_i - \mu_{c(i)}\|^2}{\sum_i \|\mu_{c(i)} - \mu\|^2}

    Args:
        features (ndarray): ``(N, D)``.
        labels (ndarray): Classes ``(N,)``.

    Returns:
        float: 0 where every class is a point; nan or inf where all class means are one.
    """
    features = features.astype(np.float64)
    sums, own, sizes = _class_sums(features, labels)
    means = sums / sizes[:, None]
    within = np.square(features - means[own]).sum()
    between = np.square(means[own] - features.mean(0)).sum()
    with np.errstate(divide='ignore', invalid='ignore'):
        return float(np.divide(within, between))


def centroid_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Compute the accuracy of the nearest class mean by cosine, each picture left out of the mean of its own class.

    Args:
        features (ndarray): ``(N, D)``.
        labels (ndarray): Classes ``(N,)``.

    Returns:
        float: In percent. The only picture of a class counts as wrong, having no mean to go to.
    """
    features = features.astype(np.float64)
    sums, own, sizes = _class_sums(features, labels)
    # The direction of a sum is that of the mean; taking the picture out of its own makes the test an honest one.
    towards_own = (features * _normalised(sums[own] - features)).sum(1)
    towards_others = features @ _normalised(sums).T
    towards_others[np.arange(len(own)), own] = -np.inf
    return 100 * float(((sizes[own] > 1) & (towards_own > towards_others.max(1))).mean())


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean silhouette by cosine distance, of scikit-learn.

    Args:
        features (ndarray): ``(N, D)``.
        labels (ndarray): Classes ``(N,)``.

    Returns:
        float: -1 to 1; nan unless there are at least two classes and one of them has two pictures.
    """
    from sklearn.metrics import silhouette_score  # takes a second to import, and only this metric needs it

    if not 2 <= len(np.unique(labels)) < len(labels):
        return float('nan')
    return float(silhouette_score(features, labels, metric='cosine'))


FIGURES = dict(scatter_ratio=scatter_ratio, centroid_accuracy=centroid_accuracy, silhouette=silhouette)


@METRICS.register_module()
class ClassSeparability(FeatureMetric):
    """Separation of classes in the output and in every tuned layer, in the tuned and the frozen branch.

    The figures are named ``separability/<branch>/<layer>/<figure>``:

    - branch: ``tuned``, or ``zero_shot``, what there was before tuning;
    - layer: ``output``, or ``before_end_1``, ``before_end_2``, ...: [CLS] at the input of the last block, of the last
      but one, ... carried on by the pseudo-forward of its own branch, as :class:`HierarchicalSculptLoss` sees it;
    - figure: ``scatter_ratio`` (:func:`scatter_ratio`, trace of within-class over trace of between-class scatter, lower
      is better), ``centroid_accuracy`` (:func:`centroid_accuracy`, percent, leave-one-out) and ``silhouette``
      (:func:`silhouette`, cosine, -1 to 1).

    No text takes part, so this is about pictures alone.

    Args:
        layers (bool): Look at tuned layers besides the output. Defaults to True.
        max_pictures (int, optional): Bound; where there are more pictures, equally many of each class. Defaults to
            2000; None for all.
        seed (int): Of the choice.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``separability``.

    Raises:
        ValueError: If ``max_pictures`` is below 2.
    """

    default_prefix = 'separability'
    balanced = True

    def __init__(
        self, layers: bool = True, max_pictures: int = 2000, seed: int = 0, collect_device: str = 'cpu', prefix: str | None = None
    ):
        super().__init__(max_pictures, seed, collect_device, prefix)
        self.test_features = ('cls', 'layers') if layers else ('cls',)

    def features_of(self, sample: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the output ``(D,)`` and the layers ``(S, D)`` of both branches."""
        kept = super().features_of(sample)
        if 'layers' in self.test_features:
            kept.update({f'{branch}_layers': own_array(sample[f'{branch}_layers']) for branch in BRANCHES})
        return kept

    def compute_figures(
        self, features: dict[str, np.ndarray], labels: np.ndarray, figures: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Compute the figures of each layer; see :class:`FeatureMetric`."""
        metrics = {}
        for branch in BRANCHES:
            layers = features.get(f'{branch}_layers', np.empty((len(labels), 0, 0)))
            stages = {
                'output': features[branch],
                **{f'before_end_{start + 1}': layers[:, start] for start in range(layers.shape[1])},
            }
            for stage, x in stages.items():
                metrics.update({f'{branch}/{stage}/{name}': compute(x, labels) for name, compute in FIGURES.items()})
        return metrics


def _class_sums(features, labels):
    """Return the sums ``(C, D)`` of the classes that occur, the row of each picture's class, and their sizes."""
    _, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), features.shape[1]))
    np.add.at(sums, own, features)
    return sums, own, sizes


def _normalised(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float64).tiny)
