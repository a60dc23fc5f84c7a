"""What a comparison of methods found: tables, claims, and where every method stands between adapting and preserving."""

import functools

from ..benchmark.curves import COLOURS, colour_of
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
from .contents import Plot, Section, Table
from .grid import environment_section, runs_section
from .style import MARKERS, Line, draw_lines, legend_below, panel


def study_sections(study):
    """Show a study.

    Args:
        study (dict): From :func:`.study_results.read_study_results`.

    Returns:
        list[Section]: Claims first; then plots; the figures of every number of shots; how settings were chosen; what was run,
        and on what.
    """
    shots = shots_of(study)
    sections = (
        [
            Section(
                'claims',
                'Claims',
                [
                    'A claim holds, or its opposite, where the 95 % interval of the difference, paired by seed, leaves out 0.',
                    _claims_table(study),
                ],
            )
        ]
        if study['claims']
        else []
    )
    sections.append(Section('comparison', 'Comparison', study_plots(study)))
    for number in shots:
        sections.append(
            Section(
                f'shots-{number}',
                f'{number} {"shot" if number == 1 else "shots"}',
                [figures_table(study, number), differences_table(study, number)],
            )
        )
    return [
        *sections,
        Section('selection', 'How settings were chosen', [study['selected'], _selection_table(study)]),
        runs_section(study['cells']),
        environment_section(study['cells']),
    ]


def study_plots(study):
    """Draw a study.

    Args:
        study (dict): From :func:`.study_results.read_study_results`.

    Returns:
        list[Plot]: Accuracy over shots (where there are several), differences to the baseline, the trade-off.
    """
    shots = shots_of(study)
    first, most = study['columns'][0], max(shots)
    plots = []
    if len(shots) > 1:
        shown = [study['baseline'], *dict.fromkeys(claim['method'] for claim in study['claims'])]
        plots.append(
            Plot(
                'study-shots',
                f'{first["title"]}: mean and standard deviation over seeds.',
                functools.partial(_draw_shots, study, first, list(dict.fromkeys(shown)), shots),
            )
        )
    plots.append(
        Plot(
            'study-differences',
            f'{first["title"]}, {most} shots: difference to {label_of(study, study["baseline"])}'
            ', paired by seed, with its 95 % interval.',
            functools.partial(_draw_differences, study, first, most),
        )
    )
    if study['trade_off']:
        x, y = (column_of(study, metric) for metric in study['trade_off'])
        plots.append(
            Plot(
                'study-trade-off',
                f'{most} shots: {x["title"]} against {y["title"]}, mean and standard deviation; '
                'the lines are zero-shot. Up is preserved, right is learned. What predicts no other '
                'classes is left out.',
                functools.partial(_draw_trade_off, study, x, y, most),
            )
        )
    return plots


def _draw_shots(study, column, methods, shots):
    lines = []
    for colour, method in enumerate(methods):
        spreads = [spread_at(study, method, number, column) for number in shots]
        known = [(number, spread) for number, spread in zip(shots, spreads) if spread is not None]
        lines.append(
            Line(
                label_of(study, method),
                [shots.index(number) for number, _ in known],
                [spread.mean for _, spread in known],
                colour,
                half_widths=[spread.std or 0 for _, spread in known],
            )
        )
    zero_shot = zero_shot_of(study, column)
    if zero_shot is not None:
        lines.append(Line('zero-shot', list(range(len(shots))), [zero_shot] * len(shots), -1, dashed=True))
    return draw_lines(column['title'], 'pictures per class', 'percent', lines, [str(number) for number in shots])


def _draw_differences(study, column, shots):
    rows = []
    for method in study['choices']:
        difference = None if method == study['baseline'] else difference_at(study, method, shots, column)
        if difference is not None:
            rows.append((label_of(study, method), difference))
    figure, axis = panel(
        f'{column["title"]}, {shots} shots: difference to {label_of(study, study["baseline"])}',
        'points',
        size=(6.6, 1.4 + 0.3 * len(rows)),
    )
    for position, (_, difference) in enumerate(reversed(rows)):
        axis.errorbar(difference.mean, position, xerr=difference.half_width, marker='o', capsize=3, color=colour_of(0))
    axis.axvline(0, color=colour_of(-1), linestyle='--')
    axis.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)])
    return figure


def _draw_trade_off(study, x, y, shots):
    figure, axis = panel('Learned and preserved', x['title'], y['title'], size=(6.6, 6.0))
    for colour, method in enumerate(study['choices']):
        spreads = [spread_at(study, method, shots, column) for column in (x, y)]
        if None in spreads:
            continue
        axis.errorbar(
            spreads[0].mean,
            spreads[1].mean,
            xerr=spreads[0].std,
            yerr=spreads[1].std,
            color=colour_of(colour),
            marker=MARKERS[colour % len(MARKERS)],
            markersize=8,
            elinewidth=1,
            capsize=2,
            linestyle='',
            # Colours come again after all have been used; hollow markers tell the second round apart.
            markerfacecolor='none' if colour >= len(COLOURS) else None,
            label=label_of(study, method),
        )
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
    return Table(
        'Differences with half of their 95 % interval.', ['claim', 'verdict', 'shots', 'difference', 'measured as'], rows
    )


def figures_table(study, shots):
    """Return mean and standard deviation of every method, zero-shot first.

    Args:
        study (dict): From :func:`.study_results.read_study_results`.
        shots (int): Pictures per class.

    Returns:
        Table: With a column per figure.
    """
    return Table('Mean ± standard deviation over seeds.', *figures_rows(study, shots))


def differences_table(study, shots):
    """Return the differences of every method to the baseline, paired by seed.

    Args:
        study (dict): From :func:`.study_results.read_study_results`.
        shots (int): Pictures per class.

    Returns:
        Table: With half of the 95 % interval.
    """
    return Table(
        f'Difference to {label_of(study, study["baseline"])}, paired by seed, with half of the 95 % interval.',
        *differences_rows(study, shots, with_half_width),
    )


def _selection_table(study):
    rows = []
    for choice in study['choices'].values():
        for candidate in choice['candidates']:
            settings = ', '.join(f'{name} {value}' for name, value in candidate['options'].items())
            rows.append(
                [
                    choice['label'],
                    settings,
                    f'{candidate["mean"]:.2f}',
                    'chosen' if candidate['options'] == choice['chosen'] else '',
                ]
            )
    return Table('Validation figure of every candidate.', ['method', 'settings', 'mean', ''], rows)
