"""Result files of a grid: JSON, CSV, Markdown, LaTeX."""
import csv
import io
import json
from pathlib import Path

from ..engine.file_backend import AtomicLocalBackend
from ..engine.loops.domain_report import markdown_table
from .summary import MEAN, rows_of, summarise

TITLES = {'fused': 'Accuracy in percent (fused: the prediction that the method reports)',
          'tuned': 'Accuracy in percent of the tuned branch alone'}
EXPLANATION = (
    'Mean ± standard deviation over seeds (n - 1) [95 % interval of the mean, Student\'s t]; 0 shots is zero-shot '
    'CLIP. The mean over data sets is taken seed by seed.')
CELL_COLUMNS = ('dataset', 'config', 'recipe', 'shots', 'seed', 'select', 'epoch', 'train_pictures', 'test_pictures',
                'hash')
SUMMARY_COLUMNS = ('method', 'dataset', 'shots', 'branch', 'seeds', 'mean', 'std', 'interval_low', 'interval_high')
LATEX_SPECIALS = {'\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_', '{': r'\{',
                  '}': r'\}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}


def write_results(folder, cells, results, failures=()):
    """Write ``results.json``, ``.csv``, ``.md``, ``.tex`` and ``results_summary.csv``, each in one step.

    Args:
        folder (str | Path): Of the grid.
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.

    Returns:
        list[Path]: The files.
    """
    files, folder = AtomicLocalBackend(), Path(folder)
    texts = {
        'results.json': results_json(cells, results, failures), 'results.csv': results_csv(results),
        'results_summary.csv': summary_csv(results), 'results.md': results_markdown(cells, results, failures),
        'results.tex': results_latex(results)}
    for name, text in texts.items():
        files.put_text(text, folder / name)
    return [folder / name for name in texts]


def results_json(cells, results, failures=()):
    """Return everything that is known of a grid as JSON text.

    Args:
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.

    Returns:
        str: With ``cells``, ``summary``, ``targets_summary``, ``failed`` and ``missing``.
    """
    done = {result['hash'] for result in results}
    content = dict(
        explanation=EXPLANATION, cells=results, summary=rows_of(summarise(results)),
        targets_summary=rows_of(summarise(results, targets=True)),
        failed=[dict(cell=failure.cell.name, reason=failure.reason) for failure in failures],
        missing=[cell.name for cell in cells if cell.key not in done])
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def results_csv(results):
    """Return one line per cell as CSV text: what it was, its metrics, its seconds."""
    metrics = list(dict.fromkeys(name for result in results for name in result['metrics']))
    lines = [[*CELL_COLUMNS, *metrics, 'seconds_training', 'seconds_testing']]
    for result in results:
        lines.append([
            *(result[column] for column in CELL_COLUMNS), *(result['metrics'].get(name, '') for name in metrics),
            result['seconds']['training'], result['seconds']['testing']
        ])
    return _csv_text(lines)


def summary_csv(results):
    """Return one line per mean over seeds as CSV text, data sets and targets."""
    rows = rows_of(summarise(results)) + rows_of(summarise(results, targets=True))
    return _csv_text([SUMMARY_COLUMNS, *([_or_empty(row[column]) for column in SUMMARY_COLUMNS] for row in rows)])


def results_markdown(cells, results, failures=()):
    """Return the tables as Markdown text, and what is missing from them.

    Args:
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict]): Of those that are done.
        failures (Sequence[Failure]): Those that gave none.

    Returns:
        str: The text.
    """
    parts = ['# Results', EXPLANATION, _how_selected(results)]
    for heading, headings, rows in text_tables(results):
        parts += [f'## {heading}', markdown_table(headings, rows)]
    if len(results) < len(cells):
        parts.append(f'{len(cells) - len(results)} of {len(cells)} cells are missing.')
    parts += [f'- {failure.cell.name} failed: {failure.reason}' for failure in failures]
    return '\n\n'.join(part for part in parts if part) + '\n'


def text_tables(results):
    """Yield the tables of a grid as text: the data sets trained on, then the targets; fused, then tuned.

    Args:
        results (Sequence[dict]): Of the cells that are done.

    Yields:
        tuple[str, list[str], list[list[str]]]: Title, headings, and a row per method and number of shots.
    """
    for heading, branch, summary in _tables(results):
        yield heading, _headings(summary), [[method, str(shots), *(_text(spread) for spread in spreads)]
                                            for method, shots, spreads in _lines(summary, branch)]


def results_latex(results):
    """Return the tables as LaTeX text; needs the package booktabs."""
    parts = ['% Needs \\usepackage{booktabs}.']
    for heading, branch, summary in _tables(results):
        headings = [_escape(heading) for heading in _headings(summary)]
        lines = [
            r'\begin{table}', r'\centering', rf'\caption{{{_escape(heading)}. {_latex_explanation()}}}',
            rf"\begin{{tabular}}{{lr{'c' * (len(headings) - 2)}}}", r'\toprule', ' & '.join(headings) + r' \\',
            r'\midrule'
        ]
        for method, shots, spreads in _lines(summary, branch):
            cells = [_escape(method), str(shots), *(_latex(spread) for spread in spreads)]
            lines.append(' & '.join(cells) + r' \\')
        parts.append('\n'.join([*lines, r'\bottomrule', r'\end{tabular}', r'\end{table}']))
    return '\n\n'.join(parts) + '\n'


def _tables(results):
    """Yield heading, branch and summary of every table."""
    for targets in (False, True):
        summary = summarise(results, targets)
        for branch, title in TITLES.items() if summary.datasets else ():
            yield title + (', on the targets' if targets else ''), branch, summary


def _headings(summary):
    return ['method', 'shots', *summary.datasets, *([MEAN] if len(summary.datasets) > 1 else [])]


def _lines(summary, branch):
    """Yield method, shots and spreads of every line; zero-shot first."""
    columns = _headings(summary)[2:]
    for method in summary.methods:
        for shots in (0, *summary.shots):
            key = ('zero_shot', 0) if shots == 0 else (branch, shots)
            spreads = [summary.spreads.get((key[0], method, column, key[1])) for column in columns]
            if any(spreads):
                # Seeds do not matter to zero-shot: a spread of 0 would say nothing.
                yield method, shots, [_unspread(spread) if shots == 0 else spread for spread in spreads]


def _unspread(spread):
    return spread and spread._replace(std=None, half_width=None)


def _text(spread):
    if spread is None:
        return '-'
    if spread.std is None:
        return f'{spread.mean:.2f}'
    low, high = spread.interval
    return f'{spread.mean:.2f} ± {spread.std:.2f} [{low:.2f}, {high:.2f}]'


def _latex(spread):
    if spread is None:
        return '--'
    if spread.std is None:
        return f'${spread.mean:.2f}$'
    low, high = spread.interval
    return rf'${spread.mean:.2f} \pm {spread.std:.2f}$ {{\scriptsize $[{low:.2f}, {high:.2f}]$}}'


def _latex_explanation():
    return _escape(EXPLANATION).replace('±', r'$\pm$')


def _escape(text):
    return ''.join(LATEX_SPECIALS.get(character, character) for character in text)


def _how_selected(results):
    ways = {result['select'] for result in results}
    texts = {'last': 'Reported is the model of the last epoch.',
             'val': 'Reported is the model of the best epoch on the validation split.'}
    return ' '.join(texts[way] for way in sorted(ways))


def _or_empty(value):
    return '' if value is None else value


def _csv_text(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()
