"""The sections about a training: what its work directory says, and what its checkpoint does to pictures."""

import torch

from ..benchmark.cell_run import versions
from ..benchmark.files import listed
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
from .work_dir import WorkDir

FEATURE_SECTIONS = {'gram': 'Relations of pictures', 'maps': 'Maps of features', 'predictions': 'Predictions'}


def run_sections(
    work_dir: WorkDir, split: str = 'test', max_pictures: int | None = None, with_model: bool = True
) -> list[Section]:
    """Make the sections of a training. What cannot be shown is named, and stops nothing else.

    Pictures are those of the split ``'test'`` or ``'val'``, or so many of them; without the model, only what the log and the
    checkpoint say is shown.
    """
    loaded, why = _attempt(_load, work_dir, with_model)
    model, origin = loaded or (None, {})
    held_out, why_not = _attempt(extract, work_dir.config, model, origin, split, max_pictures) if model else (None, why)
    features = [Section(name, title, [Missing(f'Not shown: {why_not}')]) for name, title in FEATURE_SECTIONS.items()]
    if held_out:
        predictions = prediction_section(held_out, model.head.alpha, model.head.fusion)
        features = [gram_section(held_out), map_section(held_out), predictions]
    drift = _drift_section(model, why)
    # The newest value of every figure.
    figures = {name: value for record in [*work_dir.validation, work_dir.test_metrics] for name, value in record.items()}
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
    if work_dir.domains:
        skipped = (work_dir.domains.get('skipped') or {}).items()
        parts = [_table_of_domains(work_dir.domains)]
        parts += [Missing(f'{name} was skipped in the test: {reason}') for name, reason in skipped]
    elif work_dir.test_metrics:
        rows = [[name, f'{value:.4g}'] for name, value in work_dir.test_metrics.items() if 'accuracy/' in name]
        parts = [Table('Newest test in this folder: accuracy in percent', ['figure', 'value'], rows)]
    else:
        parts = [Missing('No test has been run in this folder; tools/test.py with --work-dir leaves its figures here.')]
    if held_out:
        few = '' if len(held_out.labels) == held_out.total else f' of {held_out.total}, equally many of each class'
        caption = (
            f'Computed for this report from {work_dir.checkpoint.name}, in percent, on the {split} split of {held_out.dataset}: '
            f'{len(held_out.labels)} pictures{few}'
        )
        rows = [[label, f'{held_out.accuracy(branch):.2f}'] for branch, label in BRANCHES.items()]
        parts.append(Table(caption, ['prediction', 'accuracy'], rows))
    else:
        parts.append(Missing(f'Nothing was computed for this report: {why_not}'))
    return Section('accuracy', 'Accuracy', parts)


def _table_of_domains(domains):
    figures = [(kind, branch) for kind in ('accuracy', 'ece') for branch in BRANCHES]
    titles = {'accuracy': 'accuracy', 'ece': 'ECE'}
    headings = ['set', 'pictures', 'classes', *(f'{BRANCHES[branch]}, {titles[kind]}' for kind, branch in figures)]
    rows = []
    for entry in domains['sets']:
        values = [entry[kind].get(branch) for kind, branch in figures]
        rows.append([entry['name'], str(entry['pictures']), str(entry['classes']), *map(_two_digits, values)])
    for group, label in (('mean_of_targets', 'mean of targets'), ('mean_of_all', 'mean of all')):
        values = [domains.get('means', {}).get(f'{group}/{kind}/{branch}') for kind, branch in figures]
        if any(value is not None for value in values):
            rows.append([label, '', '', *map(_two_digits, values)])
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
        if why:
            rows.append(['description', why])
        else:
            rows += [[f'base: {name}', str(value)] for name, value in description.pop('base', {}).items()]
            rows += [[name.replace('_', ' '), ', '.join(map(str, listed(value)))] for name, value in description.items()]
    return Section('checkpoint', title, [Table('What the checkpoint says of itself', ['entry', 'value'], rows)])


def _config_section(work_dir):
    if work_dir.config is None:
        return Section('config', 'Config', [Missing(f'No config: {work_dir.missing["config"]}.')])
    return Section('config', 'Config', [Listing('The whole config', work_dir.config.pretty_text)])


def _environment_section(work_dir):
    if work_dir.environment:
        training = Table('Of the training, from its log', ['entry', 'value'], list(map(list, work_dir.environment.items())))
    else:
        training = Missing(f"Nothing is known of the training's machine: {work_dir.missing['environment']}.")
    here = Table('Versions that made this report', ['entry', 'value'], list(map(list, versions().items())))
    return Section('environment', 'Environment', [training, here])


def _two_digits(value):
    return '-' if value is None else f'{value:.2f}'
