"""What a study found, as JSON, CSV and Markdown."""
import json
from pathlib import Path

from ..engine.file_backend import AtomicLocalBackend
from ..engine.loops.domain_report import markdown_table
from .claims import judge, read_claims
from .study import edges_of, is_certain, paired_difference, values_of
from .summary import spread_of
from .tables import results_csv

STUDY_FORMAT = 'mmpretrain_mps-study-1'
DIFFERENCE_NOTE = (
    'Difference to {baseline}, paired by seed (same pictures, same order): mean [95 % interval, Student\'s t]. Bold: the '
    'interval leaves out 0. Intervals are per cell of the table, not corrected for their number.')


def write_study(folder, study, choices, selection, results):
    """Write ``selection.json``, ``study.json``, ``study.csv`` and ``study.md``, each in one step.

    Args:
        folder (str | Path): Where to.
        study (Study): What was compared.
        choices (dict[str, Choice]): What validation chose.
        selection (Sequence[dict]): Results that it chose by.
        results (Sequence[dict]): Of the report.

    Returns:
        list[Path]: The files.
    """
    texts = {
        'selection.json': _json(dict(study=study.title, metric=study.selection['metric'],
                                     choices=_choices(study, choices), cells=selection)),
        'study.json': _json(dict(format=STUDY_FORMAT, study=study.title, baseline=study.baseline,
                                 selected=selection_text(study), trade_off=study.trade_off,
                                 columns=[column._asdict() for column in study.columns],
                                 choices=_choices(study, choices),
                                 summary=study_rows(study, results), claims=_claims(study, results), cells=results)),
        'study.csv': results_csv(results),
        'study.md': study_markdown(study, choices, results),
    }
    files, folder = AtomicLocalBackend(), Path(folder)
    for name, text in texts.items():
        files.put_text(text, folder / name)
    return [folder / name for name in texts]


def study_rows(study, results):
    """Lay all figures out flat.

    Args:
        study (Study): What was compared.
        results (Sequence[dict]): Of the report.

    Returns:
        list[dict]: Per method, number of shots and column: mean and standard deviation, and the paired difference to the
        baseline with its interval (None where there is none).
    """
    rows = []
    for shots in study.report['shots']:
        for method in study.methods:
            for column in study.columns:
                values = values_of(results, method.name, shots, column.metric)
                if not values:
                    continue
                spread = spread_of(list(values.values()))
                difference = None if method.name == study.baseline else paired_difference(
                    values, values_of(results, study.baseline, shots, column.metric))
                low, high = (difference and difference.interval) or (None, None)
                rows.append(dict(
                    method=method.name, shots=shots, metric=column.metric, seeds=spread.count, mean=spread.mean,
                    std=spread.std, difference=difference and difference.mean, difference_low=low,
                    difference_high=high))
    return rows


def study_markdown(study, choices, results):
    """Return the tables as Markdown text.

    Args:
        study (Study): What was compared.
        choices (dict[str, Choice]): What validation chose.
        results (Sequence[dict]): Of the report.

    Returns:
        str: How settings were chosen; for every number of shots, the figures and the paired differences; the claims.
    """
    parts = [f'# {study.title}', selection_text(study), selection_table(study, choices)]
    for shots in study.report['shots']:
        parts += [f"## {shots} {'shot' if shots == 1 else 'shots'}", figures_table(study, results, shots),
                  DIFFERENCE_NOTE.format(baseline=_baseline(study).label), differences_table(study, results, shots)]
    if study.claims:
        parts += ['## Claims', claims_table(study, results)]
    return '\n\n'.join(parts) + '\n'


def selection_text(study):
    """Return a sentence on how settings were chosen."""
    seeds = study.selection['seeds']
    return (f"Every method chose among {study.budget} settings by the mean {study.selection['metric']} on validation "
            f"pictures over the seeds {', '.join(map(str, seeds))} with {study.selection['shots']} shots; reported are "
            f"test pictures and the seeds {', '.join(map(str, study.report['seeds']))}. Mean ± standard deviation.")


def selection_table(study, choices):
    """Return what was chosen, by what figures, and which values lie at the edge of what was tried."""
    rows = []
    for method in study.methods:
        choice = choices[method.name]
        edges = edges_of(method, choice)
        scores = ', '.join(f'**{s.mean:.1f}**' if i == choice.index else f'{s.mean:.1f}'
                           for i, s in enumerate(choice.scores))
        rows.append([method.label, _settings(choice.options), scores, _settings(edges) or '-'])
    return markdown_table(['method', 'chosen', 'validation figure of every candidate', 'of it at the edge'], rows)


