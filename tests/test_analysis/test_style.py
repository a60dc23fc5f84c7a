"""How plots look: legible, inside their figure, and always the same."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from reported import drawn, rim

from mmpretrain_mps.analysis.contents import Plot
from mmpretrain_mps.analysis.style import MARKED_POINTS, STYLES, Line, draw_lines, in_style, legend_below, panel, render

LONG = 'a title that has many more words than there is room for in one line of a panel'


def contrast(first, second):
    """Return the ratio of luminances that WCAG defines."""

    def luminance(colour):
        channels = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour)]
        return np.dot((0.2126, 0.7152, 0.0722), channels)

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('style', STYLES)
def test_text_stands_out_from_the_paper_by_what_accessibility_asks_for(style):
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    with in_style(style):
        settings = dict(matplotlib.rcParams)
    for name in ('text.color', 'axes.labelcolor', 'xtick.color', 'ytick.color', 'axes.edgecolor'):
        assert contrast(settings[name], settings['figure.facecolor']) > 7
    assert settings['axes.facecolor'] == settings['figure.facecolor']


def test_settings_end_with_the_context():
    before = dict(matplotlib.rcParams)
    with in_style('dark'):
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize('extension', ['png', 'svg'])
def test_a_plot_is_always_the_same_and_differs_between_light_and_dark(extension):
    lines = [Line('one', [1, 2], [3, 4], 0), Line('two', [1], [2], -1)]
    plot = Plot('x', 'x', lambda: draw_lines('x', 'x', 'y', lines))
    light, dark = (render(plot, style, extension) for style in STYLES)
    assert light == render(plot, 'light', extension) and light != dark


def test_long_names_are_broken_and_leave_nothing_outside():
    lines = [Line(f'{index}: {LONG[:50]}', [0, 1], [0, 1], index) for index in range(4)]
    png = render(Plot('x', 'x', lambda: draw_lines(LONG, LONG, LONG, lines)), 'light', 'png')
    assert rim(png) == {(255, 255, 255)}


def test_a_legend_has_as_many_columns_as_fit():
    def legend(label, columns, count=6):
        figure, axis = panel('x')
        for index in range(count):
            axis.plot([0], [0], label=f'{label}{index}')
        legend_below(figure, axis, columns)
        return figure.legends

    assert legend('a', 4)[0]._ncols == 4 and legend('a', 4, count=2)[0]._ncols == 2
    assert len(legend(LONG[:30], 4)) == 1 and legend(LONG[:30], 4)[0]._ncols == 1
    assert legend(LONG, 2)[0]._ncols == 1  # it must stand somewhere
    assert legend('a', 2, count=1) == []


def test_dollars_are_dollars():
    png = [render(Plot('x', 'x', lambda: panel(title)[0]), 'light', 'png') for title in ('$x^$', 'x^')]
    assert png[0] != png[1]


def test_markers_are_left_out_where_they_would_hide_the_line():
    def marker(count):
        (axis,) = drawn(Plot('x', 'x', lambda: draw_lines('x', 'x', 'y', [Line('', range(count), range(count), 0)]))).axes
        return axis.lines[0].get_marker()

    assert marker(MARKED_POINTS) == 'o' and marker(MARKED_POINTS + 1) == ''


def test_whole_numbers_have_whole_ticks_and_names_stand_at_their_places():
    def ticks(x, names=None):
        (axis,) = draw_lines('x', 'x', 'y', [Line('', x, [0] * len(x), 0)], names).axes
        axis.figure.draw_without_rendering()
        return axis

    assert all(tick % 1 == 0 for tick in ticks([1, 2, 3]).get_xticks())
    assert any(tick % 1 for tick in ticks([1, 1.5, 2]).get_xticks())
    names = ['one', 'four', '16']
    assert [label.get_text() for label in ticks([0, 2], names).get_xticklabels()] == names


def test_intervals_are_drawn_where_they_are_given():
    lines = [Line('with', [1], [5.0], 0, half_widths=[2.0]), Line('without', [1], [5.0], 1)]
    (axis,) = draw_lines('x', 'x', 'y', lines).axes
    bars = [container.has_yerr for container in axis.containers]
    assert bars == [True, False]
    low, high = axis.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (3, 7)
