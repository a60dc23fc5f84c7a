"""Statistics over seeds and data sets."""

import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

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
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval of the mean."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """The same of an accuracy in percent, of which nothing beyond 0 and 100 can be true."""
        return self.interval and (max(0.0, self.interval[0]), min(100.0, self.interval[1]))


class Quote(NamedTuple):
    """A published figure."""

    value: float
    difference: float | None
    """Our mean minus theirs; None while there is none of ours."""


class Published(NamedTuple):
    """What is published of the cells of a grid, as far as it is asked for."""

    source: str
    """Where the figures stand; those of a method that stand elsewhere, after its name."""
    values: dict[tuple[str, str, int], float]
    """(label of the recipe or method, or name of a method that is not run, data set, target or name of a mean, shots) ->
    accuracy in percent; 0 shots is zero-shot."""
    datasets: tuple[str, ...]
    """Names of the data sets of the run, in its order."""
    means: dict[str, tuple[str, ...]]
    """Name of a mean over data sets and targets -> what it is over."""
    speed: dict[str, float]
    """``'training'`` and ``'prediction'``: pictures per second; empty if nothing is published."""
    others: tuple[str, ...] = ()
    """Names of the methods that are not run here."""
    base_to_new: dict[tuple[str, str], tuple[float, ...]] = {}
    """(label or name as in :attr:`values`, data set or ``'mean'``) -> accuracies of base and of new classes, and their
    harmonic mean, in percent."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns with a figure that are neither data sets nor means."""
        others = {*self.datasets, *self.means, MEAN}
        return tuple(dict.fromkeys(column for _, column, _ in self.values if column not in others))


class Summary(NamedTuple):
    """All figures of a grid, by what they belong to."""

    datasets: list[str]
    """Names of the columns, without the means."""
    methods: list[str]
    """Names of the recipes; where several configs share a data set, of these."""
    shots: list[int]
    spreads: dict[tuple, Spread]
    """By branch, method, data set or name of a mean, and shots; zero-shot is ``'zero_shot'`` with 0 shots."""
    means: list[str]
    """Names of the means over columns."""
    published: dict[tuple, float]
    """By the same keys, the figure that somebody published."""
    others: tuple[str, ...] = ()
    """Names of those methods of which there will be nothing but published figures."""
    by_method: bool = False
    """Whether there are methods, which mostly share their zero-shot figures, and not only recipes of one."""

    @property
    def columns(self) -> list[str]:
        """Data sets, then means."""
        return [*self.datasets, *self.means]

    @property
    def panels(self) -> list[str]:
        """Data sets, and the mean of all where there are several: what has a plot of its own."""
        return self.datasets + [MEAN] * (len(self.datasets) > 1)

    def quote(self, *key) -> Quote | None:
        """Return what is published of a figure, by the key that :attr:`spreads` has, or None."""
        value, spread = self.published.get(key), self.spreads.get(key)
        return None if value is None else Quote(value, None if spread is None else spread.mean - value)


def shots_text(shots: int) -> str:
    """Write a number of shots, '1 shot' or '4 shots'."""
    return f'{shots} {"shot" if shots == 1 else "shots"}'


def spread_of(values: Collection[float]) -> Spread:
    """Describe the values, at least one, of several seeds."""
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Spread(count, mean, None, None)
    # statistics.stdev has no answer where a figure is not defined.
    std = statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Spread(count, mean, std, quantile * std / math.sqrt(count))


def summarise(results: Sequence[dict], targets: bool = False, published: Published | None = None) -> Summary:
    """Average over seeds, and over data sets, or over the targets of the test loops instead.

    The mean over data sets is taken seed by seed, so that its spread is that of the mean, and only over seeds that all
    data sets have; without such a seed there is none. With published figures every data set of the run is a column, also before
    it has a result, and there is no mean over some of them.
    """
    by_seed = _by_seed(results, targets)
    datasets = list(dict.fromkeys(dataset for _, _, dataset, _ in by_seed))
    methods = list(dict.fromkeys(method for method, _ in named(results)))
    shots = {result['shots'] for result in results if result['shots']}  # what trains nothing has none
    means, quoted, others = {}, {}, ()
    if published is not None:
        expected = published.targets if targets else published.datasets
        datasets = list(dict.fromkeys([*expected, *datasets]))
        means, others = published.means if targets else {}, published.others
    if len(datasets) > 1:
        means = {MEAN: datasets, **means}
    spreads = {key: spread_of(seeds.values()) for key, seeds in by_seed.items()}
    # A named mean may be over data sets and targets together.
    spreads |= _spreads_of_means({**by_seed, **_by_seed(results, False)} if targets else by_seed, means)
    if published is not None:
        quoted = _quoted(results, published, [*datasets, *means], targets)
        methods = list(dict.fromkeys([*methods, *(method for _, method, _, _ in quoted)]))
        shots |= {number for _, _, _, number in quoted if number}
    some_methods = any(result.get('method') for result in results)
    return Summary(datasets, methods, sorted(shots), spreads, list(means), quoted, others, some_methods)


