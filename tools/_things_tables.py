"""Tables of what was compared on pictograms of things, from the files in results/; see fill_readme.py."""

import statistics

from _study_tables import fused_columns, study_of

from mmpretrain_mps.analysis.power import power_of_study, power_rows
from mmpretrain_mps.benchmark.grid import read_grid_file
from mmpretrain_mps.benchmark.study_results import (
    column_of,
    difference_at,
    label_of,
    plus_minus,
    shots_of,
    spread_at,
    with_half_width,
    with_interval,
    zero_shot_of,
)
from mmpretrain_mps.benchmark.summary import shots_text
from mmpretrain_mps.engine.loops.domain_report import markdown_table

# The lines of the README, and what each method trains.
SHORT = {
    'zero_shot': 'nothing',
    'linear_probe': 'a linear layer on frozen features',
    'clip_adapter': 'two layers on frozen features',
    'tip_adapter_f': 'a memory of the training pictures',
    'amu_tuning': 'a linear layer on features of a second network',
    'coop': 'prompt vectors of the text encoder',
    'tcp': 'prompt vectors, and more of them from each class',
    'textrefiner': 'prompt vectors, refined by parts of pictures',
    'promptsrc': 'prompt vectors in both encoders',
    'tac': 'prompt vectors and class clusters in both encoders',
    'clip_lora': 'low-rank updates in both encoders',
    'mps': 'the last blocks of the vision encoder',
}
# The lines of the paper's table of components, and what the study of losses calls them.
COMPONENTS = {'ce': 'ce', 'ce_mar': 'mar', 'ce_hms': 'hms', 'full': 'full'}
# The lines of the losses from base to new classes.
LOSSES = ('ce', 'cosine', 'mar', 'hms', 'mps')
SOURCE, TARGETS, NEW = 'accuracy/fused', 'mean_of_targets/accuracy/fused', 'new/accuracy/fused'


def methods_short() -> str:
    """Return what the methods train and their accuracy: in the source, in other domains, among new classes."""
    study, classes = study_of('methods'), study_of('base_to_new')
    shown = {
        'source, 1 shot': (study, 1, SOURCE),
        'source': (study, 16, SOURCE),
        'other domains': (study, 16, TARGETS),
        'new classes': (classes, 16, NEW),
    }
    rows = []
    for method, trained in SHORT.items():
        figures = [_figure(one, method, shots, column_of(one, metric)) for one, shots, metric in shown.values()]
        rows.append([_label(study, method), trained, *figures])
    return markdown_table(['method', 'what is trained', *shown], rows)


def methods_behind() -> str:
    """Return the difference of every other method to MPS-Tuning with its interval: by shots, and among new classes."""
    study, classes = study_of('methods'), study_of('base_to_new')
    compared = {
        f'{title}, {shots_text(shots)}': (study, shots, metric)
        for title, metric in (('source', SOURCE), ('other domains', TARGETS))
        for shots in shots_of(study)
    }
    compared['new classes'] = (classes, 16, NEW)
    columns = [(one, shots, column_of(one, metric)) for one, shots, metric in compared.values()]
    rows = []
    for method in study['choices']:
        if method != study['baseline']:
            found = (with_interval(difference_at(one, method, shots, column), column) for one, shots, column in columns)
            rows.append([label_of(study, method), *found])
    return markdown_table(['method', *compared], rows)


def longer_passes() -> str:
    """Return what was chosen for 24 passes, and accuracy with 4 shots beside that of six passes."""
    return _before_and_after({'six passes': study_of('methods'), '24 passes': study_of('longer')})


def wider_candidates() -> str:
    """Return what was chosen among nine candidates for 24 passes, and accuracy with 4 shots beside that of six candidates."""
    return _before_and_after({'six candidates': study_of('longer'), 'nine candidates': study_of('wider')})


def methods_published() -> str:
    """Return published figures of domain generalisation and of the mean of eleven data sets beside those on things, 16 shots."""
    shift, main = (_published(name) for name in ('domain_generalization', 'main'))
    study, rows = study_of('methods'), []
    sets = ('ImageNet', 'imagenet_v2', 'imagenet_sketch')
    for method in ('zero_shot', *study['choices']):
        found = {**_lines(main, method), **_lines(shift, method)}
        theirs = [_number(found.get(name, {}), 0 if method == 'zero_shot' else 16) for name in (*sets, 'mean')]
        if set(theirs) != {'-'}:
            rows.append(
                [_label(study, method), *theirs, *(_figure(study, method, 16, column) for column in fused_columns(study))]
            )
    header = ['method', 'published: ImageNet', 'V2', 'Sketch', 'mean of eleven data sets']
    return markdown_table([*header, *_titled('things', fused_columns(study))], rows)


def base_to_new_published() -> str:
    """Return published figures of base and new classes beside those on things, 16 shots."""
    published, study = _published('base_to_new')['base_to_new'], study_of('base_to_new')
    known = [method for method in study_of('methods')['choices'] if method in study['choices']]  # the others know no new classes
    rows = []
    for method in ('zero_shot', *known):
        theirs = [f'{value:.2f}' for value in published[method]['mean']] if method in published else ['-'] * 3
        ours = [_figure(study, method, 16, column) for column in study['columns']]
        rows.append([_label(study, method), *theirs, *ours])
    header = ['method', 'published: base', 'new', 'harmonic mean']
    return markdown_table([*header, *_titled('things', study['columns'])], rows)


