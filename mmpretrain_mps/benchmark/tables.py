"""Result files of a grid: JSON, CSV, Markdown, LaTeX."""

import csv
import io
import json
from pathlib import Path

from ..engine.file_backend import AtomicLocalBackend
from ..engine.loops.domain_report import markdown_table
from .base_to_new import HEADINGS, TITLE, base_to_new_lines
from .summary import Quote, Spread, method_names, rows_of, speeds_of, summarise

TITLES = {
    'fused': 'Accuracy in percent (fused: the prediction that the method reports)',
    'tuned': 'Accuracy in percent of the tuned branch alone',
}
EXPLANATION = (
    "Mean ± standard deviation over seeds (n - 1) [95 % interval of the mean, Student's t]; 0 shots is zero-shot "
    'CLIP. The mean over data sets is taken seed by seed.'
)
CELL_COLUMNS = ('dataset', 'config', 'recipe', 'shots', 'seed', 'select', 'epoch', 'train_pictures', 'test_pictures', 'hash')
QUOTATION = "Lines marked '(paper)' quote {source}; in brackets the difference, ours minus theirs, once there is one of ours."
SPEED_TITLE = 'Pictures per second of whole runs, loading and building included'
SUMMARY_COLUMNS = ('method', 'dataset', 'shots', 'branch', 'seeds', 'mean', 'std', 'interval_low', 'interval_high')
LATEX_SPECIALS = {
    '\\': r'\textbackslash{}',
    '&': r'\&',
    '%': r'\%',
    '$': r'\$',
    '#': r'\#',
    '_': r'\_',
    '{': r'\{',
    '}': r'\}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
}


def write_results(folder, cells, results, failures=(), published=None):
    """Write ``results.json``, ``.csv``, ``.md``, ``.tex`` and ``results_summary.csv``, each in one step.

    Args:
        folder (str | Path): Of the grid.
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.
        published (Published, optional): Figures of others to stand beside ours.

    Returns:
        list[Path]: The files.
    """
    files, folder = AtomicLocalBackend(), Path(folder)
    texts = {
        'results.json': results_json(cells, results, failures, published),
        'results.csv': results_csv(results),
        'results_summary.csv': summary_csv(results, published),
        'results.md': results_markdown(cells, results, failures, published),
        'results.tex': results_latex(results, published),
    }
    for name, text in texts.items():
        files.put_text(text, folder / name)
    return [folder / name for name in texts]


def results_json(cells, results, failures=(), published=None):
    """Return everything that is known of a grid as JSON text.

    Args:
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.
        published (Published, optional): Figures of others to stand beside ours.

    Returns:
        str: With ``cells``, ``summary``, ``targets_summary``, ``failed`` and ``missing``; where something is published,
        also with ``published``, and with ``speed`` if that is published.
    """
    done = {result['hash'] for result in results}
    content = dict(
        explanation=EXPLANATION,
        cells=results,
        summary=rows_of(summarise(results, published=published)),
        targets_summary=rows_of(summarise(results, targets=True, published=published)),
        failed=[dict(cell=failure.cell.name, reason=failure.reason) for failure in failures],
        missing=[cell.name for cell in cells if cell.key not in done],
    )
    halves = _base_to_new_json(results, published)
    if halves:
        content.update(base_to_new=halves)
    if published is not None:
        content.update(published=dict(source=published.source))
        if published.speed:
            content.update(speed=dict(ours=speeds_of(results), published=published.speed))
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def results_csv(results):
    """Return one line per cell as CSV text: what it was, its metrics, its seconds."""
    metrics = list(dict.fromkeys(name for result in results for name in result['metrics']))
    lines = [[*CELL_COLUMNS, *metrics, 'seconds_training', 'seconds_testing']]
    for result in results:
        lines.append(
            [
                *(result[column] for column in CELL_COLUMNS),
                *(result['metrics'].get(name, '') for name in metrics),
                result['seconds']['training'],
                result['seconds']['testing'],
            ]
        )
    return _csv_text(lines)


