"""What a study found, as JSON, CSV and Markdown."""

import json
from pathlib import Path

from ..engine.file_backend import AtomicLocalBackend
from ..engine.loops.domain_report import markdown_table
from .claims import judge, read_claims
from .study import edges_of, paired_difference, values_of
from .study_results import (
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
from .summary import spread_of
from .tables import results_csv

DIFFERENCE_NOTE = (
    "Difference to {baseline}, paired by seed (same pictures, same order): mean [95 % interval, Student's t]. Bold: the "
    'interval leaves out 0. Intervals are per cell of the table, not corrected for their number.'
)
ARROWS = {'higher': ' ↑', 'lower': ' ↓', '': ''}


def study_content(study, choices, results):
    """Gather what a study found.

    Args:
        study (Study): What was compared.
        choices (dict[str, Choice]): What validation chose.
        results (Sequence[dict]): Of the report.

    Returns:
        dict: Content of ``study.json``.
    """
    return dict(
        format=STUDY_FORMAT,
        study=study.title,
        baseline=study.baseline,
        selected=selection_text(study),
        trade_off=study.trade_off,
        columns=[column._asdict() for column in study.columns],
        choices=_choices(study, choices),
        summary=study_rows(study, results),
        claims=_claims(study, results),
        cells=results,
    )


def write_study(folder, study, content, selection):
    """Write ``selection.json``, ``study.json``, ``study.csv`` and ``study.md``, each in one step.

    Args:
        folder (str | Path): Where to.
        study (Study): What was compared.
        content (dict): From :func:`study_content`.
        selection (Sequence[dict]): Results that settings were chosen by.

    Returns:
        list[Path]: The files.
    """
    texts = {
        'selection.json': _json(
            dict(study=study.title, metric=study.selection['metric'], choices=content['choices'], cells=selection)
        ),
        STUDY_FILE: _json(content),
        'study.csv': results_csv(content['cells']),
        'study.md': study_markdown(content),
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
                difference = (
                    None
                    if method.name == study.baseline
                    else paired_difference(values, values_of(results, study.baseline, shots, column.metric))
                )
                low, high = (difference and difference.interval) or (None, None)
                rows.append(
                    dict(
                        method=method.name,
                        shots=shots,
                        metric=column.metric,
                        seeds=spread.count,
                        mean=spread.mean,
                        std=spread.std,
                        difference=difference and difference.mean,
                        difference_low=low,
                        difference_high=high,
                    )
                )
    return rows


def study_markdown(content):
    """Return the tables as Markdown text.

    Args:
        content (dict): From :func:`study_content`.

    Returns:
        str: How settings were chosen; for every number of shots, the figures and the paired differences; the claims.
    """
    parts = [f'# {content["study"]}', content['selected'], selection_table(content)]
    note = DIFFERENCE_NOTE.format(baseline=label_of(content, content['baseline']))
    arrows = [ARROWS[column['better']] for column in content['columns']]
    for shots in shots_of(content):
        (first, *titles), rows = differences_rows(content, shots, with_interval)
        parts += [
            f'## {shots} {"shot" if shots == 1 else "shots"}',
            markdown_table(*figures_rows(content, shots)),
            note,
            markdown_table([first, *map(str.__add__, titles, arrows)], rows),
        ]
    if content['claims']:
        parts += ['## Claims', claims_table(content)]
    return '\n\n'.join(parts) + '\n'


def selection_text(study):
    """Return a sentence on how settings were chosen."""
    seeds = study.selection['seeds']
    return (
        f'Every method chose among {study.budget} settings by the mean {study.selection["metric"]} on validation '
        f'pictures over the seeds {", ".join(map(str, seeds))} with {study.selection["shots"]} shots; reported are '
        f'test pictures and the seeds {", ".join(map(str, study.report["seeds"]))}. Mean ± standard deviation.'
    )


def selection_table(content):
    """Return what was chosen, by what figures, and which values lie at the edge of what was tried."""
    rows = []
    for choice in content['choices'].values():
        edges = edges_of([candidate['options'] for candidate in choice['candidates']], choice['chosen'])
        scores = ', '.join(
            f'**{candidate["mean"]:.1f}**' if candidate['options'] == choice['chosen'] else f'{candidate["mean"]:.1f}'
            for candidate in choice['candidates']
        )
        rows.append([choice['label'], _settings(choice['chosen']), scores, _settings(edges) or '-'])
    return markdown_table(['method', 'chosen', 'validation figure of every candidate', 'of it at the edge'], rows)


def verdicts_of(study, results):
    """Judge every claim of a study.

    Args:
        study (Study): What was compared.
        results (Sequence[dict]): Of the report.

    Returns:
        list[Verdict]: Claim by claim, few shots first.
    """
    claims = read_claims(
        study.path, study.claims, [method.name for method in study.methods], [column.metric for column in study.columns]
    )
    return [verdict for claim in claims for verdict in judge(claim, results, study.report['shots'])]


def claims_table(content):
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


def _choices(study, choices):
    return {
        method.name: dict(
            label=method.label,
            **({'method': method.method, 'recipe': method.recipe} if method.method else {}),
            chosen=choices[method.name].options,
            options=method.options,
            candidates=[
                dict(options=candidate, mean=score.mean, std=score.std)
                for candidate, score in zip(method.candidates, choices[method.name].scores)
            ],
        )
        for method in study.methods
    }


def _claims(study, results):
    return [
        dict(
            **verdict.claim._asdict(),
            shots=verdict.shots,
            verdict=verdict.verdict,
            difference=verdict.difference and verdict.difference.mean,
            half_width=verdict.difference and verdict.difference.half_width,
        )
        for verdict in verdicts_of(study, results)
    ]


def _settings(options):
    return ', '.join(
        f'{name.rsplit(".", 2)[-1] if name.count(".") < 2 else ".".join(name.split(".")[-2:])} {value}'
        for name, value in options.items()
    )


def _json(content):
    return json.dumps(content, indent=1, ensure_ascii=False) + '\n'
