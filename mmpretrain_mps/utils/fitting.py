"""Whether what a checkpoint holds fits what it is loaded into: mmengine loads what fits, and prints a line about the rest."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from .files import parse_json

DESCRIPTION_KEY = '_extra_state'


def check_weights(checkpoint: Mapping[str, Any], model: nn.Module, source: Any) -> dict[str, Any]:
    """Refuse a checkpoint whose weights are not exactly those of a model.

    Args:
        checkpoint (dict): As it was read.
        model (nn.Module): That it is to be loaded into. Axes of its weights that are still empty may have any length, the
            first of them that of the classes.
        source (str | Path): The file; opens the message.

    Returns:
        dict[str, Tensor]: The weights, ready to be loaded.

    Raises:
        ValueError: If weights are missing or too many, have another shape or kind of number, or hold what is no number.
    """
    state = checkpoint.get('state_dict') if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f'checkpoint {source} has no state_dict with weights; found {_kind_of(state)}')
    theirs, ours = _described(state, 'method'), getattr(model, 'method', None)
    if theirs and ours and theirs != ours:
        raise ValueError(
            f'checkpoint {source} is of the method {theirs}, but the model is one of {ours}; the tools take --method {theirs}'
        )
    module: Any = model  # may be one of this package, which has more than a module
    if DESCRIPTION_KEY in state and hasattr(module, 'check_description'):
        module.check_description(state[DESCRIPTION_KEY])  # which knows why the weights are others
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    if missing and DESCRIPTION_KEY not in missing:  # without a description it is none of ours, which the model says
        raise ValueError(
            f'checkpoint {source} lacks {len(missing)} of the {len(expected)} weights of the model, among them '
            f'{missing[0]}: it is incomplete, or of another model'
        )
    strange = [name for name in state if name not in expected and name != DESCRIPTION_KEY]
    if strange and DESCRIPTION_KEY in state:
        raise ValueError(
            f'checkpoint {source} has {len(strange)} weights that the model has not, among them '
            f'{strange[0]}: it is of another model'
        )
    classes = _number_of_classes(state) or 'classes'
    # Other axes that are still empty, such as that of TAC's clusters, are not those of the classes.
    of_classes = {*module._class_buffers, *module._class_parameters} if hasattr(module, '_class_buffers') else expected
    for name, ours in expected.items():
        if name in state and isinstance(ours, torch.Tensor) and name != DESCRIPTION_KEY:
            fault = _fault_of(state[name], ours, classes if name in of_classes else 'any')
            if fault:
                raise ValueError(f'checkpoint {source}: {name} {fault}')
    return dict(state)


def check_training_state(
    checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer | None, source: Any, num_schedules: int | None = None
) -> None:
    """Refuse a checkpoint that a training cannot go on from exactly.

    Args:
        checkpoint (dict): As it was read.
        optimizer (Optimizer, optional): Of the run; None for those of several, which are not looked into.
        source (str | Path): The file; opens the message.
        num_schedules (int, optional): How many schedules the run has, None if that is not known. Without any, mmengine
            writes no states of them.

    Raises:
        ValueError: Says what is missing, or of another kind than mmengine writes.
    """
    schedules: list[tuple[str, Any]] = [('param_schedulers', (list, Mapping))] if num_schedules != 0 else []
    for name, kind in (('meta', Mapping), ('message_hub', Mapping), ('optimizer', Mapping), *schedules):
        if not isinstance(checkpoint.get(name), kind):
            raise ValueError(
                f'checkpoint {source} cannot be resumed: its {name} is {_kind_of(checkpoint.get(name))}. Start a '
                'new training from its weights with --cfg-options load_from=FILE'
            )
    meta = checkpoint['meta']
    for name in ('epoch', 'iter'):
        if not _is_count(meta.get(name)):
            raise ValueError(
                f'checkpoint {source} cannot be resumed: its {name} is {meta.get(name)!r}, expected a whole number from 0 on'
            )
    if meta.get('seed') is not None and not (_is_count(meta['seed']) and meta['seed'] < 2**32):
        raise ValueError(f'checkpoint {source} cannot be resumed: its seed is {meta["seed"]!r}, expected a whole number')
    for name in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(checkpoint['message_hub'].get(name), Mapping):
            raise ValueError(
                f'checkpoint {source} cannot be resumed: {name} of its message_hub is '
                f'{_kind_of(checkpoint["message_hub"].get(name))}, expected a mapping'
            )
    if optimizer is not None:
        _check_optimizer(checkpoint['optimizer'], optimizer, source)
    _check_schedulers(checkpoint.get('param_schedulers') or [], num_schedules, source)


def _check_optimizer(state, optimizer, source):
    groups, moments = state.get('param_groups'), state.get('state')
    where = f'checkpoint {source} cannot be resumed: its optimizer'
    if (
        not isinstance(groups, list)
        or not isinstance(moments, Mapping)
        or not all(isinstance(group, Mapping) and isinstance(group.get('params'), list) for group in groups)
    ):
        raise ValueError(f'{where} is not of the form that torch writes')
    counts = [len(group['params']) for group in groups], [len(group['params']) for group in optimizer.param_groups]
    if counts[0] != counts[1]:
        raise ValueError(f'{where} has groups of {counts[0]} weights, but that of the run has groups of {counts[1]}')
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    for number, parameter in zip((number for group in groups for number in group['params']), parameters):
        for name, value in (moments.get(number) or {}).items():
            if isinstance(value, torch.Tensor) and value.ndim and (fault := _fault_of(value, parameter)):
                raise ValueError(f'{where}: {name} of weight {number} {fault}')


def _check_schedulers(schedulers, expected, source):
    listed = schedulers if isinstance(schedulers, list) else [one for many in schedulers.values() for one in many]
    wrong = [one for one in listed if not isinstance(one, Mapping)]
    if wrong:
        raise ValueError(
            f'checkpoint {source} cannot be resumed: one of its param_schedulers is {_kind_of(wrong[0])}, expected a mapping'
        )
    if expected is not None and len(listed) != expected:
        raise ValueError(
            f'checkpoint {source} cannot be resumed: it has the states of {len(listed)} schedules, but the run has {expected}'
        )


def _fault_of(theirs, ours, classes='classes'):
    """Return what is wrong with a tensor of a checkpoint, or None."""
    if not isinstance(theirs, torch.Tensor):
        return f'is {_kind_of(theirs)}, expected a tensor'
    # What is empty still, such as the classes, comes with the checkpoint.
    wanted = [size or 'any' for size in ours.shape]
    if wanted and wanted[0] == 'any':
        wanted[0] = classes
    differ = [isinstance(size, int) and size != found for size, found in zip(wanted, theirs.shape)]
    if theirs.ndim != ours.ndim or any(differ):
        return f'has the shape {tuple(theirs.shape)}, expected {tuple(wanted)}'
    if theirs.numel() * theirs.element_size() > theirs.untyped_storage().nbytes():
        return 'claims more numbers than it holds'
    for kind in ('is_floating_point', 'is_complex'):
        if getattr(theirs, kind)() != getattr(ours, kind)():
            return f'holds {theirs.dtype}, expected {ours.dtype}'
    # A model may use nan for what is not known yet.
    if theirs.is_floating_point() and not torch.isfinite(theirs).all() and torch.isfinite(ours).all():
        return 'holds values that are no finite numbers (nan or inf)'
    return None


def _number_of_classes(state):
    """Return how many classes a checkpoint says that it has, None if it does not say."""
    names = _described(state, 'class_names')
    return len(names) if isinstance(names, list) else None


def _described(state, key):
    """Return what a checkpoint says of itself, None if it does not."""
    description = state.get(DESCRIPTION_KEY)
    if not isinstance(description, torch.Tensor) or description.dtype != torch.uint8:
        return None
    try:
        return parse_json(bytes(description.cpu().tolist()).decode(), 'description').get(key)
    except (ValueError, AttributeError):  # the model says what is wrong with it
        return None


def _is_count(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= value < 2**53


def _kind_of(value):
    return 'missing' if value is None else 'empty' if value == {} else f'a {type(value).__name__}'