def summary_csv(results, published=None):
    """Return one line per mean over seeds as CSV text, data sets and targets."""
    rows = [row for targets in (False, True) for row in rows_of(summarise(results, targets, published))]
    columns = SUMMARY_COLUMNS if published is None else (*SUMMARY_COLUMNS, 'published', 'difference')
    return _csv_text([columns, *([_or_empty(row.get(column)) for column in columns] for row in rows)])


def results_markdown(cells, results, failures=(), published=None):
    """Return the tables as Markdown text, and what is missing from them.

    Args:
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.
        published (Published, optional): Figures of others to stand beside ours.

    Returns:
        str: The text.
    """
    parts = ['# Results', EXPLANATION, _quotation(published), _how_selected(results)]
    for heading, headings, rows in text_tables(results, published):
        parts += [f'## {heading}', markdown_table(headings, rows)]
    lines = base_to_new_lines(results, published)
    if lines:
        parts += [f'## {TITLE}', markdown_table(HEADINGS, [_base_to_new_row(line, _text) for line in lines])]
    if published is not None and published.speed:
        parts += [f'## {SPEED_TITLE}', markdown_table(*_speed_table(results, published))]
    if len(results) < len(cells):
        parts.append(f'{len(cells) - len(results)} of {len(cells)} cells are missing.')
    parts += [f'- {failure.cell.name} failed: {failure.reason}' for failure in failures]
    return '\n\n'.join(part for part in parts if part) + '\n'


def text_tables(results, published=None):
    """Yield the tables of a grid as text: the data sets trained on, then the targets; fused, then tuned.

    Args:
        results (Sequence[dict]): Of the cells that are done.
        published (Published, optional): Figures to set beside them.

    Yields:
        tuple[str, list[str], list[list[str]]]: Title, headings, and a row per method and number of shots.
    """
    for heading, summary, lines in _tables(results, published):
        yield (
            heading,
            _headings(summary),
            [[method, str(shots), *(_text(figure) for figure in figures)] for method, shots, figures in lines],
        )


def results_latex(results, published=None):
    """Return the tables as LaTeX text; needs the package booktabs."""
    parts = ['% Needs \\usepackage{booktabs}.']
    notes = _escape(' '.join(filter(None, [EXPLANATION, _quotation(published)]))).replace('±', r'$\pm$')
    for heading, summary, lines in _tables(results, published):
        rows = [[_escape(method), str(shots), *(_latex(figure) for figure in figures)] for method, shots, figures in lines]
        parts.append(_latex_table(f'{_escape(heading)}. {notes}', [_escape(name) for name in _headings(summary)], rows))
    lines = base_to_new_lines(results, published)
    if lines:
        rows = [_base_to_new_row(line, _latex, _escape) for line in lines]
        parts.append(_latex_table(f'{TITLE}. {notes}', HEADINGS, rows))
    if published is not None and published.speed:
        headings, rows = _speed_table(results, published)
        rows = [[_escape(cell) if isinstance(cell, str) else f'${cell:.2f}$' for cell in row] for row in rows]
        parts.append(_latex_table(f'{SPEED_TITLE}; (paper): {_escape(published.source)}', headings, rows))
    return '\n\n'.join(parts) + '\n'


def _latex_table(caption, headings, rows):
    return '\n'.join(
        [
            r'\begin{table}',
            r'\centering',
            rf'\caption{{{caption}}}',
            rf'\begin{{tabular}}{{lr{"c" * (len(headings) - 2)}}}',
            r'\toprule',
            ' & '.join(headings) + r' \\',
            r'\midrule',
            *(' & '.join(row) + r' \\' for row in rows),
            r'\bottomrule',
            r'\end{tabular}',
            r'\end{table}',
        ]
    )


def _tables(results, published=None):
    """Yield heading, summary and lines of every table that has some."""
    for targets in (False, True):
        summary = summarise(results, targets, published)
        for branch, title in TITLES.items():
            lines = list(_lines(summary, branch))
            if lines:
                yield title + (', on the targets' if targets else ''), summary, lines


def _headings(summary):
    return ['method', 'shots', *summary.columns]


