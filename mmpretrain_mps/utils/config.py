"""What the command line changes in a config, checked and carried to every place that uses it."""

import copy
import inspect
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from .config_checks import check_new_keys, did_you_mean, walk
from .option_values import with_values

# Keys that mmengine or mmpretrain read from a config although Runner's signature does not name them.
OPTIONAL_KEYS = frozenset(
    {
        'activation_checkpointing',
        'compile',
        'custom_imports',
        'efficient_conv_bn_eval',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'runner_type',
        'sync_bn',
        'tta_model',
        'tta_pipeline',
    }
)
RUNNER_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}


def apply_options(cfg: Config, options: dict[str, Any] | None) -> None:
    """Merge ``--cfg-options`` into a config: names checked, short cuts carried on, explicit nested options last.

    Args:
        cfg (Config): Changed in place.
        options (dict | None): Dotted names to values, typed ones as :class:`.option_values.Typed`.

    Raises:
        ValueError: If a name starts with a key that is neither in the config nor known to the runner, or a part of the
            config does not take it, or it stands for a part of what is no mapping and no list.
    """
    if not options:
        return
    check_option_names(cfg, options)
    check_new_keys(cfg, options)
    options = with_values(cfg, options)
    propagate(cfg, options)
    stretch_schedule(cfg, options)
    try:
        cfg.merge_from_dict(copy.deepcopy(options))  # which takes `_delete_` out of what it is given
    except (KeyError, TypeError) as error:
        reason = error.args[0] if error.args else error
        raise ValueError(f'--cfg-options cannot be put into the config: {reason}') from None


def stretch_schedule(cfg: Config, options: dict[str, Any]) -> None:
    """Let schedules and validation end with the training when ``train_cfg.max_epochs`` or ``.max_iters`` is overridden.

    A schedule of 50 epochs that is cut after 10 would stop near its full rate. Settings that are options themselves, and
    those that do not end with the training, stay as they are; one that would start behind the end is left out. Call it
    before the options are merged.

    Args:
        cfg (Config): Changed in place.
        options (dict): Dotted names to values.
    """
    schedulers = cfg.get('param_scheduler') or []
    if any(name.startswith('param_scheduler') for name in options):
        schedulers = []
    for length, by_epoch in (('max_epochs', True), ('max_iters', False)):
        new, old = options.get(f'train_cfg.{length}'), (cfg.get('train_cfg') or {}).get(length)
        if new is None or old is None:
            continue
        of_length = [
            section
            for section in (schedulers if isinstance(schedulers, list) else [schedulers])
            if section.get('by_epoch', True) == by_epoch
        ]
        for section in [cfg.train_cfg, *of_length]:
            for key in ('T_max', 'end', 'val_interval'):
                if section.get(key) == old:
                    section[key] = new
        over = [section for section in of_length if 'end' in section and section.end <= section.get('begin', 0)]
        if over and isinstance(schedulers, list):
            cfg.param_scheduler = [section for section in schedulers if section not in over]


def check_option_names(cfg: Config, options: dict[str, Any]) -> None:
    """Refuse options whose first part does not exist, since a misspelt name would otherwise change nothing.

    New keys *below* an existing section are allowed: the part that is built from the section judges them.

    Args:
        cfg (Config): The config that the options are for.
        options (dict): Dotted names to values.

    Raises:
        ValueError: Names every unknown option and the nearest existing names.
    """
    known = set(cfg.keys()) | RUNNER_KEYS | OPTIONAL_KEYS
    faults = [f'{name!r}{_nearest_names(cfg, name, known)}' for name in options if name.split('.')[0] not in known]
    if faults:
        where = cfg.filename if isinstance(cfg, Config) and cfg.filename else 'the config'
        raise ValueError(f'--cfg-options names what {where} does not have: ' + '; '.join(faults))


def _nearest_names(cfg, name, known):
    """Return where the config has the same key, for its section is easily forgotten, or else what is spelt alike."""
    # Others are copies that were put in already, or what a method would change.
    built = {key: value for key, value in cfg.items() if key in RUNNER_KEYS | OPTIONAL_KEYS}
    places = [place for place, *_ in walk(built) if place.endswith(f'.{name}')]
    listed = sorted(places, key=lambda place: place.count('.'))[:3]
    return f' (did you mean {" or ".join(map(repr, listed))}?)' if listed else did_you_mean(name.split('.')[0], sorted(known))


def propagate(cfg: Config, options: dict[str, Any]) -> None:
    """Carry overridden top-level values to the nested settings that were written with them.

    A config says ``seed = 1`` once and uses it in several places (``randomness = dict(seed=seed)``); after the file has
    been read these are separate copies. For every overridden top-level plain value, each nested setting of the same key
    whose value equals the old one is replaced. Call it before the options are merged, while the old values are known.

    Args:
        cfg (Config): Changed in place.
        options (dict): Dotted names to values; only names without a dot are carried on.
    """
    for name, new in options.items():
        if '.' in name or name not in cfg or not _is_plain_value(cfg[name]) or not _is_plain_value(new):
            continue
        for key in list(cfg.keys()):
            if key != name:
                _replace_nested(cfg[key], name, cfg[name], new)
        cfg[name] = new


def _is_plain_value(value):
    return value is None or isinstance(value, (bool, int, float, str))


def _replace_nested(node, key, old, new):
    if isinstance(node, dict):
        for name, value in list(node.items()):
            # `True == 1` in Python, but a switch is not a number.
            if name == key and type(value) is type(old) and value == old:
                node[name] = new
            else:
                _replace_nested(value, key, old, new)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _replace_nested(value, key, old, new)
