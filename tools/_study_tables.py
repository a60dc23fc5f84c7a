"""Tables of what was trained and compared with the mini CLIP, from the files in results/; see fill_readme.py."""

import functools

from _method_tables import RESULTS, read

from mmpretrain_mps.benchmark.study import paired_difference, values_of
from mmpretrain_mps.benchmark.study_results import (
    differences_rows,
    figures_rows,
    read_study_results,
    shots_of,
    with_half_width,
)
from mmpretrain_mps.benchmark.summary import spread_of
from mmpretrain_mps.engine.loops.domain_report import markdown_table

STUDIES = {
    'digits': 'digits_study',
    'letters': 'letters_study',
    'things': 'things_study',
    'methods': 'methods_things',
    'base_to_new': 'base_to_new_things',
    'longer': 'methods_things_longer',
    'wider': 'methods_things_wider',
    'seeds': 'things_seeds',
}
GLYPHS, THINGS, METHODS = ('digits', 'letters'), ('things', 'seeds'), ('methods', 'base_to_new', 'longer', 'wider')
NEITHER = 'neither alignment nor sculpting'
PARTS = (
    ('accuracy/fused', 'fused', 2),
    ('accuracy/tuned', 'tuned', 2),
    ('symbols/accuracy/fused', 'symbols, fused', 2),
    ('symbols/accuracy/tuned', 'symbols, tuned', 2),
    ('gram/global', 'Gram change global', 3),
    ('gram/local', 'Gram change local', 3),
    ('separability/tuned/output/silhouette', 'silhouette', 3),
)
BRANCHES = {'zero_shot': 'zero-shot', 'tuned': 'tuned', 'fused': 'fused'}


def quickstart():
    """Return the table with which the first command ends."""
    accuracy = read('quickstart.json')
    rows = [f'{label:<10} {accuracy[f"accuracy/{name}"]:6.2f}' for name, label in BRANCHES.items()]
    return '\n'.join(['```', f'{"accuracy":<10}      %', *rows, '```'])


def machine_of(cell):
    """Describe in a sentence on what and with what a run was measured."""
    machine, versions = cell['machine'], cell['versions']
    return (
        f'{machine["processor"]}, {machine["cores"]} cores, {machine["gpu"] or "no GPU"}; Python '
        f'{versions["python"]}, torch {versions["torch"]}'
    )


def card():
    """Return what the embedded model scores before any tuning."""
    scores = read('mini_clip_card.json')['zero_shot_percent']['digits']
    names = {
        'digits_whole': "scikit-learn's digits (1,797)",
        'mnist_5000': 'MNIST (5,000)',
        'heldout_font_digits': 'digits of fonts kept out of pre-training (320)',
    }
    rows = [f'| {label} | {scores[name]["digits_4"]:.1f} |' for name, label in names.items()]
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
        lines.append(f'| {shots} | {" | ".join(shown)} | {spread(gains, "+")} |')
    seeds = sorted({cell['seed'] for cell in cells})
    return '\n'.join(
        [
            f'Accuracy in percent on the {cells[0]["test_pictures"]} held-out digits, mean ± standard deviation over the seeds '
            f'{", ".join(map(str, seeds))} ({machine_of(cells[0])}):',
            '',
            *lines,
        ]
    )


def targets():
    """Return accuracy on the shifted test sets."""
    rows = [row for row in read('mini_digits/results.json')['cells'] if row['shots'] == 16]
    sets = list(
        dict.fromkeys(
            name.split('/')[0] for name in rows[0]['metrics'] if name.count('/') == 2 and not name.startswith('mean_of')
        )
    )
    lines = [f'| 16 shots | {" | ".join(name.replace("_", " ") for name in sets)} |', '|---' * (len(sets) + 1) + '|']
    for branch, label in BRANCHES.items():
        values = [spread([row['metrics'][f'{name}/accuracy/{branch}'] for row in rows]) for name in sets]
        lines.append(f'| {label} | {" | ".join(values)} |')
    return '\n'.join(lines)