def _lines(summary, branch):
    """Yield method, shots and spreads of every line, zero-shot first; what is published follows in its own line.

    Of methods with the same zero-shot figures, the first one has them.
    """
    seen = []
    for method in summary.methods:
        for shots in (0, *summary.shots):
            name = branch if shots else 'zero_shot'
            spreads = [summary.spreads.get((name, method, column, shots)) for column in summary.columns]
            # Papers give one prediction per method, which is the fused one.
            quotes = [summary.quote(name, method, column, shots) if branch == 'fused' else None for column in summary.columns]
            # Seeds do not matter to zero-shot: a spread of 0 would say nothing.
            spreads = [spread if shots else _unspread(spread) for spread in spreads]
            repeated = summary.by_method and not shots and [spread and spread.mean for spread in spreads] in seen
            if not shots:
                seen.append([spread and spread.mean for spread in spreads])
            if method not in summary.others and (any(spreads) or any(quotes)) and (any(quotes) or not repeated):
                yield method, shots, spreads
            if any(quotes):
                yield f'{method} (paper)', shots, quotes


def _speed_table(results, published):
    """Return headings and rows: ours, then what is published."""
    rows = [
        [speed['method'], str(speed['shots']), speed['dataset'], speed['training'], speed['prediction']]
        for speed in speeds_of(results)
    ]
    quoted = [published.speed.get(task, '-') for task in ('training', 'prediction')]
    return ['method', 'shots', 'data set', 'training', 'prediction'], [*rows, ['(paper)', '-', '-', *quoted]]


def _base_to_new_row(line, figure, text=str):
    """Return a line of the table as text."""
    return [
        *map(text, map(str, line[:3])),
        *(figure(value if isinstance(value, Spread) else Quote(value, None)) for value in line[3:]),
    ]


def _base_to_new_json(results, published):
    rows = []
    for method, shots, dataset, *figures in base_to_new_lines(results, published):
        base, new, harmonic = (figure._asdict() if isinstance(figure, Spread) else figure for figure in figures)
        rows.append(dict(method=method, shots=shots, dataset=dataset, base=base, new=new, harmonic_mean=harmonic))
    return rows


def _unspread(spread):
    return spread and spread._replace(std=None, half_width=None)


def _text(spread):
    if spread is None:
        return '-'
    if isinstance(spread, Quote):
        return f'{spread.value:.2f}' + ('' if spread.difference is None else f' ({spread.difference:+.2f})')
    if spread.std is None:
        return f'{spread.mean:.2f}'
    low, high = spread.accuracy_interval
    return f'{spread.mean:.2f} ± {spread.std:.2f} [{low:.2f}, {high:.2f}]'


def _latex(spread):
    if spread is None:
        return '--'
    if isinstance(spread, Quote):
        return f'${spread.value:.2f}$' + ('' if spread.difference is None else f' (${spread.difference:+.2f}$)')
    if spread.std is None:
        return f'${spread.mean:.2f}$'
    low, high = spread.accuracy_interval
    return rf'${spread.mean:.2f} \pm {spread.std:.2f}$ {{\scriptsize $[{low:.2f}, {high:.2f}]$}}'


def _escape(text):
    return ''.join(LATEX_SPECIALS.get(character, character) for character in text)


def _quotation(published):
    return '' if published is None else QUOTATION.format(source=published.source)


def _how_selected(results):
    ways = {result['select'] for result in results}
    texts = {
        'last': 'Reported is the model of the last epoch.',
        'val': 'Reported is the model of the best epoch on the validation split.',
    }
    names = method_names(results)
    chosen = dict.fromkeys(
        names[result['dataset'], result['config'], result['recipe']] for result in results if result.get('chosen_on_test')
    )
    warning = (
        [
            f'{", ".join(chosen)}: something was chosen on the test pictures, as the released code does; these figures are '
            'too high.'
        ]
        if chosen
        else []
    )
    return ' '.join([*(texts[way] for way in sorted(ways)), *warning])


def _or_empty(value):
    return '' if value is None else value


def _csv_text(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()
