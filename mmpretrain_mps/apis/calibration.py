"""Probabilities that can be believed, and when to abstain: what held-out pictures say of predictions."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# Temperatures beyond these are no calibration any more.
_TEMPERATURES = (1e-2, 1e2)


def probabilities_of(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probabilities of logits ``(N, C)``, in float64."""
    return softmax(logits.astype(np.float64) / temperature, axis=1)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    r"""Find the temperature :math:`T` with the highest likelihood of the labels under :math:`\mathrm{softmax}(\ell / T)`.

    `On Calibration of Modern Neural Networks <https://arxiv.org/abs/1706.04599>`_, Section 4.2. A label counts for
    :math:`(N + 1) / (N + 2)`, as in Platt's scaling, and all other classes together for the rest: else a few pictures that are
    all predicted right would make every prediction certain.

    Args:
        logits (ndarray): ``(N, C)``, of held-out pictures.
        labels (ndarray): Places of the right classes ``(N,)``.

    Returns:
        float: Between 0.01 and 100.
    """
    number, classes = logits.shape
    rest = 1 / (number + 2)
    targets = np.full((number, classes), rest / max(1, classes - 1))
    targets[np.arange(number), labels] = 1 - rest

    def loss(log_temperature: float) -> float:
        """Return the mean cross-entropy of the targets."""
        return -(targets * log_softmax(logits.astype(np.float64) / math.exp(log_temperature), axis=1)).sum(axis=1).mean()

    # A convex function of 1 / T, so that there is one minimum.
    return math.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method='bounded', options=dict(xatol=1e-6)).x)


def abstention_threshold(probabilities: np.ndarray, labels: np.ndarray, accuracy: float) -> float:
    """Find the lowest confidence from which on predictions are right often enough.

    Args:
        probabilities (ndarray): ``(N, C)``, of held-out pictures.
        labels (ndarray): Places of the right classes ``(N,)``.
        accuracy (float): Share of right predictions among those that are made, above 0 to 1.

    Returns:
        float: Predictions with at least this confidence reach the accuracy on these pictures; it answers as many as possible.

    Raises:
        ValueError: If no threshold does.
    """
    _check_share('accuracy', accuracy)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind='stable')
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Pictures of equal confidence are answered together.
    ends = np.append(confidence[order][1:] < confidence[order][:-1], True)
    enough = np.flatnonzero(ends & (shares >= accuracy))
    if not len(enough):
        raise ValueError(
            f'no threshold makes predictions right in {100 * accuracy:g} % of the {len(labels)} pictures that are '
            f'answered; the best reaches {100 * shares[ends].max():.1f} %'
        )
    return float(confidence[order][enough[-1]])


def conformal_level(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    r"""Find the level of prediction sets :math:`\{c : 1 - p_c \le q\}` that hold the right class often enough.

    Split conformal prediction, `Angelopoulos and Bates <https://arxiv.org/abs/2107.07511>`_, Section 1: :math:`q` is the
    :math:`\lceil (N + 1) \gamma \rceil`-th smallest score :math:`1 - p_y`. New pictures that are exchangeable with these then
    have their class in the set with a probability of at least :math:`\gamma`, on average over both.

    Args:
        probabilities (ndarray): ``(N, C)``, of held-out pictures that nothing else was chosen by.
        labels (ndarray): Places of the right classes ``(N,)``.
        coverage (float): :math:`\gamma`, above 0 to below 1.

    Returns:
        float: :math:`q`; 1 where there are too few pictures for the coverage, so that every set holds all classes.
    """
    _check_share('coverage', coverage)
    scores = np.sort(1 - probabilities[np.arange(len(labels)), labels])
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(scores[place - 1]) if place <= len(scores) else 1.0


def _check_share(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f'{name} is {value!r}, expected a share above 0 and up to 1, such as 0.95')