def short_table(name, shots, *others):
    """Return the comparison of a study with fewer columns than it has: its own domain, some others, and the geometry."""
    wanted = ('accuracy/fused', 'accuracy/tuned', *others, 'gram/global', 'separability/tuned/output/silhouette')
    return study_table(figures_rows, name, shots, wanted)


def fused_columns(study):
    """Return the columns of a study with accuracies after fusion, its own domain first."""
    return [column for column in study['columns'] if column['metric'].endswith('accuracy/fused')]


@functools.cache
def study_of(name):
    """Read the results of a study, which several blocks show."""
    return read_study_results(RESULTS / STUDIES[name])


def study_table(rows_of, name, shots, wanted=None):
    """Return one table of a study as Markdown."""
    study = study_of(name)
    if wanted:
        study = {**study, 'columns': [column for column in study['columns'] if column['metric'] in wanted]}
    return markdown_table(*rows_of(study, shots))


def differences(study, shots):
    """Lay out differences to the baseline with half of their interval."""
    return differences_rows(study, shots, with_half_width)


def claims(names):
    """Count, for every claim, benchmark and part of the model, in how many comparisons it holds."""
    counts, columns = {}, [(name, part) for name in names for part in ('fused', 'tuned branch')]
    for name in names:
        for claim in study_of(name)['claims']:
            # Gram matrices and scatter are of the tuned branch's features.
            part = 'fused' if claim['metric'].endswith('/fused') else 'tuned branch'
            counts.setdefault(claim['text'], {}).setdefault((name, part), []).append(claim['verdict'])
    rows = [[text] + [_verdicts(found.get(column, [])) for column in columns] for text, found in counts.items()]
    return markdown_table(['claim', *(f'{name}, {part}' for name, part in columns)], rows)


def durations(names):
    """Return how long the runs of studies took, two at a time; a run that two of them have counts for the first."""
    minutes, seen = dict.fromkeys(names, 0.0), set()
    for name in names:
        for file in ('selection', 'study'):
            for cell in read(f'{STUDIES[name]}/{file}.json')['cells']:
                if cell['hash'] not in seen:
                    seen.add(cell['hash'])
                    minutes[name] += sum(cell['seconds'].values()) / 120
    machine = read(f'{STUDIES[names[0]]}/study.json')['cells'][0]['machine']
    took = ', '.join(f'{value:.0f} minutes ({name.replace("_", " ")})' for name, value in minutes.items())
    return (
        f'On {machine["cores"]} cores ({machine["processor"]}), two at a time and with other work beside them, the runs of '
        f'selection and report took {took}.'
    )


def _verdicts(verdicts):
    """Write verdicts as counts, what was not measured left out; '-' where a study does not ask."""
    names = ('holds', 'the opposite holds', 'cannot be told')
    counted = [f'{name} {verdicts.count(name)}' for name in names if name in verdicts]
    return f'{", ".join(counted)} of {sum(map(verdicts.count, names))}' if counted else '-'


def parts():
    """Return what single changes of the config do: in the domain beside the config as it is, to what it knew beside CE."""
    cells = read('mini_parts/results.json')['cells']
    compared = (
        ('accuracy/fused', 'chosen', 'fused'),
        ('accuracy/tuned', 'chosen', 'tuned'),
        ('symbols/accuracy/fused', NEITHER, 'symbols, fused'),
    )
    headings, rows = ['change', *(title for _, title, _ in PARTS)], []
    headings += [f'{title}: difference to {"neither" if base == NEITHER else base}' for _, base, title in compared]
    for recipe in dict.fromkeys(cell['recipe'] for cell in cells):
        row = [recipe]
        for metric, _, places in PARTS:
            values = values_of(cells, recipe, 4, metric)
            row.append(spread(list(values.values()), digits=places))
        for metric, base, _ in compared:
            difference = paired_difference(*(values_of(cells, name, 4, metric) for name in (recipe, base)))
            row.append('' if recipe == base else f'{difference.mean:+.2f} ± {difference.half_width:.2f}')
        rows.append(row)
    return markdown_table(headings, rows)


