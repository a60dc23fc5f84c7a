"""How a training went: losses, accuracies, temperature, learning rate, and the distance that alignment bounds."""

import re
from functools import partial

from .contents import Missing, Plot, Section
from .style import BRANCHES, Line, branch_line, draw_lines
from .work_dir import WorkDir

TEMPERATURE = 'Of the sculpting loss; a low one looks at the nearest pictures and texts alone.'
LOSS_LABELS = {
    'loss': 'sum of all terms',
    'loss_ce': 'cross-entropy',
    'loss_gram_global': 'alignment, global',
    'loss_gram_local': 'alignment, local',
    'loss_point_cls': 'points held, [CLS]',
    'loss_point_patch': 'points held, patches',
    'loss_logit_kl': 'consistency of logits',
}
# Stem, title, label of the axis, names of figures, caption.
CURVES = (
    ('losses', 'Losses', 'weighted loss', 'loss', 'Every term with its weight, averaged over the last steps.'),
    ('temperature', 'Temperature', 'temperature', 'temperature', TEMPERATURE),
    ('learning-rate', 'Learning rate', 'learning rate', 'lr$', 'As the schedule set it.'),
    ('gradient-norm', 'Gradient norm', 'norm', '^grad_norm$', 'Norm of the gradient of all tuned weights.'),
)
SCULPT_LAYER = re.compile(r'loss_sculpt_layer(\d+)')
GW_LABELS = {
    'gw/bound': 'bound: identity as coupling',
    'gw/exact': 'distance: best coupling found',
    'gw/entropic': 'distance: entropic',
}


def training_section(work_dir: WorkDir) -> Section:
    """Draw the curves of a training; what is missing is named."""
    if not work_dir.records:
        return Section('training', 'Training', [Missing(f'No curves: {work_dir.missing["records"]}.')])
    parts, draw = _progress(work_dir), partial(_plot, work_dir.unit)
    for stem, title, label, pattern, caption in CURVES:
        names = [name for name in work_dir.names() if re.search(pattern, name)]
        lines = [Line(_label_of(name), *work_dir.course(name), colour=index) for index, name in enumerate(names)]
        # The sum is no term: it is drawn as text is, and dashed.
        lines = [line._replace(colour=-1, dashed=True) if line.label == LOSS_LABELS['loss'] else line for line in lines]
        parts += draw(stem, title, label, lines, caption)
    for stem, title, prefix, validation, caption in (
        ('training-accuracy', 'Accuracy in training', 'acc_', False, 'On augmented views of the pictures that are trained on.'),
        ('validation-accuracy', 'Accuracy in validation', 'accuracy/', True, 'On pictures that are not trained on.'),
    ):
        known = [branch for branch in BRANCHES if prefix + branch in work_dir.names(validation)]
        lines = [branch_line(branch, *work_dir.course(prefix + branch, validation)) for branch in known]
        parts += draw(stem, title, 'accuracy (%)', lines, caption)
    if not work_dir.validation:
        parts.append(Missing('No accuracy on validation pictures: no validation has been logged.'))
    return Section('training', 'Training', parts)


def gw_section(work_dir: WorkDir) -> Section:
    """Draw the Gromov-Wasserstein distance and the bound on it over the validations; what is missing is named."""
    title = 'Distance of the geometries and its bound'
    names = work_dir.names(validation=True)
    if 'gw/bound' not in names:
        text = 'No validation has logged gw/bound and gw/exact. To log them, add dict(type="GromovWassersteinDistance") to '
        return Section('gromov-wasserstein', title, [Missing(text + 'val_evaluator.')])
    # Dashed, so that the bound is seen where the distance is equal to it.
    lines = [
        Line(label, *work_dir.course(name, validation=True), colour=index, dashed=name == 'gw/exact')
        for index, (name, label) in enumerate(GW_LABELS.items())
        if name in names
    ]
    about = (
        'How far the relations of the pictures have moved from those before tuning, measured as the Gromov-Wasserstein '
        'distance (squared). Alignment minimises its bound, in which every picture corresponds to itself.'
    )
    caption = (
        'Where the lines meet, nothing is given away by the bound. The distance is the smallest that was found; the '
        'true minimum may be smaller still.'
    )
    draw = partial(_plot, work_dir.unit)
    parts = [about, *draw('gw-bound', 'Distance and bound', 'mean squared difference of cosines', lines, caption)]
    if 'gw/tightness' in names:
        lines = [Line('', *work_dir.course('gw/tightness', validation=True), colour=0)]
        parts += draw('gw-tightness', 'Distance over bound', 'share', lines, '1: the bound is the distance.')
    return Section('gromov-wasserstein', title, parts)


def _progress(work_dir):
    """Tell how far the training has come, where that is not its end."""
    planned = ((work_dir.config or {}).get('train_cfg') or {}).get('max_epochs')
    reached = max((record.get('epoch', 0) for record in work_dir.training), default=0)
    if planned and reached and reached < planned:
        return [Missing(f'The training has not come to its end: epoch {reached} of {planned} is the last one logged.')]
    return []


def _plot(unit, stem, title, label, lines, caption):
    """Return the plot of some lines; none without a line."""
    return [Plot(stem, caption, partial(draw_lines, title, unit, label, lines))] if lines else []


def _label_of(name):
    layer = SCULPT_LAYER.fullmatch(name)
    if layer:
        return f'sculpting, layer {layer[1]}' + (' (output)' if layer[1] == '0' else '')
    return LOSS_LABELS.get(name, name.replace('_', ' '))
