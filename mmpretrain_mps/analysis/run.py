"""The sections about a training: what its work directory says, and what its checkpoint does to pictures."""

import torch

from ..benchmark.cell_run import versions
from ..models.backbones.dual_branch_vit import DualBranchViT
from ..models.classifiers.description import DESCRIPTION_KEY, read_description
from ..utils.checkpoint import read_checkpoint
from ..utils.errors import user_message
from .contents import Listing, Missing, Section, Table
from .drift import drift_section
from .geometry import gram_section, map_section
from .held_out import extract, load_model
from .predictions import prediction_section
from .separability import separability_section
from .style import BRANCHES
from .training import gw_section, training_section

FEATURE_SECTIONS = {'gram': 'Relations of pictures', 'maps': 'Maps of features', 'predictions': 'Predictions'}


def run_sections(work_dir, split='test', max_pictures=None, with_model=True):
    """Make the sections of a training. What cannot be shown is named, and stops nothing else.

    Args:
        work_dir (WorkDir): Of the training.
        split (str): Which pictures to look at, ``'test'`` or ``'val'``.
        max_pictures (int, optional): Most of them.
        with_model (bool): Run the model; otherwise only what the log and the checkpoint say is shown.

    Returns:
        list[Section]: In the order of the report.
    """
    loaded, why = _attempt(_load, work_dir, with_model)
    model, origin = loaded or (None, {})
    held_out, why_not = _attempt(extract, work_dir.config, model, origin, split, max_pictures) if model else (None, why)
    features = (
        [gram_section(held_out), map_section(held_out), prediction_section(held_out, model.head.alpha, model.head.fusion)]
        if held_out
        else [Section(name, title, [Missing(f'Not shown: {why_not}')]) for name, title in FEATURE_SECTIONS.items()]
    )
    drift = _drift_section(model, why)
    figures = {**_last_of(work_dir.validation), **work_dir.test_metrics}
    return [
        _accuracy_section(work_dir, held_out, split, why_not),
        training_section(work_dir),
        gw_section(work_dir),
        *features,
        drift,
        separability_section([figures], 'Neither a test nor a validation has logged figures separability/...'),
        _checkpoint_section(work_dir),
        _config_section(work_dir),
        _environment_section(work_dir),
    ]


def _drift_section(model, why):
    if model and not isinstance(model.backbone, DualBranchViT):
        model, why = None, f'{type(model).__name__} tunes no copy of frozen weights.'
    return drift_section(model.backbone) if model else Section('drift', 'Change of the weights', [Missing(f'Not shown: {why}')])


def _load(work_dir, with_model):
    if not with_model:
        raise ValueError('the model was not to be run.')
    reasons = [work_dir.missing[name] for name in ('config', 'checkpoint') if name in work_dir.missing]
    if reasons:
        raise ValueError('; '.join(reasons))
    return load_model(work_dir.config, work_dir.checkpoint)


def _attempt(function, *arguments):
    """Return a result and None, or None and why there is none; errors that are not understood pass through."""
    try:
        return function(*arguments), None
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        return None, message


def _accuracy_section(work_dir, held_out, split, why_not):
    parts = []
    if work_dir.domains:
        parts.append(_table_of_domains(work_dir.domains))
        parts += [
            Missing(f'{name} was skipped in the test: {reason}')
            for name, reason in (work_dir.domains.get('skipped') or {}).items()
        ]
    elif work_dir.test_metrics:
        rows = [[name, f'{value:.4g}'] for name, value in work_dir.test_metrics.items() if 'accuracy/' in name]
        parts.append(Table('Newest test in this folder: accuracy in percent', ['figure', 'value'], rows))
    else:
        parts.append(Missing('No test has been run in this folder; tools/test.py with --work-dir leaves its figures here.'))
    if held_out:
        few = '' if len(held_out.labels) == held_out.total else f' of {held_out.total}, equally many of each class'
        parts.append(
            Table(
                f'Computed for this report from {work_dir.checkpoint.name}, in percent, on the {split} split of '
                f'{held_out.dataset}: {len(held_out.labels)} pictures{few}',
                ['prediction', 'accuracy'],
                [[label, f'{held_out.accuracy(branch):.2f}'] for branch, label in BRANCHES.items()],
            )
        )
    else:
        parts.append(Missing(f'Nothing was computed for this report: {why_not}'))
    return Section('accuracy', 'Accuracy', parts)


