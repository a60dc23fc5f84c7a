"""Folders to report on, so small that they are made in tests: of a training and its test, of a grid, of a study."""

import argparse
import io
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from tiny_digits import ROOT, train, write_config
from tiny_run import call

from mmpretrain_mps.analysis.contents import Missing
from mmpretrain_mps.analysis.held_out import HeldOut
from mmpretrain_mps.analysis.style import in_style
from mmpretrain_mps.benchmark.study import Choice, Column, Method, Study
from mmpretrain_mps.benchmark.study_tables import study_content, write_study
from mmpretrain_mps.benchmark.summary import spread_of
from mmpretrain_mps.benchmark.tables import write_results

# What a page or a plot could take for something else: tags, entities, attributes, formulas; and what no tick can hold.
CLASS_NAMES = (
    '<b>&"',
    '<script>alert(1)</script>',
    "it's",
    '$1_$ to $2',
    '&amp;',
    'a name of many words',
    'six',
    'seven',
    'eight',
    'nine',
)
EPOCHS = 2
MORE = f"""
for loader in (train_dataloader['dataset'], val_dataloader, test_dataloader):
    loader['dataset']['class_names'] = {CLASS_NAMES!r}
del loader
num_shots = 1
train_dataloader['dataset']['num_shots'] = num_shots
train_cfg['val_interval'] = 1
val_evaluator = [dict(type='BranchAccuracy'), dict(type='GromovWassersteinDistance', max_pictures=20, random_starts=0)]
test_evaluator = [dict(type='BranchAccuracy'), dict(type='ClassSeparability')]
test_cfg = dict(type='DomainGeneralizationLoop', feature_metrics='source', targets=dict(
    blur=dict(type='CorruptedDigits', corruption='blur', class_names={CLASS_NAMES!r}),
    textures=dict(type='CLIPDTD', data_root='{{nowhere}}')))
"""


def make_work_dir(folder):
    """Train and test as the tools do; return the work directory."""
    config = write_config(folder, epochs=EPOCHS, more=MORE.replace('{nowhere}', str(folder / 'nowhere')))
    work_dir = folder / 'training'
    train(0, 1, config, str(work_dir))
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        assert call(ROOT / 'tools' / 'test.py', config, work_dir / f'epoch_{EPOCHS}.pth', '--work-dir', work_dir) == 0
    return work_dir


def copy_of(work_dir, folder, *patterns):
    """Copy what some patterns of paths match, a whole work directory without any; return the copy."""
    for pattern in patterns or ('*',):
        for path in work_dir.glob(pattern):
            target = folder / path.relative_to(work_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)
    return folder


def cell(shots, seed, fused, recipe='', dataset='Digits', **metrics):
    """Result of a run of a grid."""
    return dict(
        format='mmpretrain_mps-benchmark-1',
        hash=f'{dataset}{recipe}{shots}{seed}',
        dataset=dataset,
        config=f'mps_{dataset}.py',
        recipe=recipe,
        shots=shots,
        seed=seed,
        select='last',
        epoch=50,
        train_pictures=10 * shots,
        test_pictures=100,
        options=dict(num_shots=shots, seed=seed),
        resumed=False,
        metrics={'accuracy/fused': fused, 'accuracy/tuned': fused - 1, 'accuracy/zero_shot': 60.0, **metrics},
        seconds=dict(training=10.0, testing=1.0),
        machine=dict(cores=2, gpu=None),
        versions=dict(torch='2.0'),
    )


def make_grid(folder, results, cells=None):
    """Write what tools/fewshot_benchmark.py leaves; return the folder."""
    cells = cells or [argparse.Namespace(key=result['hash'], name=result['hash']) for result in results]
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder, cells, results)
    return folder


def make_study(folder, shots=(1, 4), label='CE & <MAR>'):
    """Write what tools/compare_methods.py leaves; return the folder."""
    methods = [
        Method(name, name_on_page, 'config.py', {}, [{'lr': 1}, {'lr': 2}])
        for name, name_on_page in (('ce', 'cross-entropy'), ('mar', label))
    ]
    columns = [
        Column('accuracy/fused', 'digits', 'higher', 'accuracy/zero_shot', 2),
        Column('symbols', 'symbols', 'higher', '', 2),
    ]
    claims = [dict(text='alignment helps', method='mar', than='ce', metric='accuracy/fused')]
    study = Study(
        'A study',
        'ce',
        {},
        dict(shots=4, seeds=[11], metric='accuracy/fused'),
        dict(shots=list(shots), seeds=[1, 2]),
        methods,
        columns,
        claims,
        ['accuracy/fused', 'symbols'],
        'study.yaml',
    )
    results = [
        cell(number, seed, 60.0 + gain + number + seed, name, symbols=70.0 + gain)
        for name, gain in (('ce', 0), ('mar', 2))
        for number in shots
        for seed in (1, 2)
    ]
    choices = {method.name: Choice(1, {'lr': 2}, [spread_of([50.0]), spread_of([60.0])]) for method in methods}
    write_study(folder, study, study_content(study, choices, results), [])
    return folder


def flags(folder, **given):
    """Return what the command line of a report gives."""
    usual = dict(checkpoint=None, split='test', max_pictures=40, no_model=False, out=None, only=None)
    return argparse.Namespace(**{'folder': str(folder), **usual, **given})


def write_records(folder, *records, run='20260101_000000'):
    """Write the log of scalars of a run, as mmengine does; return the folder."""
    file = Path(folder, run, 'vis_data', 'scalars.json')
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return Path(folder)


def drawn(plot, style='light'):
    """Return the figure of a plot."""
    with in_style(style):
        return plot.draw()


def lines_of(plot):
    """Return label -> (horizontal values, vertical values, style of the line) of the lines in a plot's legend."""
    (axis,) = drawn(plot).axes
    lines = {label: handle.lines[0] for handle, label in zip(*axis.get_legend_handles_labels())}
    return {label: (list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle()) for label, line in lines.items()}


def texts_of(section):
    """Return the paragraphs and notices of a section, as text."""
    return [part if isinstance(part, str) else part.text for part in section.parts if isinstance(part, (str, Missing))]


def make_held_out(labels, zero_shot, tuned, texts=None, logits=None, class_names=None):
    """Return features and predictions as they would be extracted; logits are cosines unless given."""
    labels, zero_shot, tuned = np.array(labels), np.array(zero_shot, float), np.array(tuned, float)
    texts = np.eye(labels.max() + 1, tuned.shape[1]) if texts is None else np.array(texts, float)
    logits = logits or dict(fused=tuned @ texts.T, tuned=tuned @ texts.T, zero_shot=zero_shot @ texts.T)
    names = class_names or tuple(f'class {label}' for label in range(len(texts)))
    return HeldOut(
        'Digits',
        len(labels),
        names,
        labels,
        tuned,
        zero_shot,
        texts,
        {branch: np.array(values, float) for branch, values in logits.items()},
    )


def rim(png, width=2):
    """Return the colours of the outermost pixels of a picture: whatever is cut off by its edge is among them."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))
    inner = np.zeros(pixels.shape[:2], bool)
    inner[width:-width, width:-width] = True
    return {tuple(colour) for colour in np.unique(pixels[~inner], axis=0).tolist()}
