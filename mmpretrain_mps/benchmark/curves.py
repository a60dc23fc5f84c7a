"""Accuracy over shots, drawn as the papers draw it, or, where there is one number of shots, method by method."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..utils.files import AnyPath
from .files import write_files
from .summary import MEAN, Spread, Summary, shots_text, summarise

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


def write_curves(folder: AnyPath, results: Sequence[dict]) -> list[Path]:
    """Write ``curves.png`` and ``curves.svg`` of the cells that are done, each in one step; nothing without results."""
    if not results:
        return []
    figure = draw_curves(summarise(results))
    return write_files(folder, {f'curves.{extension}': figure_bytes(figure, extension) for extension in ('png', 'svg')})


def figure_bytes(figure: Figure, extension: str) -> bytes:
    """Return the content of a figure's file, ``'png'`` or ``'svg'``; equal figures give equal files."""
    content = io.BytesIO()
    # Without a date, and with names that are not random.
    with matplotlib.rc_context({'svg.hashsalt': 'curves'}):
        figure.savefig(content, format=extension, dpi=PNG_DPI, metadata={'Date': None} if extension == 'svg' else {})
    return content.getvalue()


def colour_of(index: int) -> str:
    """Return the colour of a line or group; colours repeat.

    What is black in :data:`COLOURS` is drawn as text is, on dark pages too.
    """
    colour = COLOURS[index % len(COLOURS)]
    return matplotlib.rcParams['text.color'] if colour == '#000000' else colour


def draw_curves(summary: Summary) -> Figure:
    """Draw a panel per data set, and one for their mean.

    Of several methods with one number of shots each is a point on a line of its own. Otherwise, a line is the fused
    accuracy of a method, with the 95 % interval of its mean over seeds as a band if there are few methods; with a single
    method, a dashed one is its tuned branch. Zero-shot is the star at 0 shots.
    """
    panels = summary.panels
    # A single panel has no neighbours whose size it must fit.
    width, height = LONE_PANEL_INCHES if len(panels) == 1 else PANEL_INCHES
    if len(summary.shots) == 1 and len(summary.methods) > 1:
        return _draw_methods(summary, width)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.3 * len(summary.methods) / columns), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, axis in zip(panels, axes):
        _draw_panel(axis, summary, panel)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    # A method may be missing from some panels.
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    looks = dict(loc='outside lower center', ncols=columns, frameon=False, fontsize=0.9 * matplotlib.rcParams['font.size'])
    figure.legend(handles.values(), handles.keys(), **looks)
    return figure


def draw_intervals(axis: Axes, rows: Sequence[int], names: Sequence[str], spreads: Sequence[Spread | None]) -> None:
    """Draw means as points with their 95 % intervals, each in a row with its name."""
    for row, spread in zip(rows, spreads):
        if spread is not None:
            axis.errorbar(spread.mean, row, xerr=spread.half_width, marker='o', capsize=3, color=colour_of(0))
    axis.set_yticks(rows, names)


def _draw_methods(summary, width):
    """Draw the fused accuracy of every method as a point."""
    (shots,) = summary.shots
    panels = summary.panels
    figure = Figure(figsize=(width + (len(panels) - 1) * width * 0.8, 1.2 + 0.26 * len(summary.methods)), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for panel, axis in zip(panels, axes):
        spreads = [summary.spreads.get(('fused', name, panel, shots)) for name in summary.methods]
        draw_intervals(axis, range(len(spreads), 0, -1), summary.methods, spreads)
        for zero_shot in set(_zero_shot(summary, panel).values()):
            axis.axvline(zero_shot, color=colour_of(-1), linestyle='--')
        axis.set_title(f'{_title_of(panel)}, {shots_text(shots)}')
        axis.set_xlabel('accuracy (%), zero-shot dashed')
        axis.grid(alpha=0.3)
    return figure


def _draw_panel(axis, summary, panel):
    zero_shot, starred = _zero_shot(summary, panel), []
    for index, method in enumerate(summary.methods):
        colour, marker = colour_of(index), MARKERS[index % len(MARKERS)]
        style = LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]
        _draw_line(axis, summary, ('fused', method, panel), method, color=colour, marker=marker, linestyle=style)
        if len(summary.methods) == 1:
            looks = dict(color=colour_of(1), marker=MARKERS[1], linestyle='--')
            _draw_line(axis, summary, ('tuned', method, panel), f'{method}, tuned branch alone', **looks)
        mean = zero_shot.get(method)
        # Equal stars are drawn once.
        if mean is not None and not any(abs(mean - other) < 0.005 for other in starred):
            starred.append(mean)
            label, size = ('zero-shot CLIP', 13) if index == 0 else (f'zero-shot CLIP ({method})', 9)
            looks = dict(linestyle='none', marker='*', markersize=size, color=colour if index else colour_of(-1), zorder=3)
            axis.plot([0], [mean], label=label, **looks)
    ticks = [0, *summary.shots]
    axis.set_xticks(ticks, list(map(str, ticks)))
    axis.set_title(_title_of(panel), fontsize=1.1 * matplotlib.rcParams['font.size'])
    axis.set_xlabel('labelled pictures per class')
    axis.set_ylabel('accuracy (%)')
    axis.grid(alpha=0.3)


def _draw_line(axis, summary, key, label, **style):
    points = {shots: summary.spreads[(*key, shots)] for shots in summary.shots if (*key, shots) in summary.spreads}
    if not points:
        return
    axis.plot(list(points), [spread.mean for spread in points.values()], label=label, markersize=5, linewidth=1.6, **style)
    if len(summary.methods) > MOST_BANDS:
        return
    # An interval of two seeds can be wider than the scale.
    ends = [spread.accuracy_interval or (spread.mean, spread.mean) for spread in points.values()]
    axis.fill_between(list(points), *zip(*ends), color=style['color'], alpha=0.15, linewidth=0)


def _zero_shot(summary, panel):
    """Return the mean zero-shot accuracy of every method that has one."""
    found = {method: summary.spreads.get(('zero_shot', method, panel, 0)) for method in summary.methods}
    return {method: spread.mean for method, spread in found.items() if spread is not None}


def _title_of(panel):
    return 'mean of all data sets' if panel == MEAN else panel
