"""Fill the figures of README.md and docs/ in from the files in results/: python tools/fill_readme.py.

``results/quickstart.json`` is the metrics.json that tools/quickstart.sh leaves in its work folder. A block between
``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced by what the results say. ``--check`` changes nothing and ends with
status 1 if one of them is not up to date.
"""
import argparse
import functools
import json
import re
import sys
from pathlib import Path

from mmpretrain_mps.analysis.study import differences_table, figures_table, read_study_results
from mmpretrain_mps.engine.loops.domain_report import markdown_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'results'
TEXTS = ('README.md', 'docs/evidence.md', 'docs/speed.md')
STUDIES = {'digits': 'digits_study'}
BRANCHES = {'zero_shot': 'zero-shot', 'tuned': 'tuned', 'fused': 'fused'}


def read(name):
    """Read one JSON file below results/."""
    return json.loads((RESULTS / name).read_text(encoding='utf-8'))


def quickstart():
    """Return the table with which the first command ends."""
    accuracy = read('quickstart.json')
    rows = [f'{label:<10} {accuracy[f"accuracy/{name}"]:6.2f}' for name, label in BRANCHES.items()]
    return '\n'.join(['```', f"{'accuracy':<10}      %", *rows, '```'])


def machine_of(cell):
    """Describe in a sentence on what and with what a run was measured."""
    machine, versions = cell['machine'], cell['versions']
    return (f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; Python "
            f"{versions['python']}, torch {versions['torch']}")


def card():
    """Return what the embedded model scores before any tuning."""
    scores = read('mini_clip_card.json')['zero_shot_percent']['digits']
    names = {'digits_whole': "scikit-learn's digits (1,797)", 'mnist_5000': 'MNIST (5,000)',
             'heldout_font_digits': 'digits of fonts kept out of pre-training (320)'}
    rows = [f"| {label} | {scores[name]['digits_4']:.1f} |" for name, label in names.items()]
    return '\n'.join(['| zero-shot accuracy of the embedded model | % |', '|---|---|', *rows])


def digits():
    """Return accuracy over shots, mean and standard deviation over seeds, with the gain over zero-shot."""
    cells = read('mini_digits/results.json')['cells']
    lines = ['| shots | zero-shot | tuned | fused | gain of fused |', '|---|---|---|---|---|']
    for shots in sorted({cell['shots'] for cell in cells}):
        runs = [cell['metrics'] for cell in cells if cell['shots'] == shots]
        values = {name: [run[f'accuracy/{name}'] for run in runs] for name in BRANCHES}
        gains = [fused - zero for fused, zero in zip(values['fused'], values['zero_shot'])]
        shown = [f'{mean(values["zero_shot"]):.2f}'] + [spread(values[name]) for name in ('tuned', 'fused')]
        lines.append(f"| {shots} | {' | '.join(shown)} | {spread(gains, '+')} |")
    seeds = sorted({cell['seed'] for cell in cells})
    return '\n'.join([
        f"Accuracy in percent on the {cells[0]['test_pictures']} held-out digits, mean ± standard deviation over the seeds "
        f"{', '.join(map(str, seeds))} ({machine_of(cells[0])}):", '', *lines])


def targets():
    """Return accuracy on the shifted test sets."""
    rows = [row for row in read('mini_digits/results.json')['cells'] if row['shots'] == 16]
    sets = list(dict.fromkeys(name.split('/')[0] for name in rows[0]['metrics']
                              if name.count('/') == 2 and not name.startswith('mean_of')))
    lines = [f"| 16 shots | {' | '.join(name.replace('_', ' ') for name in sets)} |", '|---' * (len(sets) + 1) + '|']
    for branch, label in BRANCHES.items():
        values = [spread([row['metrics'][f'{name}/accuracy/{branch}'] for row in rows]) for name in sets]
        lines.append(f"| {label} | {' | '.join(values)} |")
    return '\n'.join(lines)


def main_table():
    """Return the comparison on the digits with 16 shots, fewer columns than the study has."""
    wanted = ('accuracy/fused', 'accuracy/tuned', 'mnist/accuracy/fused', 'letters/accuracy/tuned',
              'symbols/accuracy/tuned', 'gram/global')
    return study_table(figures_table, 'digits', 16, wanted)


def study_table(table_of, name, shots, wanted=None):
    """Return one table of a study as Markdown."""
    study = read_study_results(RESULTS / STUDIES[name])
    if wanted:
        study = {**study, 'columns': [column for column in study['columns'] if column['metric'] in wanted]}
    table = table_of(study, shots)
    return markdown_table(table.headings, table.rows)


def claims():
    """Count, for every claim and benchmark, in how many comparisons it holds."""
    counts = {}
    for name, folder in STUDIES.items():
        for claim in read_study_results(RESULTS / folder)['claims']:
            counts.setdefault(claim['text'], {}).setdefault(name, []).append(claim['verdict'])
    rows = []
    for text, by_study in counts.items():
        rows.append([text] + [_verdicts(by_study.get(name, [])) for name in STUDIES])
    return markdown_table(['claim', *STUDIES], rows)


def _verdicts(verdicts):
    """Write verdicts as counts; '-' where a study does not ask."""
    names = ('holds', 'the opposite holds', 'cannot be told')
    counted = [f'{name} {verdicts.count(name)}' for name in names if name in verdicts]
    return f"{', '.join(counted)} of {len(verdicts)}" if counted else '-'


def mean(values):
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def spread(values, sign=''):
    """Write mean ± standard deviation (n - 1)."""
    centre = mean(values)
    deviation = (sum((value - centre)**2 for value in values) / max(len(values) - 1, 1))**0.5
    return f'{centre:{sign}.2f} ± {deviation:.2f}' if deviation >= 0.005 else f'{centre:{sign}.2f}'


BLOCKS = dict(quickstart=quickstart, card=card, digits=digits, targets=targets, main_table=main_table, claims=claims,
              **{f'{name}_{kind}_{shots}': functools.partial(study_table, table_of, name, shots)
                 for name, numbers in (('digits', (16, )), ) for shots in numbers
                 for kind, table_of in (('figures', figures_table), ('differences', differences_table))})


def fill(text):
    """Replace every block of a text.

    Args:
        text (str): With markers.

    Returns:
        str: The same with figures.

    Raises:
        ValueError: If a marker names no block.
    """
    def replace(match):
        if match[1] not in BLOCKS:
            raise ValueError(f'there is a block {match[1]!r}; known are {sorted(BLOCKS)}')
        return f'<!-- {match[1]} -->\n{BLOCKS[match[1]]()}\n<!-- /{match[1]} -->'

    return re.sub(r'<!-- (\w+) -->\n.*?<!-- /\1 -->', replace, text, flags=re.DOTALL)


def main():
    """Fill the texts in, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='change nothing; status 1 if the README is out of date')
    check, stale = parser.parse_args().check, []
    for name in TEXTS:
        text = (ROOT / name).read_text(encoding='utf-8')
        filled = fill(text)
        if filled != text:
            stale.append(name)
            if not check:
                (ROOT / name).write_text(filled, encoding='utf-8')
    print('changed: ' + ', '.join(stale) if stale else 'up to date')
    return int(check and bool(stale))


if __name__ == '__main__':
    sys.exit(main())
