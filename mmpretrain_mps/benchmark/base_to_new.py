"""From base to new classes: the table that papers have of it."""

import statistics
from collections.abc import Sequence

from ..engine.loops.domain_report import NEW_CLASSES, harmonic_mean
from .summary import MEAN, Published, named, shared_seeds, spread_of

TITLE = 'From base to new classes: accuracy in percent on both, and their harmonic mean H'
HEADINGS = ['method', 'shots', 'data set', 'base', 'new', 'H']
NEW_METRIC = f'{NEW_CLASSES}/accuracy/fused'


def base_to_new_lines(results: Sequence[dict], published: Published | None = None) -> list[tuple]:
    """Lay out the lines of the table, data sets first, then their mean; what is published follows ours.

    A line has method, shots, data set, and three :class:`Spread`; what is published has figures in their place, and
    ``' (paper)'`` behind the method. The mean of data sets is that of base and of new accuracies, seed by seed, and H that of
    the two means, as papers have it; there is one where all data sets of a method have a seed in common. Results without new
    classes are left out.
    """
    groups, quoted = _by_seed(results), {} if published is None else published.base_to_new
    datasets = list(dict.fromkeys(dataset for _, _, dataset in groups))
    datasets += [name for _, name in quoted if name not in (*datasets, MEAN)]
    lines = []
    for method in dict.fromkeys(method for method, *_ in (*groups, *quoted)):
        for shots in dict.fromkeys(number for name, number, _ in groups if name == method):
            own = {name: groups[method, shots, name] for name in datasets if (method, shots, name) in groups}
            columns = list(own.values())
            shared = shared_seeds(columns) if 1 < len(own) == len(datasets) else []
            if shared:
                own[MEAN] = {seed: tuple(map(statistics.fmean, zip(*(column[seed] for column in columns)))) for seed in shared}
            lines += [(method, shots, name, *_spreads(seeds)) for name, seeds in own.items()]
        known = [name for name in (*datasets, MEAN) if (method, name) in quoted]
        lines += [(f'{method} (paper)', '-', name, *quoted[method, name]) for name in known]
    return lines


def _by_seed(results):
    """Return (method, shots, data set) -> seed -> accuracy on base and on new classes."""
    groups = {}
    for method, result in named(results):
        metrics = result['metrics']
        if NEW_METRIC in metrics:
            seeds = groups.setdefault((method, result['shots'], result['dataset']), {})
            seeds[result['seed']] = metrics['accuracy/fused'], metrics[NEW_METRIC]
    return groups


def _spreads(seeds):
    base, new = zip(*seeds.values())
    return [spread_of(values) for values in (base, new, list(map(harmonic_mean, base, new)))]
