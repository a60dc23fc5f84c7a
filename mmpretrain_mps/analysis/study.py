"""What a comparison of methods found: tables, claims, and where every method stands between adapting and preserving."""

from functools import partial

from ..benchmark.curves import COLOURS, colour_of, draw_intervals
from ..benchmark.study_results import (
    claimed_difference,
    column_of,
    difference_at,
    differences_rows,
    figures_rows,
    label_of,
    shots_of,
    spread_at,
    with_half_width,
    zero_shot_of,
)
from ..benchmark.summary import shots_text
from .contents import Plot, Section, Table
from .grid import environment_section, runs_section
from .style import MARKERS, Line, draw_lines, legend_below, panel


def study_sections(study: dict) -> list[Section]:
    """Show what :func:`.study_results.read_study_results` returned.

    Claims come first; then plots; the figures of every number of shots; how settings were chosen; what was run, and on what.
    """
    sections = []
    if study['claims']:
        about = 'A claim holds, or its opposite, where the 95 % interval of the difference, paired by seed, leaves out 0.'
        sections.append(Section('claims', 'Claims', [about, _claims_table(study)]))
    sections.append(Section('comparison', 'Comparison', study_plots(study)))
    for shots in shots_of(study):
        tables = [figures_table(study, shots), differences_table(study, shots)]
        sections.append(Section(f'shots-{shots}', shots_text(shots), tables))
    return [
        *sections,
        Section('selection', 'How settings were chosen', [study['selected'], _selection_table(study)]),
        runs_section(study['cells']),
        environment_section(study['cells']),
    ]


def study_plots(study: dict) -> list[Plot]:
    """Draw accuracy over shots (where there are several), differences to the baseline, the trade-off."""
    shots = shots_of(study)
    first, most = study['columns'][0], max(shots)
    plots = []
    if len(shots) > 1:
        claimed = (claim[side] for claim in study['claims'] for side in ('method', 'than'))
        shown = list(dict.fromkeys([study['baseline'], *claimed]))
        caption = f'{first["title"]}: mean and standard deviation over seeds.'
        plots.append(Plot('study-shots', caption, partial(_draw_shots, study, first, shown, shots)))
    baseline = label_of(study, study['baseline'])
    caption = f'{first["title"]}, {most} shots: difference to {baseline}, paired by seed, with its 95 % interval.'
    plots.append(Plot('study-differences', caption, partial(_draw_differences, study, first, most)))
    if study['trade_off']:
        x, y = (column_of(study, metric) for metric in study['trade_off'])
        caption = (
            f'{most} shots: {x["title"]} against {y["title"]}, mean and standard deviation; the lines are zero-shot. Up is '
            'preserved, right is learned. What predicts no other classes is left out.'
        )
        plots.append(Plot('study-trade-off', caption, partial(_draw_trade_off, study, x, y, most)))
    return plots


def _draw_shots(study, column, methods, shots):
    lines = []
    for colour, method in enumerate(methods):
        spreads = [spread_at(study, method, number, column) for number in shots]
        known = {index: spread for index, spread in enumerate(spreads) if spread is not None}
        means, widths = [spread.mean for spread in known.values()], [spread.std or 0 for spread in known.values()]
        lines.append(Line(label_of(study, method), list(known), means, colour, half_widths=widths))
    zero_shot = zero_shot_of(study, column)
    if zero_shot is not None:
        lines.append(Line('zero-shot', list(range(len(shots))), [zero_shot] * len(shots), -1, dashed=True))
    return draw_lines(column['title'], 'pictures per class', 'percent', lines, list(map(str, shots)))


def _draw_differences(study, column, shots):
    others = [method for method in reversed(study['choices']) if method != study['baseline']]
    found = {label_of(study, method): difference_at(study, method, shots, column) for method in others}
    differences = {label: difference for label, difference in found.items() if difference is not None}
    title = f'{column["title"]}, {shots} shots: difference to {label_of(study, study["baseline"])}'
    figure, axis = panel(title, 'points', size=(6.6, 1.4 + 0.3 * len(differences)))
    draw_intervals(axis, range(len(differences)), list(differences), list(differences.values()))
    axis.axvline(0, color=colour_of(-1), linestyle='--')
    return figure


def _draw_trade_off(study, x, y, shots):
    figure, axis = panel('Learned and preserved', x['title'], y['title'], size=(6.6, 6.0))
    for colour, method in enumerate(study['choices']):
        spreads = [spread_at(study, method, shots, column) for column in (x, y)]
        if None in spreads:
            continue
        learned, preserved = spreads
        looks = dict(color=colour_of(colour), marker=MARKERS[colour % len(MARKERS)], markersize=8, elinewidth=1, capsize=2)
        # Colours come again after all have been used; hollow markers tell the second round apart.
        looks |= dict(linestyle='', markerfacecolor='none' if colour >= len(COLOURS) else None, label=label_of(study, method))
        axis.errorbar(learned.mean, preserved.mean, xerr=learned.std, yerr=preserved.std, **looks)
    for column, line, label in ((x, axis.axvline, 'zero-shot'), (y, axis.axhline, None)):
        zero_shot = zero_shot_of(study, column)
        if zero_shot is not None:
            line(zero_shot, color=colour_of(-1), linestyle='--', label=label)
    legend_below(figure, axis)
    return figure


def _claims_table(study):
    rows = []
    for claim in study['claims']:
        column = column_of(study, claim['metric'])
        what = f'{label_of(study, claim["method"])} against {label_of(study, claim["than"])}: {column["title"]}'
        found = with_half_width(claimed_difference(claim), column)
        rows.append([claim['text'], claim['verdict'], claim['shots'], found, what])
    headings = ['claim', 'verdict', 'shots', 'difference', 'measured as']
    return Table('Differences with half of their 95 % interval.', headings, rows)


def figures_table(study: dict, shots: int) -> Table:
    """Return mean and standard deviation of every method, zero-shot first."""
    return Table('Mean ± standard deviation over seeds.', *figures_rows(study, shots))


def differences_table(study: dict, shots: int) -> Table:
    """Return the differences of every method to the baseline, paired by seed, with half of the 95 % interval."""
    caption = f'Difference to {label_of(study, study["baseline"])}, paired by seed, with half of the 95 % interval.'
    return Table(caption, *differences_rows(study, shots, with_half_width))


def _selection_table(study):
    rows = []
    for choice in study['choices'].values():
        for candidate in choice['candidates']:
            settings = ', '.join(f'{name} {value}' for name, value in candidate['options'].items())
            mark = 'chosen' if candidate['options'] == choice['chosen'] else ''
            rows.append([choice['label'], settings, f'{candidate["mean"]:.2f}', mark])
    return Table('Validation figure of every candidate.', ['method', 'settings', 'mean', ''], rows)
