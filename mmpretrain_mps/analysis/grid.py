"""What lies in the folder of a grid: tables, curves over shots, comparisons of recipes."""

import functools
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.patheffects import withStroke

from ..benchmark.cell_run import RESULT, RESULT_FILE, RESULT_FORMAT, result_in
from ..benchmark.curves import MOST_BANDS, colour_of, draw_curves
from ..benchmark.summary import MEAN, summarise
from ..benchmark.tables import EXPLANATION, text_tables
from ..utils.files import read_json
from ..utils.shape import check_shape, or_none
from .contents import Missing, Plot, Section, Table
from .separability import separability_section
from .style import legend_below, panel

RESULTS_FILE = 'results.json'
BAR_INCHES = 0.24


class Grid(NamedTuple):
    """Results of a grid, complete or not."""

    folder: Path
    results: list
    """Of the cells that are done, as :mod:`mmpretrain_mps.benchmark.cell_run` writes them."""
    missing: list | None
    """Names of cells that are not done; None of a grid that has not come to its end, where it is not known."""
    failed: list
    """Dicts with ``cell`` and ``reason``."""


def is_grid(folder):
    """Whether a folder holds results of ``tools/fewshot_benchmark.py``, finished or not."""
    return (folder / RESULTS_FILE).is_file() or any(folder.glob(f'*/*/{RESULT_FILE}'))


def read_grid(folder):
    """Read the results of a grid.

    Args:
        folder (Path): With ``results.json``, or with results of single cells if the grid has not come to its end.

    Returns:
        Grid: What is known.

    Raises:
        ValueError: If the file holds something else.
    """
    file = folder / RESULTS_FILE
    if not file.is_file():
        results = [result for result in map(result_in, sorted(folder.glob(f'*/*/{RESULT_FILE}'))) if result]
        return Grid(folder, results, None, [])
    content = read_json(file)
    results = content.get('cells') if isinstance(content, dict) else None
    if not isinstance(results, list) or not all(_is_result(result) for result in results):
        raise ValueError(
            f'{file} does not hold the results of a grid: expected a list "cells" of entries with the format '
            f'{RESULT_FORMAT!r}, as tools/fewshot_benchmark.py writes it'
        )
    for result in results:
        check_shape(result, RESULT, file)
    parts = ('config', 'recipe', 'dataset', 'shots', 'seed')
    cells = Counter(tuple(result[part] for part in parts) for result in results)
    twice = [cell for cell, times in cells.items() if times > 1]
    if twice:
        raise ValueError(f'{file} holds the cell {", ".join(map(str, twice[0]))} more than once; expected every seed once')
    check_shape(content, {'missing?': or_none([str]), 'failed?': or_none([{'cell': str, 'reason': str}])}, file)
    return Grid(folder, results, content.get('missing') or [], content.get('failed') or [])


def grid_sections(grid):
    """Make the sections of a grid.

    Args:
        grid (Grid): Of :func:`read_grid`.

    Returns:
        list[Section]: Tables, curves, comparison, separation, what was run, machines.
    """
    if not grid.results:
        return [_cells_section(grid)]
    return [
        _cells_section(grid),
        _tables_section(grid),
        _curves_section(grid),
        _comparison_section(grid),
        separability_section(*_at_most_shots(grid)),
        runs_section(grid.results),
        environment_section(grid.results),
    ]


def _cells_section(grid):
    done, failed = len(grid.results), {entry['cell'] for entry in grid.failed}
    if grid.missing is None:
        return Section(
            'cells',
            'Cells',
            [
                f'{done} cells are done.',
                Missing(
                    f'There is no {RESULTS_FILE}: the grid has not come to its end, and which cells are missing is not known.'
                ),
            ],
        )
    missing = [name for name in grid.missing if name not in failed]
    parts = [f'{done} cells are done, {len(missing)} missing, {len(failed)} failed.']
    parts += [Missing(f'Missing: {name}.') for name in missing]
    parts += [Missing(f'Failed: {entry["cell"]}: {entry["reason"]}') for entry in grid.failed]
    return Section('cells', 'Cells', parts)


def _tables_section(grid):
    return Section('accuracy', 'Accuracy', [EXPLANATION, *(Table(*table) for table in text_tables(grid.results))])


def _curves_section(grid):
    plots = []
    for targets, prefix in ((False, 'curves'), (True, 'curves-target')):
        summary = summarise(grid.results, targets)
        panels = [*summary.datasets, *([MEAN] if len(summary.datasets) > 1 else [])]
        few = len(summary.methods) <= MOST_BANDS
        bands = ', with the 95 % interval of the mean as a band' if few else '; intervals stand in the tables'
        for index, name in enumerate(panels):
            what = name if name != MEAN else f'mean of all {"targets" if targets else "data sets"}'
            caption = f'Accuracy over shots, {what}: mean over seeds{bands}.'
            draw = functools.partial(_draw_curve, summary._replace(datasets=[name]), what)
            plots.append(Plot(f'{prefix}-{index}', caption, draw))
    return Section('curves', 'Accuracy over shots', plots)


def _draw_curve(summary, title):
    figure = draw_curves(summary)
    figure.axes[0].set_title(title)
    return figure


def _comparison_section(grid):
    plots = []
    for targets, prefix in ((False, 'recipes'), (True, 'recipes-target')):
        gains = summarise(list(map(_as_gain, grid.results)), targets)
        panels = [*gains.datasets, *([MEAN] if len(gains.datasets) > 1 else [])]
        for index, dataset in enumerate(panels):
            own = {
                (method, shots): spread
                for (branch, method, name, shots), spread in gains.spreads.items()
                if branch == 'fused' and name == dataset
            }
            if own:
                what = dataset if dataset != MEAN else f'the mean of all {"targets" if targets else "data sets"}'
                plots.append(
                    Plot(
                        f'{prefix}-{index}',
                        f'What tuning adds to zero-shot CLIP on {what}: fused minus zero-shot accuracy of '
                        'each run, mean over seeds with its 95 % interval. Intervals that leave the panel are cut.',
                        functools.partial(_draw_gains, f'Gain on {what}', gains.methods, own),
                    )
                )
    if not plots:
        plots = [Missing('The results have no accuracies of fused and zero-shot predictions to compare.')]
    return Section('recipes', 'Comparison of recipes', plots)


