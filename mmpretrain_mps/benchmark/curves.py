"""Accuracy over shots, drawn as the papers draw it, or, where there is one number of shots, method by method."""

import io
import math
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from ..engine.file_backend import AtomicLocalBackend
from .summary import MEAN, summarise

# Okabe and Ito: told apart by all common kinds of colour vision; the markers help in print.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
# Colours and markers have the same number: these tell the rounds apart, 28 methods in all.
LINE_STYLES = ('-', ':', '--', '-.')
COLUMNS = 4
PANEL_INCHES = (3.4, 2.8)
LONE_PANEL_INCHES = (5.2, 4.0)
PNG_DPI = 150
# Bands of more methods than this hide each other, and the lines.
MOST_BANDS = 4


def write_curves(folder, results):
    """Write ``curves.png`` and ``curves.svg``, each in one step.

    Args:
        folder (str | Path): Of the grid.
        results (Sequence[dict]): Of the cells that are done.

    Returns:
        list[Path]: The files; none without results.
    """
    if not results:
        return []
    figure = draw_curves(summarise(results))
    files = [Path(folder, 'curves.png'), Path(folder, 'curves.svg')]
    for file in files:
        AtomicLocalBackend().put(figure_bytes(figure, file.suffix[1:]), file)
    return files


def figure_bytes(figure, extension):
    """Return the content of a figure's file; equal figures give equal files.

    Args:
        figure (Figure): Of matplotlib.
        extension (str): ``'png'`` or ``'svg'``.

    Returns:
        bytes: Of the file.
    """
    content = io.BytesIO()
    # Without a date, and with names that are not random.
    with matplotlib.rc_context({'svg.hashsalt': 'curves'}):
        figure.savefig(content, format=extension, dpi=PNG_DPI, metadata={'Date': None} if extension == 'svg' else {})
    return content.getvalue()


def colour_of(index):
    """Return the colour of a line or group; what is black in :data:`COLOURS` is drawn as text is, on dark pages too.

    Args:
        index (int): From 0; colours repeat.

    Returns:
        str: For matplotlib.
    """
    colour = COLOURS[index % len(COLOURS)]
    return matplotlib.rcParams['text.color'] if colour == '#000000' else colour


def draw_curves(summary):
    """Draw a panel per data set, and one for their mean.

    Of several methods with one number of shots each is a point on a line of its own. Otherwise, a line is the fused
    accuracy of a method, with the 95 % interval of its mean over seeds as a band if there are few methods; with a single
    method, a dashed one is its tuned branch. Zero-shot is the star at 0 shots.

    Args:
        summary (Summary): Of a grid.

    Returns:
        Figure: Of matplotlib.
    """
    panels = summary.datasets + ([MEAN] if len(summary.datasets) > 1 else [])
    if len(summary.shots) == 1 and len(summary.methods) > 1:
        return _draw_methods(summary, panels)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    # A single panel has no neighbours whose size it must fit.
    width, height = LONE_PANEL_INCHES if len(panels) == 1 else PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.3 * len(summary.methods) / columns), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, axis in zip(panels, axes):
        _draw_panel(axis, summary, panel)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    # A method may be missing from some panels.
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc='outside lower center',
        ncols=columns,
        frameon=False,
        fontsize=0.9 * matplotlib.rcParams['font.size'],
    )
    return figure


def _draw_methods(summary, panels):
    """Draw the fused accuracy of every method as a point with the 95 % interval of its mean, the first one on top."""
    (shots,) = summary.shots
    width, height = LONE_PANEL_INCHES if len(panels) == 1 else PANEL_INCHES
    figure = Figure(figsize=(width + (len(panels) - 1) * width * 0.8, 1.2 + 0.26 * len(summary.methods)), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    rows = range(len(summary.methods), 0, -1)
    for panel, axis in zip(panels, axes):
        for row, method in zip(rows, summary.methods):
            spread = summary.spreads.get(('fused', method, panel, shots))
            if spread is not None:
                axis.errorbar(spread.mean, row, xerr=spread.half_width, marker='o', capsize=3, color=colour_of(0))
        for zero_shot in {
            spread.mean
            for method in summary.methods
            if (spread := summary.spreads.get(('zero_shot', method, panel, 0))) is not None
        }:
            axis.axvline(zero_shot, color=colour_of(-1), linestyle='--')
        name = 'mean of all data sets' if panel == MEAN else panel
        axis.set_title(f'{name}, {shots} {"shot" if shots == 1 else "shots"}')
        axis.set_xlabel('accuracy (%), zero-shot dashed')
        axis.set_yticks(rows, summary.methods)
        axis.grid(alpha=0.3)
    return figure


def _draw_panel(axis, summary, panel):
    for index, method in enumerate(summary.methods):
        colour, marker = colour_of(index), MARKERS[index % len(MARKERS)]
        _draw_line(
            axis,
            summary,
            ('fused', method, panel),
            method,
            color=colour,
            marker=marker,
            linestyle=LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)],
        )
        if len(summary.methods) == 1:
            _draw_line(
                axis,
                summary,
                ('tuned', method, panel),
                f'{method}, tuned branch alone',
                color=colour_of(1),
                marker=MARKERS[1],
                linestyle='--',
            )
        zero_shot = summary.spreads.get(('zero_shot', method, panel, 0))
        if zero_shot is not None and index == _first_with(summary, panel, zero_shot.mean):
            label = 'zero-shot CLIP' if index == 0 else f'zero-shot CLIP ({method})'
            axis.plot(
                [0],
                [zero_shot.mean],
                linestyle='none',
                marker='*',
                markersize=13 if index == 0 else 9,
                label=label,
                color=colour_of(-1) if index == 0 else colour,
                zorder=3,
            )
    ticks = [0, *summary.shots]
    axis.set_xticks(ticks, [str(shots) for shots in ticks])
    axis.set_title('mean of all data sets' if panel == MEAN else panel, fontsize=1.1 * matplotlib.rcParams['font.size'])
    axis.set_xlabel('labelled pictures per class')
    axis.set_ylabel('accuracy (%)')
    axis.grid(alpha=0.3)


def _draw_line(axis, summary, key, label, **style):
    points = [(shots, summary.spreads.get((*key, shots))) for shots in summary.shots]
    points = [(shots, spread) for shots, spread in points if spread is not None]
    if not points:
        return
    shots, spreads = zip(*points)
    axis.plot(shots, [spread.mean for spread in spreads], label=label, markersize=5, linewidth=1.6, **style)
    if len(summary.methods) > MOST_BANDS:
        return
    halves = [spread.half_width or 0 for spread in spreads]
    # An interval of two seeds can be wider than the scale.
    low = [max(0, spread.mean - half) for spread, half in zip(spreads, halves)]
    high = [min(100, spread.mean + half) for spread, half in zip(spreads, halves)]
    axis.fill_between(shots, low, high, color=style['color'], alpha=0.15, linewidth=0)


def _first_with(summary, panel, mean):
    """Return the first method with this zero-shot accuracy, so that equal stars are drawn once."""
    figures = [summary.spreads.get(('zero_shot', method, panel, 0)) for method in summary.methods]
    return next((index for index, spread in enumerate(figures) if spread is not None and abs(spread.mean - mean) < 0.005), None)