def _table_of_domains(domains):
    headings = [
        'set',
        'pictures',
        'classes',
        *(f'{label}, accuracy' for label in BRANCHES.values()),
        *(f'{label}, ECE' for label in BRANCHES.values()),
    ]
    rows = []
    for entry in domains['sets']:
        figures = [entry[kind].get(branch) for kind in ('accuracy', 'ece') for branch in BRANCHES]
        rows.append([entry['name'], str(entry['pictures']), str(entry['classes']), *map(_two_digits, figures)])
    for group, label in (('mean_of_targets', 'mean of targets'), ('mean_of_all', 'mean of all')):
        figures = [
            domains.get('means', {}).get(f'{group}/{kind}/{branch}') for kind in ('accuracy', 'ece') for branch in BRANCHES
        ]
        if any(figure is not None for figure in figures):
            rows.append([label, '', '', *map(_two_digits, figures)])
    return Table('Newest test in this folder, in percent. ECE: expected calibration error', headings, rows)


def _checkpoint_section(work_dir):
    title = 'Checkpoint'
    if work_dir.checkpoint is None:
        return Section('checkpoint', title, [Missing(f'No checkpoint: {work_dir.missing["checkpoint"]}.')])
    content, why = _attempt(read_checkpoint, work_dir.checkpoint)
    if content is None:
        return Section('checkpoint', title, [Missing(why)])
    state, meta = content.get('state_dict') or {}, content.get('meta') or {}
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor)]
    rows = [
        ['file', work_dir.checkpoint.name],
        ['size', f'{work_dir.checkpoint.stat().st_size / 1e6:.2f} MB'],
        ['numbers in its state', f'{sum(tensor.numel() for tensor in tensors):,}'],
    ]
    rows += [[name, str(meta[name])] for name in ('epoch', 'iter', 'seed') if name in meta]
    rows += [[f'trained on: {name}', str(value)] for name, value in (meta.get('origin') or {}).items()]
    if DESCRIPTION_KEY in state:
        description, why = _attempt(read_description, state[DESCRIPTION_KEY])
        rows += (
            [['description', why]]
            if why
            else [[f'base: {name}', str(value)] for name, value in description.pop('base', {}).items()]
        )
        rows += [[name.replace('_', ' '), _as_text(value)] for name, value in (description or {}).items()]
    return Section('checkpoint', title, [Table('What the checkpoint says of itself', ['entry', 'value'], rows)])


def _config_section(work_dir):
    if work_dir.config is None:
        return Section('config', 'Config', [Missing(f'No config: {work_dir.missing["config"]}.')])
    return Section('config', 'Config', [Listing('The whole config', work_dir.config.pretty_text)])


def _environment_section(work_dir):
    rows = [[name, value] for name, value in work_dir.environment.items()]
    parts = (
        [Table('Of the training, from its log', ['entry', 'value'], rows)]
        if rows
        else [Missing(f"Nothing is known of the training's machine: {work_dir.missing['environment']}.")]
    )
    here = [[name, value] for name, value in versions().items()]
    return Section('environment', 'Environment', [*parts, Table('Versions that made this report', ['entry', 'value'], here)])


def _last_of(records):
    """Return the newest value of every figure."""
    return {name: value for record in records for name, value in record.items()}


def _two_digits(value):
    return '-' if value is None else f'{value:.2f}'


def _as_text(value):
    return ', '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