def _as_gain(result):
    """Return a result whose fused accuracies are differences to the zero-shot ones of the same run."""
    metrics = result['metrics']
    fused = (name for name in metrics if name.endswith('accuracy/fused'))
    pairs = {name: name.removesuffix('fused') + 'zero_shot' for name in fused}
    return {**result, 'metrics': {name: metrics[name] - metrics[other] for name, other in pairs.items() if other in metrics}}


def _draw_gains(title, methods, gains):
    """Draw a group of bars per recipe, its name above it: names are long, and there is no room beside them."""
    shots = sorted({shots for _, shots in gains})
    shown = [method for method in methods if any(name == method for name, _ in gains)]
    step = len(shots) + 1.6
    figure, axis = panel(title, 'percentage points', size=(4.8, 1.4 + BAR_INCHES * step * len(shown)))
    for index, number in enumerate(shots):
        rows = [(step * row + index, gains[method, number]) for row, method in enumerate(shown) if (method, number) in gains]
        colour = colormaps['cividis'](0.1 + 0.8 * index / max(1, len(shots) - 1))
        places, spreads = zip(*rows)
        axis.barh(
            places,
            [spread.mean for spread in spreads],
            height=0.8,
            color=colour,
            linewidth=0.5,
            edgecolor=axis.xaxis.label.get_color(),
            label=f'{number} shot{"s" if number > 1 else ""}',
        )
        whole = [(place, spread) for place, spread in rows if spread.half_width is not None]
        if whole:
            places, spreads = zip(*whole)
            axis.errorbar(
                [spread.mean for spread in spreads],
                places,
                xerr=[spread.half_width for spread in spreads],
                linestyle='none',
                color=colour_of(1),
                capsize=3,
                linewidth=1.4,
            )
    for row, method in enumerate(shown):
        # Beside the edge of the panel, and legible where the line of zero crosses it.
        axis.annotate(
            method,
            (0, step * row - 0.65),
            xycoords=('axes fraction', 'data'),
            xytext=(4, 0),
            textcoords='offset points',
            fontsize=10.5,
            va='bottom',
            path_effects=[withStroke(linewidth=2.5, foreground=axis.get_facecolor())],
        )
    axis.axvline(0, color=axis.xaxis.label.get_color(), linewidth=0.8)
    axis.set_yticks([])
    axis.set_ylim(step * len(shown) - 1.1, -1.8)
    axis.grid(axis='y', visible=False)
    axis.set_xlim(*_limits_of(gains.values()))
    legend_below(figure, axis, columns=3)
    return figure


def _limits_of(spreads):
    """Return the ends of the axis: all bars, and intervals as far as they do not make the bars tiny."""
    ends = [0, *(spread.mean for spread in spreads)]
    low, high = min(ends), max(ends)
    room = max(high - low, 1)
    wanted = [end for spread in spreads for end in spread.interval or ()]
    return max(min([low, *wanted]), low - room) - 0.05 * room, min(max([high, *wanted]), high + room) + 0.05 * room


def _at_most_shots(grid):
    """Return the metrics of the runs with the most shots, and how a notice calls them."""
    shots = max(result['shots'] for result in grid.results)
    return [result['metrics'] for result in grid.results if result['shots'] == shots], (
        f'The runs with {shots} shots have no figures separability/...'
    )


def runs_section(results):
    """Tell what was run: config, recipe, shots, seeds, changes.

    Args:
        results (Sequence[dict]): Of cells.

    Returns:
        Section: One table, a row per recipe.
    """
    rows, seen = [], {}
    for result in results:
        seen.setdefault((result['dataset'], result['config'], result['recipe']), []).append(result)
    for (dataset, config, recipe), runs in seen.items():
        options = {name: value for name, value in runs[0].get('options', {}).items() if name not in ('num_shots', 'seed')}
        rows.append(
            [
                dataset,
                config,
                recipe or '-',
                _numbers(runs, 'shots'),
                _numbers(runs, 'seed'),
                _numbers(runs, 'epoch'),
                _numbers(runs, 'test_pictures'),
                ', '.join(f'{name}={value}' for name, value in options.items()) or '-',
            ]
        )
    return Section(
        'config',
        'What was run',
        [Table('Recipes', ['data set', 'config', 'recipe', 'shots', 'seeds', 'epochs', 'test pictures', 'options'], rows)],
    )


def environment_section(results):
    """Tell machines and versions, those that differ between runs with all their values.

    Args:
        results (Sequence[dict]): Of cells.

    Returns:
        Section: One table, or a notice.
    """
    entries = {}
    for result in results:
        for name, value in {**(result.get('machine') or {}), **(result.get('versions') or {})}.items():
            entries.setdefault(name, []).append(str(value))
    rows = [[name, ', '.join(sorted(set(values)))] for name, values in entries.items()]
    parts = (
        [Table('Machine and versions of the runs', ['entry', 'value'], rows)]
        if rows
        else [Missing('The results do not say on what they were made.')]
    )
    return Section('environment', 'Environment', parts)


def _numbers(results, name):
    return ', '.join(map(str, sorted({result[name] for result in results})))


def _is_result(result):
    return isinstance(result, dict) and result.get('format') == RESULT_FORMAT
