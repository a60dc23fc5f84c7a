"""What lies in the folder of a grid: tables, curves over shots, comparisons of recipes."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.patheffects import withStroke

from ..benchmark.cell_run import RESULT, RESULT_FILE, RESULT_FORMAT, result_in
from ..benchmark.curves import MOST_BANDS, colour_of, draw_curves
from ..benchmark.files import listed
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
    results: list[dict]
    """Of the cells that are done, as :mod:`mmpretrain_mps.benchmark.cell_run` writes them."""
    missing: list[str] | None
    """Names of cells that are not done; None of a grid that has not come to its end, where it is not known."""
    failed: list[dict]
    """Dicts with ``cell`` and ``reason``."""


def is_grid(folder: Path) -> bool:
    """Whether a folder holds results of ``tools/fewshot_benchmark.py``, finished or not."""
    return (folder / RESULTS_FILE).is_file() or any(folder.glob(f'*/*/{RESULT_FILE}'))


def read_grid(folder: Path) -> Grid:
    """Read ``results.json`` of a grid, or the results of single cells if the grid has not come to its end."""
    file = folder / RESULTS_FILE
    if not file.is_file():
        results = [result for result in map(result_in, sorted(folder.glob(f'*/*/{RESULT_FILE}'))) if result]
        return Grid(folder, results, None, [])
    content = read_json(file)
    results = content.get('cells') if isinstance(content, dict) else None
    formats = [result.get('format') if isinstance(result, dict) else None for result in listed(results)]
    if not isinstance(results, list) or any(found != RESULT_FORMAT for found in formats):
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


def grid_sections(grid: Grid) -> list[Section]:
    """Make the sections of a grid: tables, curves, comparison, separation, what was run, machines."""
    if not grid.results:
        return [_cells_section(grid)]
    shots = max(result['shots'] for result in grid.results)
    most = [result['metrics'] for result in grid.results if result['shots'] == shots]
    return [
        _cells_section(grid),
        Section('accuracy', 'Accuracy', [EXPLANATION, *(Table(*table) for table in text_tables(grid.results))]),
        _curves_section(grid),
        _comparison_section(grid),
        separability_section(most, f'The runs with {shots} shots have no figures separability/...'),
        runs_section(grid.results),
        environment_section(grid.results),
    ]


def _cells_section(grid):
    done, failed = len(grid.results), {entry['cell'] for entry in grid.failed}
    if grid.missing is None:
        text = f'There is no {RESULTS_FILE}: the grid has not come to its end, and which cells are missing is not known.'
        return Section('cells', 'Cells', [f'{done} cells are done.', Missing(text)])
    missing = [name for name in grid.missing if name not in failed]
    parts = [f'{done} cells are done, {len(missing)} missing, {len(failed)} failed.']
    parts += [Missing(f'Missing: {name}.') for name in missing]
    parts += [Missing(f'Failed: {entry["cell"]}: {entry["reason"]}') for entry in grid.failed]
    return Section('cells', 'Cells', parts)


def _panels(results):
    """Yield the end of a plot's name, the data set or target, and a summary, of all that has a plot of its own."""
    for targets, suffix in ((False, ''), (True, '-target')):
        summary = summarise(results, targets)
        for index, name in enumerate(summary.panels):
            what = name if name != MEAN else f'mean of all {"targets" if targets else "data sets"}'
            yield f'{suffix}-{index}', name, what, summary


def _curves_section(grid):
    plots = []
    for suffix, name, what, summary in _panels(grid.results):
        few = len(summary.methods) <= MOST_BANDS
        bands = ', with the 95 % interval of the mean as a band' if few else '; intervals stand in the tables'
        caption = f'Accuracy over shots, {what}: mean over seeds{bands}.'
        plots.append(Plot(f'curves{suffix}', caption, partial(_draw_curve, summary._replace(datasets=[name]), what)))
    return Section('curves', 'Accuracy over shots', plots)


def _draw_curve(summary, title):
    figure = draw_curves(summary)
    figure.axes[0].set_title(title)
    return figure


def _comparison_section(grid):
    plots = []
    for suffix, name, what, gains in _panels(list(map(_as_gain, grid.results))):
        own = {key[1::2]: spread for key, spread in gains.spreads.items() if (key[0], key[2]) == ('fused', name)}
        if own:
            what = f'the {what}' if name == MEAN else what
            caption = (
                f'What tuning adds to zero-shot CLIP on {what}: fused minus zero-shot accuracy of each run, mean over seeds '
                'with its 95 % interval. Intervals that leave the panel are cut.'
            )
            plots.append(Plot(f'recipes{suffix}', caption, partial(_draw_gains, f'Gain on {what}', gains.methods, own)))
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
    shown = [method for method in methods if method in {name for name, _ in gains}]
    step = len(shots) + 1.6
    figure, axis = panel(title, 'percentage points', size=(4.8, 1.4 + BAR_INCHES * step * len(shown)))
    for index, number in enumerate(shots):
        rows = [(step * row + index, gains[method, number]) for row, method in enumerate(shown) if (method, number) in gains]
        colour = colormaps['cividis'](0.1 + 0.8 * index / max(1, len(shots) - 1))
        places, spreads = zip(*rows)
        means, label = [spread.mean for spread in spreads], f'{number} shot{"s" if number > 1 else ""}'
        looks = dict(height=0.8, color=colour, linewidth=0.5, edgecolor=axis.xaxis.label.get_color())
        axis.barh(places, means, label=label, **looks)
        for place, spread in rows:
            if spread.half_width is not None:
                looks = dict(color=colour_of(1), capsize=3, linewidth=1.4)
                axis.errorbar(spread.mean, place, xerr=spread.half_width, linestyle='none', **looks)
    for row, method in enumerate(shown):
        # Beside the edge of the panel, and legible where the line of zero crosses it.
        outline = [withStroke(linewidth=2.5, foreground=axis.get_facecolor())]
        looks = dict(xytext=(4, 0), textcoords='offset points', fontsize=10.5, va='bottom', path_effects=outline)
        axis.annotate(method, (0, step * row - 0.65), xycoords=('axes fraction', 'data'), **looks)
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


def runs_section(results: Sequence[dict]) -> Section:
    """Tell what was run in a table, a row per recipe: config, recipe, shots, seeds, changes."""
    groups, rows = {}, []
    for result in results:
        groups.setdefault((result['dataset'], result['config'], result['recipe'] or '-'), []).append(result)
    for group, runs in groups.items():
        numbers = ({run[name] for run in runs} for name in ('shots', 'seed', 'epoch', 'test_pictures'))
        options = [f'{name}={value}' for name, value in runs[0].get('options', {}).items() if name not in ('num_shots', 'seed')]
        rows.append([*group, *(', '.join(map(str, sorted(values))) for values in numbers), ', '.join(options) or '-'])
    headings = ['data set', 'config', 'recipe', 'shots', 'seeds', 'epochs', 'test pictures', 'options']
    return Section('config', 'What was run', [Table('Recipes', headings, rows)])


def environment_section(results: Sequence[dict]) -> Section:
    """Tell machines and versions, those that differ between runs with all their values."""
    entries = {}
    for result in results:
        for name, value in {**(result.get('machine') or {}), **(result.get('versions') or {})}.items():
            entries.setdefault(name, []).append(str(value))
    rows = [[name, ', '.join(sorted(set(values)))] for name, values in entries.items()]
    table = Table('Machine and versions of the runs', ['entry', 'value'], rows)
    return Section('environment', 'Environment', [table if rows else Missing('The results do not say on what they were made.')])
