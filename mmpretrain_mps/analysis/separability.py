"""Separation of classes, layer by layer, from the figures of the metric ``ClassSeparability``."""

import functools
import re
import statistics

from .contents import Missing, Plot, Section
from .style import BRANCH_COLOURS, BRANCHES, Line, draw_lines

# separability/<branch>/<layer>/<figure>, of the set that was trained on: those of targets have its name in front.
NAME = re.compile(r'separability/(tuned|zero_shot)/(output|before_end_(\d+))/(\w+)')
FIGURES = {
    'scatter_ratio': ('Scatter within over between classes', 'ratio', 'Lower is better.'),
    'centroid_accuracy': ('Nearest class centre', 'accuracy (%)', 'Accuracy of taking the class of the nearest centre.'),
    'silhouette': ('Silhouette', 'mean silhouette', '-1 to 1, higher is better.'),
}


def separability_section(runs, nothing):
    """Draw separation over layers, averaged over runs.

    Args:
        runs (Sequence[dict]): Names of figures to values.
        nothing (str): What the notice says where there is nothing.

    Returns:
        Section: One plot per figure.
    """
    title, found = 'Separation of classes', {}
    for run in runs:
        for name, value in run.items():
            match = NAME.fullmatch(name)
            if match:
                # The output comes last: 'before_end_2' lies two blocks before it.
                position = -int(match[3] or 0)
                found.setdefault(match[4], {}).setdefault((match[1], position), []).append(value)
    if not found:
        return Section(
            'separability',
            title,
            [Missing(f'{nothing} To have them, add dict(type="ClassSeparability") to test_evaluator and test.')],
        )
    plots = [
        Plot(f'separability-{figure.replace("_", "-")}', _caption(figure, len(runs)), functools.partial(_draw, figure, values))
        for figure, values in found.items()
    ]
    return Section('separability', title, plots)


def _caption(figure, runs):
    explanation = FIGURES.get(figure, ('', '', ''))[2]
    mean = f' Mean of {runs} runs.' if runs > 1 else ''
    return f'{explanation} Layers are [CLS] at the input of a block, carried on by the pseudo-forward.{mean}'.strip()


def _draw(figure, values):
    title, label, _ = FIGURES.get(figure, (figure.replace('_', ' '), '', ''))
    positions = sorted({position for _, position in values})
    lines = []
    for branch in ('tuned', 'zero_shot'):
        points = [
            (positions.index(position), statistics.fmean(values[branch, position]))
            for position in positions
            if (branch, position) in values
        ]
        if points:
            lines.append(
                Line(BRANCHES[branch], *map(list, zip(*points)), colour=BRANCH_COLOURS[branch], dashed=branch == 'zero_shot')
            )
    return draw_lines(
        title, 'blocks before the end', label, lines, ticks=[str(-position) if position else 'output' for position in positions]
    )
