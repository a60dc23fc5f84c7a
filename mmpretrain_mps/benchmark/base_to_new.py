"""From base to new classes: the table that papers have of it."""

import statistics

from ..engine.loops.domain_report import NEW_CLASSES, harmonic_mean
from .summary import MEAN, method_names, spread_of

TITLE = 'From base to new classes: accuracy in percent on both, and their harmonic mean H'
HEADINGS = ['method', 'shots', 'data set', 'base', 'new', 'H']
NEW_METRIC = f'{NEW_CLASSES}/accuracy/fused'


def base_to_new_lines(results, published=None):
    """Lay out the lines of the table, data sets first, then their mean; what is published follows ours.

    The mean of data sets is that of base and of new accuracies, seed by seed, and H that of the two means, as papers have
    it; there is one where all data sets of a method have a seed in common.

    Args:
        results (Sequence[dict]): Of the cells that are done; those without new classes are left out.
        published (Published, optional): Figures of others.

    Returns:
        list[tuple]: Method, shots, data set, and three :class:`Spread` or figures; what is published has no spread and
        ``' (paper)'`` behind the method.
    """
    groups, quoted = _by_seed(results), {} if published is None else dict(published.base_to_new)
    datasets = list(dict.fromkeys(dataset for _, _, dataset in groups))
    datasets += [name for _, name in quoted if name not in (*datasets, MEAN)]
    lines = []
    for method in dict.fromkeys([*(method for method, _, _ in groups), *(method for method, _ in quoted)]):
        shots = list(dict.fromkeys(number for name, number, _ in groups if name == method)) or ['-']
        for number in shots:
            seeds = [groups[method, number, name] for name in datasets if (method, number, name) in groups]
            for dataset in datasets:
                if (method, number, dataset) in groups:
                    lines.append((method, number, dataset, *_spreads(groups[method, number, dataset])))
            if len(seeds) > 1 and len(seeds) == len(datasets):
                lines += [(method, number, MEAN, *_spreads(mean)) for mean in [_mean_of(seeds)] if mean]
        lines += [
            (f'{method} (paper)', '-', name, *quoted[method, name]) for name in (*datasets, MEAN) if (method, name) in quoted
        ]
    return lines


def _by_seed(results):
    """Return (method, shots, data set) -> seed -> accuracy on base and on new classes."""
    names, groups = method_names(results), {}
    for result in results:
        if NEW_METRIC in result['metrics']:
            method = names[result['dataset'], result['config'], result['recipe']]
            seeds = groups.setdefault((method, result['shots'], result['dataset']), {})
            seeds[result['seed']] = result['metrics']['accuracy/fused'], result['metrics'][NEW_METRIC]
    return groups


def _mean_of(seeds_of_datasets):
    shared = [seed for seed in seeds_of_datasets[0] if all(seed in seeds for seeds in seeds_of_datasets)]
    return {seed: tuple(statistics.fmean(seeds[seed][half] for seeds in seeds_of_datasets) for half in (0, 1)) for seed in shared}


def _spreads(seeds):
    halves = list(seeds.values())
    return [
        spread_of(values)
        for values in ([base for base, _ in halves], [new for _, new in halves], [harmonic_mean(*pair) for pair in halves])
    ]
