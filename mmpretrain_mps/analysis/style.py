"""How plots look: one panel each, legible at the width of a page and of a phone, for light and for dark pages."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from ..benchmark.curves import colour_of, figure_bytes
from .contents import Plot

# Three of them stand side by side on a wide page; text is then as large as the page's captions.
PANEL_INCHES = (4.8, 3.7)
SQUARE_INCHES = (4.8, 4.6)
# Told apart in print and without colour; with colours that repeat after 7, 70 groups look different.
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>', 'p')
BRANCHES = {'fused': 'fused', 'tuned': 'tuned', 'zero_shot': 'zero-shot'}
BRANCH_COLOURS = {'fused': 0, 'tuned': 1, 'zero_shot': -1}
MARKED_POINTS = 25

_COMMON = {
    'font.size': 11.5,
    'axes.titlesize': 12.5,
    'legend.fontsize': 10.5,
    'legend.frameon': False,
    'axes.grid': True,
    'grid.alpha': 0.3,
    'lines.linewidth': 1.6,
    'lines.markersize': 5,
    'axes.spines.top': False,
    'axes.spines.right': False,
    # Names of classes and methods are shown as they are, dollar signs included.
    'text.parse_math': False,
}
_PAGES = {'light': ('#ffffff', '#1a1a1a'), 'dark': ('#16191d', '#e6e6e6')}
STYLES = tuple(_PAGES)


def in_style(name: str) -> AbstractContextManager:
    """Draw for pages of one kind, ``'light'`` or ``'dark'``, within this context."""
    paper, ink = _PAGES[name]
    colours = dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), ink)
    papers = dict.fromkeys(('figure.facecolor', 'axes.facecolor'), paper)
    return matplotlib.rc_context({**_COMMON, **colours, **papers})


def render(plot: Plot, style: str, extension: str) -> bytes:
    """Draw a plot for pages of a style as the content of a file, ``'png'`` or ``'svg'``; the same for the same plot."""
    with in_style(style):
        return figure_bytes(plot.draw(), extension)


def plot_files(plots: Sequence[Plot]) -> dict[str, bytes]:
    """Render plots as PNG and SVG, for light and for dark pages; return contents by names of files."""
    return {
        f'{plot.name}-{style}.{extension}': render(plot, style, extension)
        for plot in plots
        for style in STYLES
        for extension in ('png', 'svg')
    }


def panel(title: str, x: str = '', y: str = '', size: tuple[float, float] = PANEL_INCHES) -> tuple[Figure, Axes]:
    """Make a figure of one panel, with labels of its axes, in inches."""
    figure = Figure(figsize=size, layout='constrained')
    axis = figure.subplots()
    # Names in titles may be long: what would leave the figure is broken.
    axis.set_title(title, wrap=True)
    axis.set_xlabel(x, wrap=True)
    axis.set_ylabel(y, wrap=True)
    return figure, axis


def draw_matrix(
    title: str, matrix: np.ndarray, ticks: Sequence[float], names: Sequence[str], labels: tuple[str, str] = ('', ''), **looks
) -> tuple[Figure, Axes]:
    """Draw a square matrix with names at its ticks, and labels of its axes, as matplotlib's ``imshow`` does."""
    figure, axis = panel(title, *labels, size=SQUARE_INCHES)
    axis.grid(False)
    shown = axis.imshow(matrix, **looks)
    axis.set_xticks(ticks, names, rotation=90)
    axis.set_yticks(ticks, names)
    axis.tick_params(length=0, labelsize=10)
    figure.colorbar(shown, ax=axis, shrink=0.8, pad=0.02)
    return figure, axis


def legend_below(figure: Figure, axis: Axes, columns: int = 2, **looks) -> None:
    """Put the legend below the panel, where it covers nothing, in fewer columns where names are long."""
    handles, labels = axis.get_legend_handles_labels()
    # A single line is what the title says.
    if len(handles) < 2:
        return
    looks = dict(loc='outside lower center', columnspacing=1.2, handletextpad=0.5) | looks
    for count in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(handles, labels, ncols=count, **looks)
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


class Line(NamedTuple):
    """One line of a panel."""

    label: str
    x: list[float]
    y: list[float]
    colour: int
    """Index for :func:`mmpretrain_mps.benchmark.curves.colour_of`."""
    dashed: bool = False
    half_widths: list[float] | None = None
    """Of intervals round the values."""


def branch_line(branch: str, x: Sequence[float], y: Sequence[float], label: str = '') -> Line:
    """Return the line of a branch, named as it is unless told otherwise, and drawn as it is everywhere."""
    return Line(label or BRANCHES[branch], list(x), list(y), BRANCH_COLOURS[branch], dashed=branch == 'zero_shot')


def draw_lines(title: str, x: str, y: str, lines: Sequence[Line], ticks: Sequence[str] | None = None) -> Figure:
    """Draw lines with a legend below; ticks name the positions 0, 1, ... of the horizontal axis."""
    figure, axis = panel(title, x, y)
    for line in lines:
        # Markers of a long course would hide it.
        marker = MARKERS[line.colour % len(MARKERS)] if len(line.x) <= MARKED_POINTS else ''
        axis.errorbar(
            line.x,
            line.y,
            yerr=line.half_widths,
            label=line.label,
            color=colour_of(line.colour),
            marker=marker,
            linestyle='--' if line.dashed else '-',
            capsize=3 if line.half_widths else 0,
        )
    if ticks is not None:
        axis.set_xticks(range(len(ticks)), ticks)
    elif all(float(position).is_integer() for line in lines for position in line.x):
        positions = sorted({float(position) for line in lines for position in line.x})
        # Round a single position the locator would put fractions.
        axis.xaxis.set_major_locator(FixedLocator(positions) if len(positions) == 1 else MaxNLocator(integer=True, nbins=8))
    legend_below(figure, axis)
    return figure
