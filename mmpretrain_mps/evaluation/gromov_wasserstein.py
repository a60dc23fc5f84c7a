"""How far the bound that alignment minimises is from the Gromov-Wasserstein distance that it stands for."""

import warnings
from typing import NamedTuple

import numpy as np
from mmpretrain.registry import METRICS

from .feature_metric import BRANCHES, FeatureMetric

# Squared differences of cosines below this are rounding of float32 features.
_ZERO = 1e-12


class GromovWasserstein(NamedTuple):
    """Values of the objective of :func:`gromov_wasserstein`."""

    exact: float
    """The smallest one found."""
    bound: float
    """That of the identity, the mean squared difference of the matrices."""
    entropic: float
    """That of the entropic solution, without its entropy; nan if the solver failed."""
    starts: dict[str, float]
    """What conditional gradient came to from every start."""
    coupling: np.ndarray
    """The best coupling ``(N, N)``, of total mass 1."""


def gromov_wasserstein(
    tuned: np.ndarray, zero_shot: np.ndarray, epsilon: float = 0.05, random_starts: int = 4, seed: int = 0
) -> GromovWasserstein:
    r"""Compare two similarity matrices of N points with uniform weights, by POT.

    .. math:: \min_T \sum_{ijkl} |S_{ik} - S'_{jl}|^2\, T_{ij} T_{kl}

    over couplings :math:`T`, non-negative matrices whose rows and columns sum to 1/N. The problem is not convex:
    conditional gradient (`Vayer et al. 2019 <https://arxiv.org/abs/1805.09114>`_) finds a minimum near its start, the
    best of which is an upper bound of the true one as well. Starts are the identity, the product of the weights, the
    mean of both, permutations and couplings drawn at random, and the entropic solution (`Peyré et al. 2016
    <https://proceedings.mlr.press/v48/peyre16.html>`_).

    Args:
        tuned (ndarray): :math:`S`, symmetric ``(N, N)``.
        zero_shot (ndarray): :math:`S'`, symmetric ``(N, N)``.
        epsilon (float): Weight of the entropy, relative to the mean variance of the entries of both matrices.
        random_starts (int): Number of random permutations, and of random couplings.
        seed (int): Of the random ones.

    Returns:
        GromovWasserstein: ``exact <= bound`` always holds.

    Raises:
        ImportError: If POT is not installed.
    """
    solvers = _import_solvers()
    size, rng = len(tuned), np.random.default_rng(seed)
    tuned, zero_shot = tuned.astype(np.float64), zero_shot.astype(np.float64)
    weights, identity = np.full(size, 1 / size), np.eye(size) / size
    objective, problem = _Objective(tuned, zero_shot), (tuned, zero_shot, weights, weights, 'square_loss')
    bound = objective(identity)
    couplings = _starts(identity, weights, random_starts, rng)
    # Where all similarities are one, any weight will do.
    smooth = _smooth_coupling(solvers, problem, epsilon * ((tuned.var() + zero_shot.var()) / 2 or 1))
    entropic = float('nan')
    best, exact, values = identity, bound, {'entropic': entropic}
    if np.isfinite(smooth).all() and smooth.sum() > 0:
        couplings['entropic'] = _with_marginals(smooth, weights)
        entropic = objective(couplings['entropic'])
    for name, coupling in couplings.items():
        found = solvers.gromov_wasserstein(*problem, symmetric=True, G0=coupling, max_iter=1000, tol_rel=1e-9, tol_abs=_ZERO)
        values[name] = objective(found)
        if values[name] < exact:
            best, exact = found, values[name]
    return GromovWasserstein(exact, bound, entropic, values, best)


def _starts(identity, weights, random_starts, rng):
    """Return the couplings that conditional gradient starts from, by name."""
    couplings = {'identity': identity, 'product': np.outer(weights, weights)}
    couplings['blend'] = (couplings['identity'] + couplings['product']) / 2
    for number in range(random_starts):
        couplings[f'permutation_{number}'] = identity[rng.permutation(len(weights))]
        couplings[f'coupling_{number}'] = _with_marginals(rng.random(identity.shape) ** 4, weights)
    return couplings


def _smooth_coupling(solvers, problem, epsilon):
    """Return the coupling of the entropic problem, whose marginals may be off a little; not finite if the solver failed."""
    with warnings.catch_warnings():
        # That Sinkhorn's iterations were cut short: the marginals are made right by whoever takes it.
        warnings.simplefilter('ignore')
        return solvers.entropic_gromov_wasserstein(
            *problem, symmetric=True, epsilon=epsilon, max_iter=100, tol=1e-7, numItermax=100
        )