def _by_seed(results, targets):
    """Return (branch, method, column, shots) -> seed -> accuracy."""
    values = {}
    for method, result in named(results):
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


def shared_seeds(columns: Collection[dict[int, Any]]) -> list[int]:
    """Return the seeds that all columns have, of figures by seed."""
    first, *others = columns
    return [seed for seed in first if all(seed in other for other in others)]


def _spreads_of_means(by_seed, means):
    """Average over columns seed by seed; return (branch, method, name of the mean, shots) -> spread."""
    spreads = {}
    for branch, method, shots in dict.fromkeys((branch, method, shots) for branch, method, _, shots in by_seed):
        for name, members in means.items():
            columns = [by_seed.get((branch, method, member, shots), {}) for member in members]
            figures = [statistics.fmean(column[seed] for column in columns) for seed in shared_seeds(columns)]
            if figures:
                spreads[branch, method, name, shots] = spread_of(figures)
    return spreads


def _quoted(results, published, columns, targets):
    """Return the published figures of some columns by the keys of the spreads."""
    methods = {}
    for method, result in named(results):
        methods.setdefault(result['recipe'], {})[method] = None
    return {
        ('fused' if number else 'zero_shot', method, column, number): value
        for (label, column, number), value in published.values.items()
        # 'mean' is published of the data sets; whatever the targets' own mean is, it is another one.
        if column in columns and not (targets and column == MEAN)
        for method in methods.get(label, [label or NAMELESS])
    }


def rows_of(summary: Summary) -> list[dict[str, Any]]:
    """Lay a summary out flat, a row per figure; where something is published, with ``published`` and ``difference``."""
    rows = []
    for key in dict.fromkeys([*summary.spreads, *summary.published]):
        branch, method, dataset, shots = key
        spread = summary.spreads.get(key, Spread(0, None, None, None))
        low, high = spread.accuracy_interval or (None, None)
        row = dict(method=method, dataset=dataset, shots=shots, branch=branch, seeds=spread.count)
        row |= dict(mean=spread.mean, std=spread.std, interval_low=low, interval_high=high)
        if summary.published:
            value, difference = summary.quote(*key) or (None, None)
            row.update(published=value, difference=difference)
        rows.append(row)
    return rows


def speeds_of(results: Sequence[dict]) -> list[dict[str, Any]]:
    """Average how many pictures a run trained on and predicted per second, everything included that the run did.

    There is an entry per method, data set and shots. Runs that went on from a checkpoint are left out, since their seconds are
    those of the last part; so are those that were tested on targets, too.
    """
    groups = {}
    for method, result in named(results):
        if result['shots'] and not result['resumed'] and not any(_columns(result, True)):
            groups.setdefault((method, result['dataset'], result['shots']), []).append(result)
    speeds = []
    for (method, dataset, shots), group in groups.items():
        seen = [run.get('pictures_seen', run['train_pictures'] * run['epoch']) for run in group]
        training = statistics.fmean(pictures / run['seconds']['training'] for pictures, run in zip(seen, group))
        prediction = statistics.fmean(run['test_pictures'] / run['seconds']['testing'] for run in group)
        speed = dict(method=method, dataset=dataset, shots=shots, runs=len(group), training=training, prediction=prediction)
        speeds.append(speed)
    return speeds


def named(results: Sequence[dict]) -> list[tuple[str, dict]]:
    """Return pairs of the name of the method and the result.

    The name is that of the recipe, or of config and recipe where that does not tell those of a data set apart.
    """
    variants = {}
    for result in results:
        variants.setdefault(result['dataset'], set()).add((result['config'], result['recipe']))
    pairs = []
    for result in results:
        own, recipe = variants[result['dataset']], result['recipe']
        told_apart = len({other for _, other in own}) == len(own)
        pairs.append(((recipe or NAMELESS) if told_apart else f'{result["config"].rsplit(".", 1)[0]} {recipe}'.strip(), result))
    return pairs


def _columns(result, targets) -> Iterator[tuple[str, str]]:
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