def base_to_new_losses() -> str:
    """Return what single losses keep of new classes: figures of 16 shots, and differences to cross-entropy, paired by seed."""
    study = study_of('base_to_new')
    from_ce = {**study, 'baseline': 'ce'}
    rows = []
    for method in LOSSES:
        figures = [_figure(study, method, 16, column) for column in study['columns']]
        rows.append([label_of(study, method), *figures, *(_over(from_ce, method, 16, column) for column in study['columns'])])
    titles = [column['title'] for column in study['columns']]
    return markdown_table(['method', *titles, *(f'over CE, {title}' for title in titles)], rows)


def methods_training() -> str:
    """Return the numbers that validation chose for every method, and the median time of a training by shots."""
    study, rows = study_of('methods'), []
    numbers = shots_of(study)
    for method, choice in study['choices'].items():
        seconds = {
            shots: statistics.median(
                cell['seconds']['training'] for cell in study['cells'] if (cell['recipe'], cell['shots']) == (method, shots)
            )
            for shots in numbers
        }
        rows.append([label_of(study, method), _chosen(choice), *(f'{value:.0f} s' for value in seconds.values())])
    return markdown_table(['method', 'chosen', *(f'training, {shots_text(shots)}' for shots in numbers)], rows)


def things_power() -> str:
    """Return how small a difference to the baseline the study of losses tells, for its figures of accuracy after fusion."""
    study = study_of('things')
    columns = fused_columns(study)
    rows = []
    for powers in zip(*(power_rows(power_of_study(study, column['metric'], 1), 1)[1] for column in columns), strict=True):
        method, shots, *_ = powers[0]
        rows.append([method, shots, *(f'{told} ({seeds})' for *_, told, seeds in powers)])
    return markdown_table(['method', 'shots', *(column['title'] for column in columns)], rows)


def things_paper() -> str:
    """Return the paper's table of components beside the same changes on pictograms of things, 16 shots."""
    published = _published('components')['recipes']
    study = study_of('things')
    ours = fused_columns(study)
    rows, base = [], published['ce']
    for recipe, method in COMPONENTS.items():
        there = published[recipe]
        gains = [there[name][16] - base[name][16] for name in ('ImageNet', 'mean')]
        cells = [f'{there[name][16]:.2f}' for name in ('ImageNet', 'mean')]
        cells += ['' if recipe == 'ce' else f'{gain:+.2f}' for gain in gains]
        cells.append(_figure(study, method, 16, ours[0]))
        cells += [_over(study, method, 16, column) for column in ours]
        rows.append([label_of(study, method), *cells])
    header = ['method', 'paper: ImageNet', 'mean of eleven', 'over CE, ImageNet', 'over CE, mean', 'things: source']
    return markdown_table([*header, *(f'over CE, {column["title"].removesuffix(", fused")}' for column in ours)], rows)


def _before_and_after(studies):
    """Lay out two studies of the same runs with 4 shots: what the second one chose, accuracies, and the differences to MPS-Tuning."""
    *_, (title, after) = studies.items()
    compared = {
        f'{where}, {name}': (study, column_of(study, metric))
        for where, metric in (('source', SOURCE), ('other domains', TARGETS))
        for name, study in studies.items()
    }
    rows = []
    for method, choice in after['choices'].items():
        cells = [label_of(after, method), _chosen(choice)]
        for study, column in compared.values():
            cells += [_figure(study, method, 4, column), _over(study, method, 4, column)]
        rows.append(cells)
    return markdown_table(['method', f'chosen: {title}', *(part for name in compared for part in (name, 'to MPS'))], rows)


def _published(grid):
    return read_grid_file(f'grids/paper/{grid}.yaml')['published']


def _lines(published, method):
    """Return the published figures of a method by data set; those of MPS-Tuning and of zero-shot CLIP are in its recipe."""
    if method in ('mps', 'zero_shot'):
        return published['recipes']['full']
    return published['methods'].get(method, {})


def _label(study, method):
    return 'zero-shot' if method == 'zero_shot' else label_of(study, method)


def _over(study, method, shots, column):
    """Write the difference to the baseline with half of its interval, and nothing for the baseline itself."""
    return '' if method == study['baseline'] else with_half_width(difference_at(study, method, shots, column), column)


def _chosen(choice):
    return ', '.join(f'`{name.split(".")[-1]}` {value}' for name, value in choice['chosen'].items())


def _titled(where, columns):
    titles = [column['title'].removesuffix(', fused') for column in columns]
    return [f'{where}: {titles[0]}', *titles[1:]]


def _number(values, shots):
    return f'{values[shots]:.2f}' if shots in values else '-'


def _figure(study, method, shots, column):
    """Write a figure of a method with its standard deviation, the plain one of zero-shot, or '-' where there is none."""
    if method == 'zero_shot':
        return f'{zero_shot_of(study, column):.2f}'
    if method not in study['choices']:
        return '-'
    found = spread_at(study, method, shots, column)
    return '-' if found is None else plus_minus(found.mean, found.std, column)


THINGS_BLOCKS = {
    function.__name__: function
    for function in (
        methods_short,
        methods_behind,
        longer_passes,
        wider_candidates,
        methods_published,
        base_to_new_published,
        base_to_new_losses,
        methods_training,
        things_power,
        things_paper,
    )
}
