"""Separation of classes, layer by layer, from the figures of the metric ``ClassSeparability``."""

import re
import statistics
from collections.abc import Sequence
from functools import partial

from .contents import Missing, Plot, Section
from .style import branch_line, draw_lines

# separability/<branch>/<layer>/<figure>, of the set that was trained on: those of targets have its name in front.
NAME = re.compile(r'separability/(tuned|zero_shot)/(output|before_end_(\d+))/(\w+)')
FIGURES = {
    'scatter_ratio': ('Scatter within over between classes', 'ratio', 'Lower is better.'),
    'centroid_accuracy': ('Nearest class centre', 'accuracy (%)', 'Accuracy of taking the class of the nearest centre.'),
    'silhouette': ('Silhouette', 'mean silhouette', '-1 to 1, higher is better.'),
}


def separability_section(runs: Sequence[dict[str, float]], nothing: str) -> Section:
    """Draw separation over layers, averaged over the figures of runs, or say that there is ``nothing``."""
    title, found = 'Separation of classes', {}
    for run in runs:
        for name, value in run.items():
            match = NAME.fullmatch(name)
            if match:
                # The output comes last: 'before_end_2' lies two blocks before it.
                position = -int(match[3] or 0)
                found.setdefault(match[4], {}).setdefault((match[1], position), []).append(value)
    if not found:
        notice = Missing(f'{nothing} To have them, add dict(type="ClassSeparability") to test_evaluator and test.')
        return Section('separability', title, [notice])
    plots, mean = [], f' Mean of {len(runs)} runs.' if len(runs) > 1 else ''
    for figure, values in found.items():
        *names, explanation = FIGURES.get(figure, (figure.replace('_', ' '), '', ''))
        caption = f'{explanation} Layers are [CLS] at the input of a block, carried on by the pseudo-forward.{mean}'.strip()
        plots.append(Plot(f'separability-{figure.replace("_", "-")}', caption, partial(_draw, *names, values)))
    return Section('separability', title, plots)


def _draw(title, label, values):
    positions = sorted({position for _, position in values})
    ticks = [str(-position) if position else 'output' for position in positions]
    lines = []
    for branch in ('tuned', 'zero_shot'):
        known = [index for index, position in enumerate(positions) if (branch, position) in values]
        means = [statistics.fmean(values[branch, positions[index]]) for index in known]
        if known:
            lines.append(branch_line(branch, known, means))
    return draw_lines(title, 'blocks before the end', label, lines, ticks)