def figures_table(study, results, shots):
    """Return mean and standard deviation of every method, zero-shot first."""
    columns = study.columns
    rows = [['zero-shot', *(_zero_shot(results, column) for column in columns)]]
    for method in study.methods:
        cells = [values_of(results, method.name, shots, column.metric) for column in columns]
        rows.append([method.label, *(_figure(values, column) for values, column in zip(cells, columns))])
    return markdown_table(['method', *(column.title for column in columns)], rows)


def differences_table(study, results, shots):
    """Return the paired differences to the baseline with their intervals."""
    columns, rows = study.columns, []
    for method in study.methods:
        if method.name == study.baseline:
            continue
        cells = []
        for column in columns:
            difference = paired_difference(*(values_of(results, name, shots, column.metric)
                                             for name in (method.name, study.baseline)))
            cells.append(_difference(difference, column))
        rows.append([method.label, *cells])
    return markdown_table(['method', *(_with_arrow(column) for column in columns)], rows)


def verdicts_of(study, results):
    """Judge every claim of a study.

    Args:
        study (Study): What was compared.
        results (Sequence[dict]): Of the report.

    Returns:
        list[Verdict]: Claim by claim, few shots first.
    """
    claims = read_claims(study.title, study.claims, [method.name for method in study.methods],
                         [column.metric for column in study.columns])
    return [verdict for claim in claims for verdict in judge(claim, results, study.report['shots'])]


def claims_table(study, results):
    """Return every claim with what the figures say of it, as Markdown text."""
    labels = {method.name: method.label for method in study.methods}
    columns = {column.metric: column for column in study.columns}
    by_claim = {}
    for verdict in verdicts_of(study, results):
        by_claim.setdefault(verdict.claim, []).append(verdict)
    rows = []
    for claim, verdicts in by_claim.items():
        what = f"{labels[claim.method]} against {labels[claim.than]}: {columns[claim.metric].title}"
        found = '; '.join(f'{v.shots}: {_difference(v.difference, columns[claim.metric])} {v.verdict}' for v in verdicts)
        rows.append([claim.text, what, found])
    return markdown_table(['claim', 'measured as', 'shots: paired difference [95 % interval], verdict'], rows)


def _baseline(study):
    return next(method for method in study.methods if method.name == study.baseline)


def _choices(study, choices):
    return {method.name: dict(
        label=method.label, chosen=choices[method.name].options, options=method.options,
        candidates=[dict(options=candidate, mean=score.mean, std=score.std)
                    for candidate, score in zip(method.candidates, choices[method.name].scores)])
        for method in study.methods}


def _claims(study, results):
    return [dict(**verdict.claim._asdict(), shots=verdict.shots, verdict=verdict.verdict,
                 difference=verdict.difference and verdict.difference.mean,
                 half_width=verdict.difference and verdict.difference.half_width)
            for verdict in verdicts_of(study, results)]


def _settings(options):
    return ', '.join(f"{name.rsplit('.', 2)[-1] if name.count('.') < 2 else '.'.join(name.split('.')[-2:])} {value}"
                     for name, value in options.items())


def _zero_shot(results, column):
    values = {result['metrics'][column.zero_shot] for result in results if column.zero_shot in result['metrics']}
    return f'{sum(values) / len(values):.{column.digits}f}' if values else '-'


def _figure(values, column):
    if not values:
        return '-'
    spread = spread_of(list(values.values()))
    text = f'{spread.mean:.{column.digits}f}'
    return text if spread.std is None else f'{text} ± {spread.std:.{column.digits}f}'


def _difference(difference, column):
    if difference is None:
        return '-'
    text = f'{difference.mean:+.{column.digits}f}'
    if difference.half_width is None:
        return text
    low, high = difference.interval
    text = f'{text} [{low:+.{column.digits}f}, {high:+.{column.digits}f}]'
    return f'**{text}**' if is_certain(difference) else text


def _with_arrow(column):
    return column.title + {'higher': ' ↑', 'lower': ' ↓', '': ''}[column.better]


def _json(content):
    return json.dumps(content, indent=1, ensure_ascii=False) + '\n'