@METRICS.register_module()
class GromovWassersteinDistance(FeatureMetric):
    r"""Gromov-Wasserstein distance between the [CLS] features before and after tuning, and its bound.

    Alignment keeps the Gram matrices of the same pictures close, that is the bound with the coupling fixed to the
    identity (`Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3.2). How much that gives away is
    measured here, on the matrices of cosines with uniform weights. All values but ``gw/bound_p1`` are of the objective
    with p = 2, the square of the distance, i.e. mean squared differences of cosines; solvers exist for that p:

    - ``gw/exact``: the smallest value that conditional gradient finds from several starts, see
      :func:`gromov_wasserstein`; the problem is NP-hard, and the true minimum may be smaller still;
    - ``gw/entropic``: of the entropic solution;
    - ``gw/bound``: with the identity as the coupling, :math:`\mathrm{mean} (S - S')^2`;
    - ``gw/tightness``: exact over bound, 0 to 1; 1 where both are zero;
    - ``gw/diagonal``: share of the best coupling's mass that lies on the identity, 0 to 1;
    - ``gw/bound_p1``: :math:`\mathrm{mean} |S - S'|`, the bound with p = 1, which is what training minimises;
    - ``gw/start/<start>``: what each start came to.

    Args:
        max_pictures (int): Bound; where there are more pictures, equally many of each class. Defaults to 200, for which
            it takes about a second; time and memory grow with the third and second power.
        epsilon (float): Weight of the entropy, relative to the variance of the cosines. Smaller is closer to exact, and
            fails at some point: ``gw/entropic`` is nan then.
        random_starts (int): Number of random permutations, and of random couplings, to start from.
        seed (int): Of the choice of pictures and of the random starts.
        collect_device (str): ``'cpu'`` or ``'gpu'``: where processes exchange results.
        prefix (str, optional): Prefix of the names instead of ``gw``.

    Raises:
        ImportError: If POT is not installed.
        ValueError: If an argument is out of its range.
    """

    default_prefix = 'gw'
    balanced = True

    def __init__(
        self,
        max_pictures: int = 200,
        epsilon: float = 0.05,
        random_starts: int = 4,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(max_pictures, seed, collect_device, prefix)
        if not epsilon > 0 or random_starts < 0:
            raise ValueError(
                f'GromovWassersteinDistance needs epsilon > 0 and random_starts >= 0, but got {epsilon=}, {random_starts=}'
            )
        _import_solvers()  # a missing package is no surprise at the end of a training then
        self.epsilon, self.random_starts = epsilon, random_starts

    def compute_figures(
        self, features: dict[str, np.ndarray], labels: np.ndarray, figures: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Compute the distance and its bound; see :class:`FeatureMetric`."""
        tuned, zero_shot = (x @ x.T for x in (features[branch].astype(np.float64) for branch in BRANCHES))
        result = gromov_wasserstein(tuned, zero_shot, self.epsilon, self.random_starts, self.seed)
        return {
            'exact': result.exact,
            'entropic': result.entropic,
            'bound': result.bound,
            'tightness': result.exact / result.bound if result.bound > _ZERO else 1.0,
            'diagonal': min(1.0, np.trace(result.coupling)),
            'bound_p1': np.abs(tuned - zero_shot).mean(),
            **{f'start/{name}': value for name, value in result.starts.items()},
        }


class _Objective:
    """The objective as a function of a coupling with uniform marginals, never negative."""

    def __init__(self, tuned: np.ndarray, zero_shot: np.ndarray):
        self._matrices = tuned, zero_shot
        self._constant = np.square(tuned).mean() + np.square(zero_shot).mean()

    def __call__(self, coupling):
        tuned, zero_shot = self._matrices
        return max(0.0, float(self._constant - 2 * np.sum(tuned * (coupling @ zero_shot @ coupling.T))))


def _with_marginals(coupling, weights):
    """Make rows and columns of a positive matrix sum to the weights (`Altschuler et al. 2017
    <https://arxiv.org/abs/1705.09634>`_, Algorithm 2)."""
    coupling = coupling / coupling.sum()
    coupling = coupling * np.minimum(1, weights / np.maximum(coupling.sum(1), 1e-300))[:, None]
    coupling = coupling * np.minimum(1, weights / np.maximum(coupling.sum(0), 1e-300))
    rows, columns = weights - coupling.sum(1), weights - coupling.sum(0)
    return coupling + np.outer(rows, columns) / rows.sum() if rows.sum() > 0 else coupling


def _import_solvers():
    try:
        from ot import gromov
    except ImportError as error:
        raise ImportError(
            'GromovWassersteinDistance solves its problem by the package POT, which cannot be imported '
            f'({error}); install it with `pip install -e .[analysis]`.'
        ) from error
    return gromov