def bound(folder):
    """Return the Gromov-Wasserstein distance and its bound at the end of training, and how tight it ever was."""
    content, rows = read(f'{folder}/bounds.json'), []
    for method, seeds in content['courses'].items():
        last = {
            name: [course[name][-1] for course in seeds.values()]
            for name in ('gw/exact', 'gw/bound', 'gw/tightness', 'gw/entropic', 'gw/diagonal')
        }
        rows.append(
            [
                content['labels'][method],
                *(spread(values, digits=4) for values in last.values()),
                f'{content["summary"][method]["tightness_least"]:.3f}',
            ]
        )
    return markdown_table(
        [
            'method',
            'distance, squared',
            'bound',
            'distance / bound',
            'entropic solver',
            'coupling on the identity',
            'least distance / bound of any epoch',
        ],
        rows,
    )


def view_bank():
    """Return accuracy with pre-drawn views."""
    cells = read('mini_view_bank/results.json')['cells']
    rows, plain = [], values_of(cells, 'new_views', 16, 'accuracy/fused')
    for name in dict.fromkeys(cell['recipe'] for cell in cells):
        values = {branch: values_of(cells, name, 16, f'accuracy/{branch}') for branch in ('tuned', 'fused')}
        difference = paired_difference(values['fused'], plain)
        rows.append(
            [
                name.replace('_', ' '),
                *(spread(list(found.values())) for found in values.values()),
                '' if name == 'new_views' else f'{difference.mean:+.2f} ± {difference.half_width:.2f}',
            ]
        )
    return markdown_table(['views per picture', 'tuned', 'fused', 'difference of fused'], rows)


def options():
    """Return accuracy with the options that make training cheaper."""
    rows = []
    for name, figures in read('benchmark/options_accuracy.json')['options'].items():
        difference = figures['fused']['difference']
        rows.append(
            [
                name,
                *(spread(figures[branch]['values']) for branch in ('tuned', 'fused')),
                '' if difference is None else f'{difference:+.2f}',
            ]
        )
    return markdown_table(['training', 'tuned', 'fused', 'difference of fused'], rows)


def mean(values):
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def spread(values, sign='', digits=2):
    """Write mean ± standard deviation (n - 1)."""
    found = spread_of(values)
    text = f'{found.mean:{sign}.{digits}f}'
    return f'{text} ± {found.std:.{digits}f}' if found.std and found.std >= 0.5 * 10**-digits else text


STUDY_BLOCKS = dict(
    quickstart=quickstart,
    card=card,
    digits=digits,
    targets=targets,
    main_table=functools.partial(
        short_table, 'digits', 16, 'mnist/accuracy/fused', 'symbols/accuracy/fused', 'symbols/accuracy/tuned'
    ),
    letters_table=functools.partial(
        short_table, 'letters', 4, 'printed/accuracy/fused', 'symbols/accuracy/fused', 'symbols/accuracy/tuned'
    ),
    things_table=functools.partial(
        short_table, 'things', 16, 'other_artist/accuracy/fused', 'sketch/accuracy/fused', 'distorted/accuracy/fused'
    ),
    claims=functools.partial(claims, GLYPHS),
    things_claims=functools.partial(claims, ('things',)),
    durations=functools.partial(durations, GLYPHS),
    methods_durations=functools.partial(durations, METHODS),
    things_durations=functools.partial(durations, THINGS),
    parts=parts,
    bound=functools.partial(bound, 'bound'),
    things_bound=functools.partial(bound, 'things_bound'),
    view_bank=view_bank,
    options=options,
    **{
        f'{name}_{kind}_{shots}': functools.partial(study_table, rows_of, name, shots)
        for name in STUDIES
        for shots in shots_of(study_of(name))
        for kind, rows_of in (('figures', figures_rows), ('differences', differences))
    },
)
