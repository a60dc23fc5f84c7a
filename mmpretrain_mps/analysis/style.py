"""How plots look: one panel each, legible at the width of a page and of a phone, for light and for dark pages."""

from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from ..benchmark.curves import colour_of, figure_bytes

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


def in_style(name):
    """Draw for pages of one kind within this context.

    Args:
        name (str): ``'light'`` or ``'dark'``.

    Returns:
        ContextManager: Of matplotlib's settings.
    """
    paper, ink = _PAGES[name]
    colours = dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), ink)
    papers = dict.fromkeys(('figure.facecolor', 'axes.facecolor'), paper)
    return matplotlib.rc_context({**_COMMON, **colours, **papers})


def render(plot, style, extension):
    """Draw a plot.

    Args:
        plot (Plot): What to draw.
        style (str): ``'light'`` or ``'dark'``.
        extension (str): ``'png'`` or ``'svg'``.

    Returns:
        bytes: Content of the file; the same for the same plot.
    """
    with in_style(style):
        return figure_bytes(plot.draw(), extension)


def panel(title, x='', y='', size=PANEL_INCHES):
    """Make a figure of one panel.

    Args:
        title (str): Short.
        x (str): Label of the axis.
        y (str): Label of the axis.
        size (tuple[float, float]): Width and height in inches.

    Returns:
        tuple[Figure, Axes]: Of matplotlib.
    """
    figure = Figure(figsize=size, layout='constrained')
    axis = figure.subplots()
    # Names in titles may be long: what would leave the figure is broken.
    axis.set_title(title, wrap=True)
    axis.set_xlabel(x, wrap=True)
    axis.set_ylabel(y, wrap=True)
    return figure, axis


def legend_below(figure, axis, columns=2, **looks):
    """Put the legend below the panel, where it covers nothing.

    Args:
        figure (Figure): Of :func:`panel`.
        axis (Axes): The same.
        columns (int): Of the legend; fewer where names are long.
        **looks: Of the legend, as matplotlib names them.
    """
    handles, labels = axis.get_legend_handles_labels()
    # A single line is what the title says.
    if len(handles) < 2:
        return
    for count in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(
            handles, labels, loc='outside lower center', ncols=count, columnspacing=1.2, handletextpad=0.5, **looks
        )
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


class Line(NamedTuple):
    """One line of a panel."""

    label: str
    x: list
    y: list
    colour: int
    """Index for :func:`mmpretrain_mps.benchmark.curves.colour_of`."""
    dashed: bool = False
    half_widths: list | None = None
    """Of intervals round the values."""


def draw_lines(title, x, y, lines, ticks=None):
    """Draw lines with a legend below.

    Args:
        title (str): Short.
        x (str): Label of the axis.
        y (str): Label of the axis.
        lines (Sequence[Line]): What to draw.
        ticks (Sequence[str], optional): Names of the positions 0, 1, ... of the horizontal axis.

    Returns:
        Figure: Of matplotlib.
    """
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
