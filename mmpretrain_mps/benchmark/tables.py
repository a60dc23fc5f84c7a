"""Result files of a grid: JSON, CSV, Markdown, LaTeX."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..engine.loops.domain_report import markdown_table
from ..utils.files import AnyPath
from .base_to_new import HEADINGS, TITLE, base_to_new_lines
from .cell_process import Failure
from .files import csv_text, json_text, write_files
from .grid import Cell
from .summary import Published, Quote, Spread, Summary, named, rows_of, speeds_of, summarise

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
HALVES = ('method', 'shots', 'dataset', 'base', 'new', 'harmonic_mean')
SPEED_TITLE = 'Pictures per second of whole runs, loading and building included'
SPEED_HEADINGS = ['method', 'shots', 'data set', 'training', 'prediction']
SUMMARY_COLUMNS = ('method', 'dataset', 'shots', 'branch', 'seeds', 'mean', 'std', 'interval_low', 'interval_high')
SELECTED = {
    'last': 'Reported is the model of the last epoch.',
    'val': 'Reported is the model of the best epoch on the validation split.',
}
CHOSEN_ON_TEST = '{methods}: something was chosen on the test pictures, as the released code does; these figures are too high.'
LATEX_SPECIALS = {
    **{character: f'\\{character}' for character in '&%$#_{}'},
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
}

TableContent = tuple[str, list[str], list[list[Any]]]
"""Title, headings and rows, of which a cell is text, a number, a :class:`Spread`, a :class:`Quote` or None."""


def write_results(
    folder: AnyPath,
    cells: Sequence[Cell],
    results: Sequence[dict],
    failures: Sequence[Failure] = (),
    published: Published | None = None,
) -> list[Path]:
    """Write ``results.json``, ``.csv``, ``.md``, ``.tex`` and ``results_summary.csv``, each in one step; return the files.

    Of all cells of a grid there are results of those that are done, and failures of those that gave none; figures that others
    published stand beside ours.
    """
    texts = {
        'results.json': results_json(cells, results, failures, published),
        'results.csv': results_csv(results),
        'results_summary.csv': summary_csv(results, published),
        'results.md': results_markdown(cells, results, failures, published),
        'results.tex': results_latex(results, published),
    }
    return write_files(folder, texts)


def results_json(
    cells: Sequence[Cell], results: Sequence[dict], failures: Sequence[Failure] = (), published: Published | None = None
) -> str:
    """Return everything that is known of a grid as JSON text; arguments are those of :func:`write_results`."""
    done = {result['hash'] for result in results}
    content = dict(
        explanation=EXPLANATION,
        cells=results,
        summary=rows_of(summarise(results, published=published)),
        targets_summary=rows_of(summarise(results, targets=True, published=published)),
        failed=[dict(cell=failure.cell.name, reason=failure.reason) for failure in failures],
        missing=[cell.name for cell in cells if cell.key not in done],
    )
    halves = [
        {name: value._asdict() if isinstance(value, Spread) else value for name, value in zip(HALVES, line)}
        for line in base_to_new_lines(results, published)
    ]
    if halves:
        content.update(base_to_new=halves)
    if published is not None:
        content.update(published=dict(source=published.source))
        if published.speed:
            content.update(speed=dict(ours=speeds_of(results), published=published.speed))
    return json_text(content, indent=2)


def results_csv(results: Sequence[dict]) -> str:
    """Return one line per cell as CSV text: what it was, its metrics, its seconds."""
    metrics = list(dict.fromkeys(name for result in results for name in result['metrics']))
    lines = [[*CELL_COLUMNS, *metrics, 'seconds_training', 'seconds_testing']]
    for result in results:
        figures = [result['metrics'].get(name, '') for name in metrics]
        seconds = result['seconds']['training'], result['seconds']['testing']
        lines.append([*(result[column] for column in CELL_COLUMNS), *figures, *seconds])
    return csv_text(lines)


def summary_csv(results: Sequence[dict], published: Published | None = None) -> str:
    """Return one line per mean over seeds as CSV text, data sets and targets."""
    rows = [row for targets in (False, True) for row in rows_of(summarise(results, targets, published))]
    columns = SUMMARY_COLUMNS if published is None else (*SUMMARY_COLUMNS, 'published', 'difference')
    return csv_text([columns, *([row.get(column) for column in columns] for row in rows)])


def results_markdown(
    cells: Sequence[Cell], results: Sequence[dict], failures: Sequence[Failure] = (), published: Published | None = None
) -> str:
    """Return the tables, and what is missing from them, as Markdown text; arguments are those of :func:`write_results`."""
    parts = ['# Results', EXPLANATION, _quotation(published), _how_selected(results)]
    tables = [*_accuracy_tables(results, published), *_base_to_new(results, published), *_speed(results, published)]
    for title, headings, rows in _as_text(tables):
        parts += [f'## {title}', markdown_table(headings, rows)]
    if len(results) < len(cells):
        parts.append(f'{len(cells) - len(results)} of {len(cells)} cells are missing.')
    parts += [f'- {failure.cell.name} failed: {failure.reason}' for failure in failures]
    return '\n\n'.join(filter(None, parts)) + '\n'


def text_tables(results: Sequence[dict]) -> list[TableContent]:
    """Return the accuracies of a grid as text: the data sets trained on, then the targets; fused, then tuned."""
    return _as_text(_accuracy_tables(results))


def results_latex(results: Sequence[dict], published: Published | None = None) -> str:
    """Return the tables as LaTeX text; needs the package booktabs."""
    parts = ['% Needs \\usepackage{booktabs}.']
    notes = ' '.join(filter(None, [EXPLANATION, _quotation(published)]))
    for title, headings, rows in [*_accuracy_tables(results, published), *_base_to_new(results, published)]:
        parts.append(_latex_table(f'{title}. {notes}', headings, rows))
    for title, headings, rows in _speed(results, published):
        parts.append(_latex_table(f'{title}; (paper): {published.source}', headings, rows))
    return '\n\n'.join(parts) + '\n'


def _latex_table(caption, headings, rows):
    begin = rf'\begin{{tabular}}{{lr{"c" * (len(headings) - 2)}}}'
    headings, *rows = (' & '.join(map(_latex, row)) + r' \\' for row in (headings, *rows))
    caption = _latex(caption).replace('±', r'$\pm$')
    lines = [r'\begin{table}', r'\centering', rf'\caption{{{caption}}}', begin, r'\toprule', headings, r'\midrule', *rows]
    return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', r'\end{table}'])


def _accuracy_tables(results, published=None) -> Iterator[TableContent]:
    """Yield every table that has some lines."""
    for targets in (False, True):
        summary = summarise(results, targets, published)
        for branch, title in TITLES.items():
            rows = list(_rows(summary, branch))
            if rows:
                yield title + (', on the targets' if targets else ''), ['method', 'shots', *summary.columns], rows


def _rows(summary: Summary, branch):
    """Yield every line, zero-shot first; what is published follows in its own line.

    Of methods with the same zero-shot figures, the first one has them.
    """
    seen = []
    for method in summary.methods:
        for shots in (0, *summary.shots):
            keys = [(branch if shots else 'zero_shot', method, column, shots) for column in summary.columns]
            spreads = [summary.spreads.get(key) for key in keys]
            # Papers give one prediction per method, which is the fused one.
            quotes = [summary.quote(*key) if branch == 'fused' else None for key in keys]
            repeated = False
            if not shots:
                # Seeds do not matter to zero-shot: a spread of 0 would say nothing.
                spreads = [spread and spread._replace(std=None, half_width=None) for spread in spreads]
                means = [spread and spread.mean for spread in spreads]
                repeated = summary.by_method and means in seen
                seen.append(means)
            if method not in summary.others and (any(quotes) or any(spreads) and not repeated):
                yield [method, shots, *spreads]
            if any(quotes):
                yield [f'{method} (paper)', shots, *quotes]


def _base_to_new(results, published) -> list[TableContent]:
    lines = base_to_new_lines(results, published)
    return [(TITLE, HEADINGS, [list(line) for line in lines])] if lines else []


def _speed(results, published) -> list[TableContent]:
    """Return the table of speeds if some are published: ours, then theirs."""
    if published is None or not published.speed:
        return []
    keys = ('method', 'shots', 'dataset', 'training', 'prediction')
    rows = [[speed[key] for key in keys] for speed in speeds_of(results)]
    quoted = [float(published.speed[task]) if task in published.speed else '-' for task in keys[3:]]
    return [(SPEED_TITLE, SPEED_HEADINGS, [*rows, ['(paper)', '-', '-', *quoted]])]


def _as_text(tables) -> list[TableContent]:
    return [(title, headings, [list(map(_text, row)) for row in rows]) for title, headings, rows in tables]


def _text(cell):
    if cell is None:
        return '-'
    if isinstance(cell, Quote):
        return _text(cell.value) + ('' if cell.difference is None else f' ({cell.difference:+.2f})')
    if isinstance(cell, Spread):
        if cell.std is None:
            return _text(cell.mean)
        low, high = cell.accuracy_interval
        return f'{cell.mean:.2f} ± {cell.std:.2f} [{low:.2f}, {high:.2f}]'
    return f'{cell:.2f}' if isinstance(cell, float) else str(cell)


def _latex(cell):
    if cell is None:
        return '--'
    if isinstance(cell, Quote):
        return _latex(cell.value) + ('' if cell.difference is None else f' (${cell.difference:+.2f}$)')
    if isinstance(cell, Spread):
        if cell.std is None:
            return _latex(cell.mean)
        low, high = cell.accuracy_interval
        return rf'${cell.mean:.2f} \pm {cell.std:.2f}$ {{\scriptsize $[{low:.2f}, {high:.2f}]$}}'
    if isinstance(cell, float):
        return f'${cell:.2f}$'
    return ''.join(LATEX_SPECIALS.get(character, character) for character in str(cell))


def _quotation(published):
    return '' if published is None else QUOTATION.format(source=published.source)


def _how_selected(results):
    ways = [SELECTED[way] for way in sorted({result['select'] for result in results})]
    chosen = dict.fromkeys(method for method, result in named(results) if result.get('chosen_on_test'))
    return ' '.join([*ways, *([CHOSEN_ON_TEST.format(methods=', '.join(chosen))] if chosen else [])])
