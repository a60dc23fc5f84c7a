"""All methods compared on a folder of one's own pictures: the study, and what its figures say."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from mmpretrain.registry import MODELS

from ..apis.training import base_config, make_config, typed_values
from ..datasets.pictures import PictureFolder, divide_class
from ..datasets.split import Split
from ..engine.loops.domain_report import markdown_table
from ..utils.methods import RECIPES, method_names, value_of
from .files import csv_text, json_text, write_files
from .grid import is_trained
from .study import is_certain, paired_difference, values_of
from .study_results import plus_minus, read_study_results, with_half_width, zero_shot_of
from .summary import spread_of

METRIC, COLUMN = 'accuracy/fused', dict(metric='accuracy/fused', title='accuracy', zero_shot='accuracy/zero_shot', digits=2)
# Of the training pictures, where none are given for validation.
VAL_FRACTION, VAL_SEED = 0.25, 'validation'
MOST_SHOTS = 16
# What a method's recipe is multiplied with for its candidates: the recipe itself first.
FACTORS = (1.0, 0.25, 4.0, 0.5, 2.0, 0.125, 8.0)
# What is most worth choosing of a method; its learning rate unless it has none.
RATE = 'optim_wrapper.optimizer.lr'
SETTINGS = {'linear_probe': 'train_cfg.C', 'tip_adapter': 'model.beta'}
# Chosen among the candidates instead, so that no method sees more labels than the others.
OWN_SEARCH = ('tip_adapter', 'tip_adapter_f', 'amu_tuning')


def write_study(folder: Path, pictures: str, clip: dict[str, Any], arguments: Any) -> tuple[Path, list[str]]:
    """Write the study of a folder of pictures, as ``tools/compare_methods.py`` takes it, and why methods were left out.

    Beside it are the division of the pictures and the names of the classes. ``clip`` has ``architecture`` and ``pretrained``;
    the command line ``methods``, ``shots``, ``seeds``, ``candidates`` and ``cfg_options``. Raises ValueError if there is no such
    method, or there are no pictures to test on.
    """
    split, where = divided(pictures)
    folder = folder.resolve()
    names = dict(classes={name: name for name in split.classes}, templates=list(split.templates))
    smallest = min(Counter(label for _, label in split.train).values())
    shots = arguments.shots or min(MOST_SHOTS, smallest)
    options = {**clip, **_options_of(where, folder), **typed_values(clip['architecture'], arguments.cfg_options)}
    methods, left_out = {}, []
    # Zero-shot CLIP is in every comparison, without a training.
    asked = [name for name in arguments.methods or () if name != 'zero_shot']
    if arguments.methods and not asked:
        raise ValueError(
            '--methods names zero_shot alone, which is in every comparison; expected at least one method that is trained. '
            'For its accuracy alone: mps-clip zero-shot'
        )
    for name in asked or [name for name in method_names() if is_trained(name)]:
        try:
            methods[name] = _method(name, options, shots, len(split.classes), arguments.candidates)
        except FileNotFoundError as error:
            if arguments.methods or not str(error) or name not in OWN_SEARCH:
                raise
            left_out.append(f'{name} is left out: {error}')
    study = dict(
        title=f'Methods on {Path(pictures).resolve().name}',
        config=base_config(clip['architecture']),
        baseline=next(iter(methods)),
        options=options,
        selection=dict(shots=shots, seeds=[101, 102], metric=METRIC, options={'test_dataloader.dataset.subset': 'val'}),
        report=dict(shots=[shots], seeds=list(range(1, arguments.seeds + 1)), targets=False),
        methods=methods,
        columns=[COLUMN],
    )
    # JSON is YAML, too.
    files = {'study.yaml': json_text(study), 'classes.yaml': json_text(names), 'pictures.csv': _table(split)}
    return write_files(folder, files)[0], left_out


def divided(pictures: str) -> tuple[Split, str]:
    """Divide a folder of pictures into those to train on, to choose settings by and to test on; return its path, too.

    Where it has none for validation, a quarter of the training pictures of each class is. Raises ValueError if there is
    nothing to test on, a class has too few pictures, or two classes have one name.
    """
    dataset = PictureFolder(data_root=str(pictures), subset='train', pipeline=[])
    split = dataset.read_split()
    if len(set(split.classes)) < max(2, len(split.classes)):
        raise ValueError(f'{pictures} has the classes {", ".join(split.classes)}; expected two or more, with different names')
    if not split.test:
        raise ValueError(f'{pictures} has no pictures to test on; expected test/<class>/, or one tree of which a part is kept')
    if not split.val:
        train, val = [], []
        for label, name in enumerate(split.classes):
            paths = [path for path, other in split.train if other == label]
            if len(paths) < 2:
                found = f'the class {name!r} of {pictures} has {len(paths)} pictures to train on'
                raise ValueError(f'{found}, expected 2 or more: settings are chosen by a part of them')
            kept, _, chosen_by = divide_class(paths, VAL_FRACTION, 0.0, f'{VAL_SEED}/{name}')
            train += [(path, label) for path in kept]
            val += [(path, label) for path in chosen_by]
        split = split._replace(train=train, val=val)
    return split, str(Path(dataset.data_root).resolve())


def verdict(folder: Path) -> tuple[str, str]:
    """Say which method of a study with results to take, and whether the difference to the others can be told from noise.

    Returns a table in Markdown, the best method first, and what it says, in words.
    """
    study = read_study_results(folder)
    shots = study['cells'][0]['shots']
    figures = {name: values_of(study['cells'], name, shots, METRIC) for name in study['choices']}
    spreads = {name: spread_of(values.values()) for name, values in figures.items()}
    runs = {name: [cell['seconds']['training'] for cell in study['cells'] if cell['recipe'] == name] for name in figures}
    seconds = {name: statistics.fmean(times) for name, times in runs.items()}
    zero_shot = zero_shot_of(study, COLUMN)
    if zero_shot is not None:
        figures['zero_shot'] = {seed: zero_shot for values in figures.values() for seed in values}
        spreads['zero_shot'], seconds['zero_shot'] = spread_of([zero_shot]), 0.0
    means = {name: spread.mean for name, spread in spreads.items()}
    ranked = sorted(figures, key=lambda name: (-means[name], seconds[name]))
    best = ranked[0]
    behind = {name: paired_difference(figures[name], figures[best]) for name in ranked[1:]}
    equal = [name for name in ranked[1:] if not is_certain(behind[name])]
    rows = []
    for name in ranked:
        difference = '-' if name == best else with_half_width(behind[name], COLUMN)
        place = 'best' if name == best else 'cannot be told' if name in equal else 'worse'
        accuracy = plus_minus(means[name], spreads[name].std, COLUMN)
        rows.append([name, accuracy, difference, place, f'{seconds[name]:.0f} s'])
    table = markdown_table(['method', 'accuracy', 'difference to the best [95 %]', '', 'training'], rows)
    return table, _in_words(best, equal, means, seconds, len(figures[best]), study['cells'][0]['test_pictures'])


def _in_words(best, equal, means, seconds, seeds, pictures):
    quickest = min([best, *equal], key=lambda name: seconds[name])
    lines = [f'Take {best}: {means[best]:.2f} % on average over {seeds} draws of the training pictures.']
    if equal:
        lines.append(f'Whether it is better than {", ".join(equal)} cannot be told from noise.')
        if quickest != best:
            lines.append(f'Of these, {quickest} takes the least time, and is as good a choice.')
    else:
        lines.append('It is better than all others, beyond what the draws of the training pictures explain.')
    lines.append(
        f'Tested on {pictures} pictures: one more that is right is {100 / pictures:.2f} points. The intervals say how far the '
        'choice of training pictures matters, not how far other test pictures would. Each is for one comparison, not corrected for '
        'the number of them.'
    )
    return '\n'.join(lines)


def _options_of(where, folder):
    """Return the options that let both data sets of a config read the table."""
    options = {'data_root': where, 'default_hooks.checkpoint.interval': 10**6}
    table = dict(type='PictureTable', table=str(folder / 'pictures.csv'), class_file=str(folder / 'classes.yaml'))
    for name in ('train_dataloader.dataset.dataset', 'test_dataloader.dataset'):
        options |= {f'{name}.{key}': value for key, value in table.items()}
    return options


def _method(name, options, shots, classes, budget):
    """Lay out a method with its candidates."""
    own = {'train_cfg.search': None} if name in OWN_SEARCH else {}
    if name == 'tac':
        own['model.num_clusters'] = min(5, classes)
    cfg = make_config(name, RECIPES[0], {**options, **own, 'num_shots': shots})
    MODELS.get(cfg.model.type).require_files(cfg.model)
    setting = SETTINGS.get(name, RATE)
    return dict(method=name, options=own, candidates=[{setting: value_of(cfg, setting) * factor} for factor in FACTORS[:budget]])


def _table(split: Split) -> str:
    lines = [['path', 'label', 'split']]
    for subset in ('train', 'val', 'test'):
        lines += [[path, split.classes[label], subset] for path, label in getattr(split, subset)]
    return csv_text(lines)
