"""Any method on any config: what a method owns is replaced by the method's base file, everything else stays."""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmpretrain.registry import DATASETS

from .config import apply_options
from .config_files import read_program
from .places import config_folder

METHOD_FOLDER = config_folder() / '_base_' / 'methods'
RECIPES = ('default', 'official')
TASKS = ('few_shot', 'base_to_new', 'transfer')
# What a method's base file may hold. Loops of validation and testing are there so that a config can consist of base files;
# a config that has its own keeps them.
OWNED = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr', 'batch_size', 'views', 'method')
ALLOWED = (*OWNED, 'architecture', 'pretrained', 'val_cfg', 'test_cfg')
METHOD_KEYS = ('name', 'label', 'hooks', 'cases')
CONDITIONS = ('recipe', 'tasks', 'datasets', 'architectures', 'min_shots')
CHANGES = ('set', 'set_per_shot')
# In the place of `views`: the training pictures are prepared as for testing.
TEST_VIEWS = 'test'


class Situation(NamedTuple):
    """What the cases of a method tell apart."""

    recipe: str
    task: str
    dataset: str
    """Name in the catalog, or the type of a data set that is not there."""
    architecture: str
    shots: int | None


def method_names() -> list:
    """Return the names of the methods that have a base file."""
    return sorted(path.stem for path in METHOD_FOLDER.glob('*.py'))


def read_method(method: str) -> Config:
    """Read the base file of a method.

    Args:
        method (str): Its name, or the path of a base file.

    Returns:
        Config: A copy, with ``method.name``, ``.label``, ``.hooks`` and ``.cases``.

    Raises:
        ValueError: If there is no such method, or its file holds what belongs to no method.
    """
    path = Path(method) if method.endswith('.py') else METHOD_FOLDER / f'{method}.py'
    if not path.is_file():
        raise ValueError(
            f'there is no method {method!r}: expected one of {", ".join(method_names()) or "none"} (files of '
            f'{METHOD_FOLDER}), or the path of such a file'
        )
    return copy.deepcopy(_read(str(path.resolve())))


@functools.cache
def _read(path):
    content = read_program(path)
    about = content.get('method') or {}
    strangers = [key for key in content if key not in ALLOWED]
    missing = [key for key in ('model', 'method', 'batch_size', 'views') if key not in content]
    missing += [f'method.{key}' for key in ('name', 'label') if key not in about]
    if strangers or missing:
        what = [f'holds {", ".join(strangers)}'] * bool(strangers) + [f'lacks {", ".join(missing)}'] * bool(missing)
        raise ValueError(
            f'method file {path} {" and ".join(what)}; expected {", ".join(ALLOWED)}, with {", ".join(METHOD_KEYS)} in method'
        )
    _check_keys(f'{path}: method', about, METHOD_KEYS)
    about.setdefault('hooks', ConfigDict())
    about.setdefault('cases', [])
    for case in about.cases:
        _check_keys(f'{path}: a case', case, (*CONDITIONS, *CHANGES))
        _check_choice(f'{path}: a case', 'recipe', [case['recipe']] if 'recipe' in case else [], RECIPES)
        _check_choice(f'{path}: a case', 'tasks', case.get('tasks', []), TASKS)
    return content


