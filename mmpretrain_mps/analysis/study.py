"""What a comparison of methods found: tables, claims, and where every method stands between adapting and preserving."""
import functools
import json
from pathlib import Path

from ..benchmark.curves import colour_of
from ..benchmark.study import paired_difference, values_of
from ..benchmark.study_tables import STUDY_FORMAT
from ..benchmark.summary import spread_of
from .contents import Plot, Section, Table
from .grid import environment_section, runs_section
from .style import MARKERS, Line, draw_lines, legend_below, panel

STUDY_FILE = 'study.json'


def is_study(folder):
    """Return whether a folder holds the tables of ``tools/compare_methods.py``."""
    return Path(folder, STUDY_FILE).is_file()


def read_study_results(folder):
    """Read the tables of a study.

    Args:
        folder (str | Path): That ``tools/compare_methods.py`` wrote.

    Returns:
        dict: Content of ``study.json``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not readable or none of a study.
    """
    file = Path(folder, STUDY_FILE)
    if not file.is_file():
        raise FileNotFoundError(f'{file} does not exist (looked from {Path.cwd()}); tools/compare_methods.py writes it')
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file} is no JSON: {error}') from error
    if not isinstance(content, dict) or content.get('format') != STUDY_FORMAT:
        found = content.get('format') if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{file} has the format {found!r}, expected {STUDY_FORMAT!r}')
    return content


def study_sections(study):
    """Show a study.

    Args:
        study (dict): From :func:`read_study_results`.

    Returns:
        list[Section]: Claims first; then plots; the figures of every number of shots; how settings were chosen; what was run,
        and on what.
    """
    shots = sorted({row['shots'] for row in study['summary']})
    sections = [Section('claims', 'Claims', [
        'A claim holds, or its opposite, where the 95 % interval of the difference, paired by seed, leaves out 0.',
        _claims_table(study)])] if study['claims'] else []
    sections.append(Section('comparison', 'Comparison', study_plots(study)))
    for number in shots:
        sections.append(Section(f'shots-{number}', f"{number} {'shot' if number == 1 else 'shots'}", [
            figures_table(study, number), differences_table(study, number)]))
    return [*sections, Section('selection', 'How settings were chosen', [study['selected'], _selection_table(study)]),
            runs_section(study['cells']), environment_section(study['cells'])]


def study_plots(study):
    """Draw a study.

    Args:
        study (dict): From :func:`read_study_results`.

    Returns:
        list[Plot]: Accuracy over shots (where there are several), differences to the baseline, the trade-off.
    """
    shots = sorted({row['shots'] for row in study['summary']})
    first, most = study['columns'][0], max(shots)
    plots = []
    if len(shots) > 1:
        shown = [study['baseline'], *dict.fromkeys(claim['method'] for claim in study['claims'])]
        plots.append(Plot('study-shots', f"{first['title']}: mean and standard deviation over seeds.",
                          functools.partial(_draw_shots, study, first, list(dict.fromkeys(shown)), shots)))
    plots.append(Plot('study-differences', f"{first['title']}, {most} shots: difference to {_label(study, study['baseline'])}"
                      ', paired by seed, with its 95 % interval.',
                      functools.partial(_draw_differences, study, first, most)))
    if study['trade_off']:
        x, y = (_column(study, metric) for metric in study['trade_off'])
        plots.append(Plot('study-trade-off', f"{most} shots: {x['title']} against {y['title']}, mean and standard deviation; "
                          'the lines are zero-shot. Up is preserved, right is learned. What predicts no other '
                          'classes is left out.',
                          functools.partial(_draw_trade_off, study, x, y, most)))
    return plots


def _draw_shots(study, column, methods, shots):
    lines = []
    for colour, method in enumerate(methods):
        spreads = [_spread(study, method, number, column) for number in shots]
        known = [(number, spread) for number, spread in zip(shots, spreads) if spread is not None]
        lines.append(Line(_label(study, method), [shots.index(number) for number, _ in known],
                          [spread.mean for _, spread in known], colour,
                          half_widths=[spread.std or 0 for _, spread in known]))
    zero_shot = _zero_shot(study, column)
    if zero_shot is not None:
        lines.append(Line('zero-shot', list(range(len(shots))), [zero_shot] * len(shots), -1, dashed=True))
    return draw_lines(column['title'], 'pictures per class', 'percent', lines, [str(number) for number in shots])


def _draw_differences(study, column, shots):
    rows = []
    for method in study['choices']:
        difference = None if method == study['baseline'] else paired_difference(
            *(values_of(study['cells'], name, shots, column['metric']) for name in (method, study['baseline'])))
        if difference is not None:
            rows.append((_label(study, method), difference))
    figure, axis = panel(f"{column['title']}, {shots} shots: difference to {_label(study, study['baseline'])}", 'points',
                         size=(6.6, 1.4 + 0.3 * len(rows)))
    for position, (_, difference) in enumerate(reversed(rows)):
        axis.errorbar(difference.mean, position, xerr=difference.half_width, marker='o', capsize=3, color=colour_of(0))
    axis.axvline(0, color=colour_of(-1), linestyle='--')
    axis.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)])
    return figure


