"""Statistics over seeds and data sets."""
import math
import statistics
from typing import NamedTuple, Optional

from scipy.special import stdtrit

CONFIDENCE = 0.95
BRANCHES = ('fused', 'tuned')
MEAN = 'mean'


class Spread(NamedTuple):
    """What repeated runs of one setting gave."""

    count: int
    mean: float
    std: Optional[float]
    """Standard deviation of a sample (n - 1); None for a single value."""
    half_width: Optional[float]
    """Half of the 95 % interval of the mean by Student's t; None for a single value."""

    @property
    def interval(self):
        """tuple[float, float] | None: Ends of the interval of the mean."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)


class Summary(NamedTuple):
    """All figures of a grid, by what they belong to."""

    datasets: list
    """Names of the columns, without the mean."""
    methods: list
    """Names of the recipes; where several configs share a data set, of these."""
    shots: list
    spreads: dict
    """(branch, method, data set or ``'mean'``, shots) -> :class:`Spread`; zero-shot is ``'zero_shot'`` with shots 0."""


def spread_of(values):
    """Describe values of several seeds.

    Args:
        values (Sequence[float]): At least one.

    Returns:
        Spread: Of them.
    """
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Spread(count, mean, None, None)
    std = statistics.stdev(values)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Spread(count, mean, std, quantile * std / math.sqrt(count))


def summarise(results, targets=False):
    """Average over seeds, and over data sets.

    The mean over data sets is taken seed by seed, so that its spread is that of the mean, and only over seeds that all
    data sets have; without such a seed there is none.

    Args:
        results (Sequence[dict]): Of the cells that are done.
        targets (bool): Summarise the targets of the test loops instead of the data sets that were trained on.

    Returns:
        Summary: Of them.
    """
    names = _method_names(results)
    values = {}
    for result in results:
        method = names[result['dataset'], result['config'], result['recipe']]
        for dataset, prefix in _columns(result, targets):
            for branch in (*BRANCHES, 'zero_shot'):
                figure = result['metrics'].get(f'{prefix}accuracy/{branch}')
                if figure is not None:
                    # Zero-shot is one figure, whatever the shots.
                    shots = 0 if branch == 'zero_shot' else result['shots']
                    by_seed = values.setdefault((branch, method, dataset, shots), {})
                    by_seed.setdefault(result['seed'], []).append(figure)
    datasets = list(dict.fromkeys(dataset for _, _, dataset, _ in values))
    by_seed = {
        key: {
            seed: statistics.fmean(figures)
            for seed, figures in seeds.items()
        }
        for key, seeds in values.items()
    }
    spreads = {key: spread_of(list(seeds.values())) for key, seeds in by_seed.items()}
    for branch, method, shots in dict.fromkeys((branch, method, shots) for branch, method, _, shots in values):
        columns = [by_seed.get((branch, method, dataset, shots), {}) for dataset in datasets]
        shared = [seed for seed in columns[0] if all(seed in column for column in columns)]
        if len(datasets) > 1 and shared:
            means = [statistics.fmean(column[seed] for column in columns) for seed in shared]
            spreads[branch, method, MEAN, shots] = spread_of(means)
    return Summary(datasets, list(dict.fromkeys(names.values())), sorted({result['shots']
                                                                          for result in results}), spreads)


def rows_of(summary):
    """Lay a summary out flat.

    Args:
        summary (Summary): Of a grid.

    Returns:
        list[dict]: One per figure, with ``interval_low`` and ``interval_high``.
    """
    rows = []
    for (branch, method, dataset, shots), spread in summary.spreads.items():
        low, high = spread.interval or (None, None)
        rows.append(
            dict(method=method,
                 dataset=dataset,
                 shots=shots,
                 branch=branch,
                 seeds=spread.count,
                 mean=spread.mean,
                 std=spread.std,
                 interval_low=low,
                 interval_high=high))
    return rows


def _method_names(results):
    """Name the methods: by their recipe, or by config and recipe where that does not tell those of a data set apart."""
    variants = {}
    for result in results:
        variants.setdefault(result['dataset'], {})[result['config'], result['recipe']] = None
    names = {}
    for dataset, pairs in variants.items():
        told_apart = len({recipe for _, recipe in pairs}) == len(pairs)
        for config, recipe in pairs:
            stem = config.rsplit('.', 1)[0]
            names[dataset, config, recipe] = (recipe or 'MPS-Tuning') if told_apart else f'{stem} {recipe}'.strip()
    return names


def _columns(result, targets):
    """Yield the names of columns with the prefixes of their metrics."""
    if not targets:
        yield result['dataset'], ''
        return
    suffix = '/accuracy/fused'
    for name in result['metrics']:
        target = name.removesuffix(suffix)
        if name.endswith(suffix) and not target.startswith('mean_of_'):
            yield target, f'{target}/'
