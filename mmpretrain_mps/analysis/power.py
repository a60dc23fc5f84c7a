"""How many seeds it takes to tell a difference between two methods: the power of the paired t test."""

import math
from typing import Any

import numpy as np

from ..benchmark.study_results import difference_at, label_of, shots_of

POWER, LEVEL = 0.8, 0.05
MOST_SEEDS = 1000


def power(difference: float, deviation: float, seeds: int) -> float:
    """Return how often a paired t test tells a true difference from 0.

    Args:
        difference (float): The true mean of the differences.
        deviation (float): Standard deviation of one difference; above 0.
        seeds (int): Number of differences, 2 or more.

    Returns:
        float: Share of such experiments whose 95 % interval leaves out 0, by the noncentral t distribution.
    """
    from scipy import stats

    limit, shift = stats.t.ppf(1 - LEVEL / 2, seeds - 1), abs(difference) / deviation * math.sqrt(seeds)
    # Far from 0, where they are 1 and 0, SciPy's tails are not computed.
    above, below = stats.nct.sf(limit, seeds - 1, shift), stats.nct.cdf(-limit, seeds - 1, shift)
    return float(np.nan_to_num(above, nan=1.0) + np.nan_to_num(below, nan=0.0))


def seeds_needed(difference: float, deviation: float) -> int | None:
    """Return the smallest number of seeds with a power of 80 %, None beyond 1000; see :func:`power`."""
    if deviation == 0:
        return 2
    return next((seeds for seeds in range(2, MOST_SEEDS + 1) if power(difference, deviation, seeds) >= POWER), None)


def smallest_told(deviation: float, seeds: int) -> float:
    """Return the smallest true difference that is told with a power of 80 %; see :func:`power`."""
    from scipy import optimize

    if deviation == 0:
        return 0.0
    # Twenty deviations are told by two seeds.
    return float(optimize.brentq(lambda difference: power(difference, deviation, seeds) - POWER, 0, 20 * deviation))


def power_rows(rows: list[dict[str, Any]], difference: float) -> tuple[list[str], list[list[str]]]:
    """Lay out what :func:`power_of_study` returns: the header and the rows of a table."""
    header = ['method', 'shots', 'seeds', 'difference', 'deviation', 'told at 80 %', f'seeds for {difference:g}']
    return header, [
        [
            row['method'],
            str(row['shots']),
            str(row['seeds']),
            f'{row["mean"]:+.2f}',
            f'{row["deviation"]:.2f}',
            f'{row["smallest_told"]:.2f}',
            f'more than {MOST_SEEDS}' if row['seeds_needed'] is None else str(row['seeds_needed']),
        ]
        for row in rows
    ]


def power_of_study(study: dict[str, Any], metric: str, difference: float) -> list[dict[str, Any]]:
    """Look at every method of a study against its baseline.

    Args:
        study (dict): Of :func:`read_study_results`.
        metric (str): Name of a figure of the study.
        difference (float): That is to be told, in the metric's own unit.

    Returns:
        list[dict]: ``method``, ``shots``, ``seeds``, ``mean`` and ``deviation`` of the differences paired by seed,
        ``smallest_told`` with as many seeds, and ``seeds_needed`` for ``difference`` (None beyond 1000).

    Raises:
        ValueError: If no method has the figure for two seeds that the baseline has, too.
    """
    rows = []
    for method in study['choices']:
        for shots in shots_of(study):
            spread = difference_at(study, method, shots, {'metric': metric})
            if method == study['baseline'] or spread is None or spread.std is None:
                continue
            rows.append(
                dict(
                    method=label_of(study, method),
                    shots=shots,
                    seeds=spread.count,
                    mean=spread.mean,
                    deviation=spread.std,
                    smallest_told=smallest_told(spread.std, spread.count),
                    seeds_needed=seeds_needed(difference, spread.std),
                )
            )
    if not rows:
        raise ValueError(
            f'no method of the study has {metric!r} for two seeds of the baseline; expected one of '
            f'{", ".join(column["metric"] for column in study["columns"])}'
        )
    return rows
