"""What a study found, as JSON, CSV and Markdown."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.loops.domain_report import markdown_table
from ..utils.files import AnyPath
from .claims import Verdict, judge, read_claims
from .files import json_text, write_files
from .study import Choice, Study, edges_of, paired_difference, values_of
from .study_results import (
    SELECTION_FILE,
    STUDY_FILE,
    STUDY_FORMAT,
    claimed_difference,
    column_of,
    differences_rows,
    figures_rows,
    label_of,
    shots_of,
    with_interval,
)
from .summary import shots_text, spread_of
from .tables import results_csv

DIFFERENCE_NOTE = (
    "Difference to {baseline}, paired by seed (same pictures, same order): mean [95 % interval, Student's t]. Bold: the "
    'interval leaves out 0. Intervals are per cell of the table, not corrected for their number.'
)
ARROWS = {'higher': ' ↑', 'lower': ' ↓', '': ''}


def study_content(study: Study, choices: Mapping[str, Choice], results: Sequence[dict]) -> dict[str, Any]:
    """Gather the content of ``study.json`` from what validation chose, and the results of the report."""
    chosen = {}
    for method in study.methods:
        choice = choices[method.name]
        scores = zip(method.candidates, choice.scores)
        chosen[method.name] = dict(
            label=method.label,
            **({'method': method.method, 'recipe': method.recipe} if method.method else {}),
            chosen=choice.options,
            options=method.options,
            candidates=[dict(options=candidate, mean=score.mean, std=score.std) for candidate, score in scores],
        )
    claims = []
    for claim, shots, difference, verdict in verdicts_of(study, results):
        figures = dict(difference=difference and difference.mean, half_width=difference and difference.half_width)
        claims.append(dict(**claim._asdict(), shots=shots, verdict=verdict, **figures))
    return dict(
        format=STUDY_FORMAT,
        study=study.title,
        baseline=study.baseline,
        selected=selection_text(study),
        trade_off=study.trade_off,
        columns=[column._asdict() for column in study.columns],
        choices=chosen,
        summary=study_rows(study, results),
        claims=claims,
        cells=results,
    )


def write_study(folder: AnyPath, study: Study, content: dict[str, Any], selection: Sequence[dict]) -> list[Path]:
    """Write ``selection.json``, ``study.json``, ``study.csv`` and ``study.md``, each in one step.

    ``content`` is from :func:`study_content`, ``selection`` the results that settings were chosen by.
    """
    chosen = dict(study=study.title, metric=study.selection['metric'], choices=content['choices'], cells=selection)
    texts = {
        SELECTION_FILE: json_text(chosen),
        STUDY_FILE: json_text(content),
        'study.csv': results_csv(content['cells']),
        'study.md': study_markdown(content),
    }
    return write_files(folder, texts)


def study_rows(study: Study, results: Sequence[dict]) -> list[dict[str, Any]]:
    """Lay the figures of the report out flat, per method, number of shots and column.

    There are mean and standard deviation, and the paired difference to the baseline with its interval, None where there is none.
    """
    rows = []
    for shots, method, column in itertools.product(study.report['shots'], study.methods, study.columns):
        values, base = (values_of(results, name, shots, column.metric) for name in (method.name, study.baseline))
        if not values:
            continue
        spread = spread_of(values.values())
        difference = None if method.name == study.baseline else paired_difference(values, base)
        low, high = (difference and difference.interval) or (None, None)
        row = dict(method=method.name, shots=shots, metric=column.metric, seeds=spread.count, mean=spread.mean, std=spread.std)
        row |= dict(difference=difference and difference.mean, difference_low=low, difference_high=high)
        rows.append(row)
    return rows


def study_markdown(content: dict[str, Any]) -> str:
    """Return Markdown: how settings were chosen; for every number of shots, figures and paired differences; the claims."""
    parts = [f'# {content["study"]}', content['selected'], selection_table(content)]
    note = DIFFERENCE_NOTE.format(baseline=label_of(content, content['baseline']))
    arrows = [ARROWS[column['better']] for column in content['columns']]
    for shots in shots_of(content):
        (first, *titles), rows = differences_rows(content, shots, with_interval)
        parts += [
            f'## {shots_text(shots)}',
            markdown_table(*figures_rows(content, shots)),
            note,
            markdown_table([first, *map(str.__add__, titles, arrows)], rows),
        ]
    if content['claims']:
        parts += ['## Claims', claims_table(content)]
    return '\n\n'.join(parts) + '\n'


def selection_text(study: Study) -> str:
    """Return a sentence on how settings were chosen."""
    seeds = study.selection['seeds']
    return (
        f'Every method chose among {study.budget} settings by the mean {study.selection["metric"]} on validation '
        f'pictures over the seeds {", ".join(map(str, seeds))} with {study.selection["shots"]} shots; reported are '
        f'test pictures and the seeds {", ".join(map(str, study.report["seeds"]))}. Mean ± standard deviation.'
    )


def selection_table(content: dict[str, Any]) -> str:
    """Return what was chosen, by what figures, and which values lie at the edge of what was tried."""
    rows = []
    for choice in content['choices'].values():
        edges = edges_of([candidate['options'] for candidate in choice['candidates']], choice['chosen'])
        marks = ['**' * (candidate['options'] == choice['chosen']) for candidate in choice['candidates']]
        scores = [f'{mark}{candidate["mean"]:.1f}{mark}' for mark, candidate in zip(marks, choice['candidates'])]
        rows.append([choice['label'], _settings(choice['chosen']), ', '.join(scores), _settings(edges) or '-'])
    return markdown_table(['method', 'chosen', 'validation figure of every candidate', 'of it at the edge'], rows)


def verdicts_of(study: Study, results: Sequence[dict]) -> list[Verdict]:
    """Judge every claim of a study by the results of the report; few shots first."""
    methods, metrics = [method.name for method in study.methods], [column.metric for column in study.columns]
    claims = read_claims(study.path, study.claims, methods, metrics)
    return [verdict for claim in claims for verdict in judge(claim, results, study.report['shots'])]


def claims_table(content: dict[str, Any]) -> str:
    """Return every claim with what the figures say of it, as Markdown text."""
    by_claim = {}
    for verdict in content['claims']:
        by_claim.setdefault(tuple(verdict[key] for key in ('text', 'method', 'than', 'metric')), []).append(verdict)
    rows = []
    for (text, method, than, metric), verdicts in by_claim.items():
        column = column_of(content, metric)
        found = '; '.join(f'{v["shots"]}: {with_interval(claimed_difference(v), column)} {v["verdict"]}' for v in verdicts)
        rows.append([text, f'{label_of(content, method)} against {label_of(content, than)}: {column["title"]}', found])
    return markdown_table(['claim', 'measured as', 'shots: paired difference [95 % interval], verdict'], rows)


def _settings(options):
    """Write settings by the ends of their names."""
    return ', '.join(f'{".".join(name.split(".")[1:][-2:]) or name} {value}' for name, value in options.items())