def replace_method(cfg: Config, method: str, recipe: str = 'default', options: dict | None = None) -> None:
    """Replace what a method owns in a config, then apply the cases of the method, then options.

    Kept are data, loops of validation and testing, how often there is a validation within training, runtime, and the CLIP:
    its architecture and weights. Options have the last word, and a say in the cases: they may change the number of shots.

    Args:
        cfg (Config): Changed in place; ``method`` then says what was taken.
        method (str): Name of a method, or the path of a base file.
        recipe (str): ``'default'`` or ``'official'``.
        options (dict, optional): Of ``--cfg-options``.

    Raises:
        ValueError: If there is no such method or recipe, an option names what does not exist, or the method does not fit
            the config.
    """
    _check_choice('--recipe', 'recipe', [recipe], RECIPES)
    content = read_method(method)
    _put(cfg, content)
    with_options = copy.deepcopy(cfg)
    apply_options(with_options, options)
    situation = situation_of(with_options, recipe)
    for case in content.method.cases:
        if applies(case, situation):
            apply_options(cfg, changes_of(case, situation))
    if cfg.get('keep_crops') and cfg.train_dataloader:
        cfg.train_dataloader.dataset.get('views', {}).pop('scale', None)
    apply_options(cfg, options)
    cfg.method = dict(name=content.method.name, label=content.method.label, recipe=recipe, hooks=content.method.hooks)


def other_values(cfg: Config, options: dict | None) -> dict:
    """Find what the recipe of a config's method says of another number of shots than the one the config was written for.

    A config says what it says, whatever is changed from outside; only ``--method`` takes cases anew.

    Args:
        cfg (Config): As its file has it, before the options are applied.
        options (dict, optional): Of ``--cfg-options``.

    Returns:
        dict: Dotted names to values that the default recipe has instead; empty unless the options change the shots.
    """
    about: Any = cfg.get('method') or {}
    options = options or {}
    if 'num_shots' not in options or about.get('name') not in method_names():
        return {}
    as_written, changed = copy.deepcopy(cfg), copy.deepcopy(cfg)
    replace_method(as_written, about.name)
    replace_method(changed, about.name, options=options)
    names = dict.fromkeys(name for case in about.get('cases') or () for key in CHANGES for name in case.get(key) or ())
    return {
        name: value_of(changed, name)
        for name in names
        if name not in options and value_of(changed, name) != value_of(as_written, name)
    }


def value_of(cfg: Config, name: str) -> Any:
    """Return the value that a dotted name has in a config, None if it has none."""
    for part in name.split('.'):
        cfg = cfg.get(part) if hasattr(cfg, 'get') else None
    return cfg


def situation_of(cfg: Config, recipe: str) -> Situation:
    """Return what the cases of a method look at.

    Args:
        cfg (Config): With its options applied.
        recipe (str): ``'default'`` or ``'official'``.

    Returns:
        Situation: Of the config; ``shots`` is None where the training data set does not say it.

    Raises:
        ValueError: If the config names a task that there is not.
    """
    task = cfg.get('task', TASKS[0])
    _check_choice(cfg.filename or 'the config', 'task', [task], TASKS)
    dataset = (cfg.get('train_dataloader') or cfg.get('test_dataloader') or {}).get('dataset') or {}
    shots = dataset.get('num_shots')
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    kind = dataset.get('type', '')
    found = DATASETS.get(kind) if isinstance(kind, str) and kind else kind
    spec = getattr(found, 'SPEC', None)
    name = spec.name if spec is not None else kind if isinstance(kind, str) else kind.__name__
    return Situation(recipe, task, name, _architecture_of(cfg), shots)


def _architecture_of(cfg):
    """Return the architecture, of which all mini CLIPs, embedded or one's own, are the same."""
    # Which bring the models along.
    from ..models.loading.clip_loader import mini_folder
    from ..models.loading.names import EMBEDDED_ARCHITECTURE

    architecture = str(cfg.model.get('architecture'))
    return EMBEDDED_ARCHITECTURE if mini_folder(architecture) else architecture


def applies(case: dict, situation: Situation) -> bool:
    """Say whether a case is one of the given situation: all of its conditions hold.

    Args:
        case (dict): ``recipe``, ``tasks``, ``datasets``, ``architectures``, ``min_shots``; what is left out holds.
        situation (Situation): Of a config.
    """
    return (
        case.get('recipe', situation.recipe) == situation.recipe
        and situation.task in case.get('tasks', TASKS)
        and situation.dataset in case.get('datasets', (situation.dataset,))
        and situation.architecture in case.get('architectures', (situation.architecture,))
        and case.get('min_shots', 0) <= (situation.shots or 0)
    )


