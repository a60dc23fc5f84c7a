"""Statistics over seeds and data sets."""

import math
import statistics
from typing import NamedTuple

from scipy.special import stdtrit

from ..engine.loops.domain_report import HARMONIC_MEAN, NEW_CLASSES

CONFIDENCE = 0.95
BRANCHES = ('fused', 'tuned')
MEAN = 'mean'
NAMELESS = 'MPS-Tuning'


class Spread(NamedTuple):
    """What repeated runs of one setting gave."""

    count: int
    mean: float
    std: float | None
    """Standard deviation of a sample (n - 1); None for a single value."""
    half_width: float | None
    """Half of the 95 % interval of the mean by Student's t; None for a single value."""

    @property
    def interval(self):
        """tuple[float, float] | None: Ends of the interval of the mean."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)

    @property
    def accuracy_interval(self):
        """tuple[float, float] | None: The same of an accuracy in percent, of which nothing beyond 0 and 100 can be true."""
        return self.interval and (max(0.0, self.interval[0]), min(100.0, self.interval[1]))


class Summary(NamedTuple):
    """All figures of a grid, by what they belong to."""

    datasets: list
    """Names of the columns, without the means."""
    methods: list
    """Names of the recipes; where several configs share a data set, of these."""
    shots: list
    spreads: dict
    """(branch, method, data set or name of a mean, shots) -> :class:`Spread`; zero-shot is ``'zero_shot'``, shots 0."""
    means: list
    """Names of the means over columns."""
    published: dict
    """The same keys -> the figure that somebody published."""
    others: tuple = ()
    """Names of those methods of which there will be nothing but published figures."""
    by_method: bool = False
    """Whether there are methods, which mostly share their zero-shot figures, and not only recipes of one."""

    @property
    def columns(self):
        """list[str]: Data sets, then means."""
        return [*self.datasets, *self.means]

    def quote(self, *key):
        """Return what is published of a figure.

        Args:
            *key: As in :attr:`spreads`.

        Returns:
            Quote | None: None if nothing is.
        """
        value, spread = self.published.get(key), self.spreads.get(key)
        if value is None:
            return None
        return Quote(value, None if spread is None else spread.mean - value)


class Quote(NamedTuple):
    """A published figure."""

    value: float
    difference: float | None
    """Our mean minus theirs; None while there is none of ours."""


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
    # statistics.stdev has no answer where a figure is not defined.
    std = statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Spread(count, mean, std, quantile * std / math.sqrt(count))


def summarise(results, targets=False, published=None):
    """Average over seeds, and over data sets.

    The mean over data sets is taken seed by seed, so that its spread is that of the mean, and only over seeds that all
    data sets have; without such a seed there is none.

    Args:
        results (Sequence[dict]): Of the cells that are done.
        targets (bool): Summarise the targets of the test loops instead of the data sets that were trained on.
        published (Published, optional): Figures to stand beside ours. Then every data set of the run is a column, also
            before it has a result, and there is no mean over some of them.

    Returns:
        Summary: Of them.
    """
    names = method_names(results)
    by_seed = _by_seed(results, names, targets)
    datasets = list(dict.fromkeys(dataset for _, _, dataset, _ in by_seed))
    methods = list(dict.fromkeys(names.values()))
    shots = {result['shots'] for result in results if result['shots']}  # what trains nothing has none
    means = {}
    if published is not None:
        expected = published.targets if targets else published.datasets
        datasets = list(dict.fromkeys([*expected, *datasets]))
        means = published.means if targets else {}
    if len(datasets) > 1:
        means = {MEAN: datasets, **means}
    spreads = {key: spread_of(list(seeds.values())) for key, seeds in by_seed.items()}
    # A named mean may be over data sets and targets together.
    both = {**by_seed, **_by_seed(results, names, not targets)} if targets else by_seed
    spreads.update(_spreads_of_means(both, means))
    quoted = {}
    if published is not None:
        quoted = _quoted(results, names, published, [*datasets, *means], targets)
        methods = list(dict.fromkeys([*methods, *(method for _, method, _, _ in quoted)]))
        shots |= {number for _, _, _, number in quoted if number}
    return Summary(
        datasets,
        methods,
        sorted(shots),
        spreads,
        list(means),
        quoted,
        () if published is None else published.others,
        any(result.get('method') for result in results),
    )


def _by_seed(results, names, targets):
    """Return (branch, method, column, shots) -> seed -> accuracy."""
    values = {}
    for result in results:
        method = names[result['dataset'], result['config'], result['recipe']]
        for dataset, prefix in _columns(result, targets):
            # What trains nothing is zero-shot and nothing else.
            for branch in (*(BRANCHES if result['shots'] else ()), 'zero_shot'):
                figure = result['metrics'].get(f'{prefix}accuracy/{branch}')
                if figure is not None:
                    # Zero-shot is one figure, whatever the shots.
                    shots = 0 if branch == 'zero_shot' else result['shots']
                    seeds = values.setdefault((branch, method, dataset, shots), {})
                    seeds.setdefault(result['seed'], []).append(figure)
    return {key: {seed: statistics.fmean(figures) for seed, figures in seeds.items()} for key, seeds in values.items()}


def _spreads_of_means(by_seed, means):
    """Average over columns seed by seed; return (branch, method, name of the mean, shots) -> spread."""
    spreads = {}
    for branch, method, shots in dict.fromkeys((branch, method, shots) for branch, method, _, shots in by_seed):
        for name, members in means.items():
            columns = [by_seed.get((branch, method, member, shots), {}) for member in members]
            shared = [seed for seed in columns[0] if all(seed in column for column in columns)]
            if shared:
                spreads[branch, method, name, shots] = spread_of(
                    [statistics.fmean(column[seed] for column in columns) for seed in shared]
                )
    return spreads


def _quoted(results, names, published, columns, targets):
    """Return the published figures of some columns by the keys of the spreads."""
    methods = {}
    for result in results:
        method = names[result['dataset'], result['config'], result['recipe']]
        methods.setdefault(result['recipe'], dict())[method] = None
    quoted = {}
    for (label, column, number), value in published.values.items():
        # 'mean' is published of the data sets; whatever the targets' own mean is, it is another one.
        if column in columns and not (targets and column == MEAN):
            for method in methods.get(label, [label or NAMELESS]):
                quoted['fused' if number else 'zero_shot', method, column, number] = value
    return quoted


def rows_of(summary):
    """Lay a summary out flat.

    Args:
        summary (Summary): Of a grid.

    Returns:
        list[dict]: One per figure, with ``interval_low`` and ``interval_high``; where something is published, also with
        ``published`` and ``difference``.
    """
    rows = []
    for key in dict.fromkeys([*summary.spreads, *summary.published]):
        branch, method, dataset, shots = key
        spread = summary.spreads.get(key, Spread(0, None, None, None))
        low, high = spread.accuracy_interval or (None, None)
        row = dict(
            method=method,
            dataset=dataset,
            shots=shots,
            branch=branch,
            seeds=spread.count,
            mean=spread.mean,
            std=spread.std,
            interval_low=low,
            interval_high=high,
        )
        if summary.published:
            value, difference = summary.quote(*key) or (None, None)
            row.update(published=value, difference=difference)
        rows.append(row)
    return rows


def speeds_of(results):
    """Average how many pictures a run trained on and predicted per second, everything included that the run did.

    Args:
        results (Sequence[dict]): Of the cells that are done. Those that went on from a checkpoint are left out, since
            their seconds are those of the last part; so are those that were tested on targets, too.

    Returns:
        list[dict]: One per method, data set and shots, with ``training`` and ``prediction``: pictures per second.
    """
    names, groups = method_names(results), {}
    for result in results:
        if result['shots'] and not result['resumed'] and not any(True for _ in _columns(result, True)):
            method = names[result['dataset'], result['config'], result['recipe']]
            groups.setdefault((method, result['dataset'], result['shots']), []).append(result)
    return [
        dict(
            method=method,
            dataset=dataset,
            shots=shots,
            runs=len(group),
            training=statistics.fmean(
                run.get('pictures_seen', run['train_pictures'] * run['epoch']) / run['seconds']['training'] for run in group
            ),
            prediction=statistics.fmean(run['test_pictures'] / run['seconds']['testing'] for run in group),
        )
        for (method, dataset, shots), group in groups.items()
    ]


def method_names(results):
    """Name the methods: by their recipe, or by config and recipe where that does not tell those of a data set apart.

    Args:
        results (Sequence[dict]): Of cells.

    Returns:
        dict: (data set, config, recipe) to the name.
    """
    variants = {}
    for result in results:
        variants.setdefault(result['dataset'], {})[result['config'], result['recipe']] = None
    names = {}
    for dataset, pairs in variants.items():
        told_apart = len({recipe for _, recipe in pairs}) == len(pairs)
        for config, recipe in pairs:
            stem = config.rsplit('.', 1)[0]
            names[dataset, config, recipe] = (recipe or NAMELESS) if told_apart else f'{stem} {recipe}'.strip()
    return names


def _columns(result, targets):
    """Yield the names of columns with the prefixes of their metrics."""
    if not targets:
        yield result['dataset'], ''
        return
    suffix = '/accuracy/fused'
    for name in result['metrics']:
        target = name.removesuffix(suffix)
        # New classes have a table of their own, since they are other ones in every data set.
        if name.endswith(suffix) and not target.startswith('mean_of_') and target not in (NEW_CLASSES, HARMONIC_MEAN):
            yield target, f'{target}/'