def _draw_trade_off(study, x, y, shots):
    figure, axis = panel('Learned and preserved', x['title'], y['title'], size=(6.6, 6.0))
    for colour, method in enumerate(study['choices']):
        spreads = [_spread(study, method, shots, column) for column in (x, y)]
        if None in spreads:
            continue
        axis.errorbar(spreads[0].mean, spreads[1].mean, xerr=spreads[0].std, yerr=spreads[1].std, color=colour_of(colour),
                      marker=MARKERS[colour % len(MARKERS)], markersize=8, elinewidth=1, capsize=2, linestyle='',
                      label=_label(study, method))
    for column, line, label in ((x, axis.axvline, 'zero-shot'), (y, axis.axhline, None)):
        zero_shot = _zero_shot(study, column)
        if zero_shot is not None:
            line(zero_shot, color=colour_of(-1), linestyle='--', label=label)
    legend_below(figure, axis)
    return figure


def _claims_table(study):
    rows = []
    for claim in study['claims']:
        column = _column(study, claim['metric'])
        what = f"{_label(study, claim['method'])} against {_label(study, claim['than'])}: {column['title']}"
        difference = claim['difference']
        found = '-' if difference is None else _signed(difference, column)
        if difference is not None and claim['half_width'] is not None:
            found += f" ± {claim['half_width']:.{column['digits']}f}"
        rows.append([claim['text'], claim['verdict'], claim['shots'], found, what])
    return Table('Differences with half of their 95 % interval.',
                 ['claim', 'verdict', 'shots', 'difference', 'measured as'], rows)


def figures_table(study, shots):
    """Return mean and standard deviation of every method, zero-shot first.

    Args:
        study (dict): From :func:`read_study_results`.
        shots (int): Pictures per class.

    Returns:
        Table: With a column per figure.
    """
    columns = study['columns']
    rows = [['zero-shot', *('-' if (value := _zero_shot(study, column)) is None else f"{value:.{column['digits']}f}"
                            for column in columns)]]
    for method in study['choices']:
        rows.append([_label(study, method), *(_text(_spread(study, method, shots, column), column) for column in columns)])
    return Table('Mean ± standard deviation over seeds.', ['method', *(column['title'] for column in columns)], rows)


def differences_table(study, shots):
    """Return the differences of every method to the baseline, paired by seed.

    Args:
        study (dict): From :func:`read_study_results`.
        shots (int): Pictures per class.

    Returns:
        Table: With half of the 95 % interval.
    """
    columns, rows = study['columns'], []
    for method in study['choices']:
        if method == study['baseline']:
            continue
        differences = [paired_difference(*(values_of(study['cells'], name, shots, column['metric'])
                                           for name in (method, study['baseline']))) for column in columns]
        rows.append([_label(study, method), *map(_difference, differences, columns)])
    return Table(f"Difference to {_label(study, study['baseline'])}, paired by seed, with half of the 95 % interval.",
                 ['method', *(column['title'] for column in columns)], rows)


def _selection_table(study):
    rows = []
    for choice in study['choices'].values():
        for candidate in choice['candidates']:
            settings = ', '.join(f'{name} {value}' for name, value in candidate['options'].items())
            rows.append([choice['label'], settings, f"{candidate['mean']:.2f}",
                         'chosen' if candidate['options'] == choice['chosen'] else ''])
    return Table('Validation figure of every candidate.', ['method', 'settings', 'mean', ''], rows)


def _label(study, method):
    return study['choices'][method]['label']


def _column(study, metric):
    return next(column for column in study['columns'] if column['metric'] == metric)


def _spread(study, method, shots, column):
    values = values_of(study['cells'], method, shots, column['metric'])
    return spread_of(list(values.values())) if values else None


def _zero_shot(study, column):
    values = [cell['metrics'][column['zero_shot']] for cell in study['cells'] if column['zero_shot'] in cell['metrics']]
    return sum(values) / len(values) if values else None


def _text(spread, column):
    if spread is None:
        return '-'
    text = f"{spread.mean:.{column['digits']}f}"
    return text if spread.std is None else f"{text} ± {spread.std:.{column['digits']}f}"


def _difference(difference, column):
    if difference is None:
        return '-'
    text = _signed(difference.mean, column)
    return text if difference.half_width is None else f"{text} ± {difference.half_width:.{column['digits']}f}"


def _signed(value, column):
    return f"{value:+.{column['digits']}f}"