def changes_of(case: dict, situation: Situation) -> dict:
    """Return the options that a case stands for.

    Args:
        case (dict): ``set``: dotted names to values; ``set_per_shot``: to numbers that the shots are multiplied with.
        situation (Situation): Of a config.
    """
    per_shot = case.get('set_per_shot') or {}
    return {**(case.get('set') or {}), **{name: number * (situation.shots or 1) for name, number in per_shot.items()}}


def _put(cfg, content):
    """Put the content of a method's base file into a config, with the CLIP of the config."""
    model = cfg.get('model') or {}
    clip = {name: model.get(name, cfg.get(name)) for name in ('architecture', 'pretrained') if name in model or name in cfg}
    apply_options(content, clip)
    _remove_hooks(cfg)
    _keep_validation(cfg.get('train_cfg') or {}, content.train_cfg or {})
    for key in OWNED:
        cfg.pop(key, None)
        if key in content and key != 'views':
            cfg[key] = copy.deepcopy(content[key])
    for key in ('architecture', 'pretrained'):
        cfg[key] = content[key]
    for name, hook in content.method.hooks.items():
        cfg.default_hooks[name] = {**(cfg.default_hooks.get(name) or {}), **hook}
    if content.train_cfg is None:
        cfg.train_dataloader = None  # a runner has all of its training or nothing
        return
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{content.method.name} is trained, but the config has no train_dataloader')
    cfg.train_dataloader.batch_size = content.batch_size
    _put_views(cfg, content.views, content.method.name)


def _remove_hooks(cfg):
    """Take out of a config what its present method adds to the hooks."""
    for name, added in (cfg.get('method') or {}).get('hooks', {}).items():
        hook = cfg.default_hooks.get(name) or {}
        for key in added:
            hook.pop(key, None)
        if 'type' not in hook:
            cfg.default_hooks.pop(name, None)


def _keep_validation(old, new):
    """Validate within training as often as before; validation at the end alone stays at the end, whenever that is."""
    interval = old.get('val_interval')
    if 'max_epochs' in old and 'max_epochs' in new and interval not in (None, old['max_epochs']):
        new['val_interval'] = interval


def _put_views(cfg, views, method):
    outer = cfg.train_dataloader.dataset
    outer.pop('views', None)
    inner = outer.get('dataset') or outer
    if views == TEST_VIEWS:
        if not cfg.get('test_dataloader'):
            raise ValueError(
                f'{method} takes training pictures as they are prepared for testing, but the config has no '
                'test_dataloader that says how'
            )
        test = cfg.test_dataloader.dataset
        while 'pipeline' not in test and 'dataset' in test:
            test = test.dataset
        inner.pipeline = copy.deepcopy(test.pipeline)
        return
    if not any(step.get('type') == 'DualView' for step in inner.get('pipeline') or ()):
        if 'train_pipeline' not in cfg:
            raise ValueError(
                f'{method} draws views of training pictures, but the pipeline of train_dataloader.dataset '
                'has no DualView, and the config no train_pipeline that could take its place'
            )
        inner.pipeline = copy.deepcopy(cfg.train_pipeline)
    if views:
        if inner is outer:
            raise ValueError(
                f'{method} draws views of training pictures, which FewShotDataset does for a data set that '
                f'it wraps, but the config trains on {outer.get("type")} directly'
            )
        outer.views = copy.deepcopy(views)


def _check_keys(owner, section, known: Sequence[str]):
    strangers = [key for key in section if key not in known]
    if strangers:
        raise ValueError(f'{owner} holds {", ".join(map(repr, strangers))}; expected some of {", ".join(known)}')


def _check_choice(owner, what, values, known):
    for value in values:
        if value not in known:
            raise ValueError(f'{owner}: {what} {value!r} is unknown; expected {" or ".join(map(repr, known))}')
