"""What a grid of few-shot runs consists of, and what each of its cells is."""

import argparse
import copy
import hashlib
import itertools
import json
from pathlib import Path
from typing import NamedTuple

from ..engine import command_line
from ..utils.config import OPTIONAL_KEYS, RUNNER_KEYS
from ..utils.config_files import read_config_file
from ..utils.methods import read_method
from ..utils.option_values import with_values
from .files import check_named_config, read_mapping
from .selection import apply_selection

# What neither changes a result nor belongs to it: where it is written, what it looks like, how many processes load, hooks
# that only say what happens.
UNRELATED_KEYS = frozenset(
    {
        'runtime_info',
        'timer',
        'logger',
        'visualization',
        'work_dir',
        'load_from',
        'resume',
        'launcher',
        'log_level',
        'log_processor',
        'visualizer',
        'env_cfg',
        'num_workers',
        'persistent_workers',
        'pin_memory',
        'prefetch_factor',
        'cache_images',
        'cache_limit_mb',
        'views_on_device',
    }
)
# What runs did before there was a hook for it: cells of then are those of today.
AS_EVER = (
    dict(type='PrecisionHook', float32_precision='strict'),
    dict(type='FiniteLossHook'),
    dict(type='MidEpochHook'),
    dict(type='InterruptionHook'),
    *(dict(type='DeviceViewsHook', views_on_device=value) for value in ('auto', True, False)),  # the pixels are the same
)
# How many checkpoints are kept changes no figure; runs of before there were two for safety say so.
KEPT_CHECKPOINTS = {2: 1}
LIST = (list, tuple)
# What a grid file may hold, and of which kinds.
GRID_KEYS = dict(
    configs=LIST,
    datasets=LIST,
    setting=str,
    methods=LIST,
    shots=LIST,
    seeds=LIST,
    recipes=(*LIST, dict),
    definitions=dict,
    cfg_options=dict,
    targets=bool,
    published=dict,
)
# The method that changes of a grid are changes of; the configs that grids name are of it.
OWN_METHOD = 'mps'


class Treatment(NamedTuple):
    """What is done to every config of a grid."""

    label: str
    """As tables call it; '' for the config as it is."""
    method: str = ''
    """Name of the method in the place of the config's; '' for the config's own."""
    recipe: str = 'default'
    """Of the method."""
    changes: dict = {}
    """Further changes of the config."""


class Cell(NamedTuple):
    """One run of a grid."""

    config: str
    """Path of the config file."""
    recipe: str
    """Name of the variant; '' for the config as it is."""
    shots: int
    seed: int
    options: dict
    """Every change to the config, shots and seed included."""
    select: str
    """``'last'`` or ``'val'``: which checkpoint is reported."""
    with_targets: bool
    """Whether the targets of the config's test loop are tested too."""
    key: str = ''
    """SHA-256 of the whole config: cells of equal keys give equal results."""
    method: str = ''
    """Name of the method in the place of the config's; '' for the config's own."""
    method_recipe: str = 'default'

    @property
    def trains(self):
        """bool: False where the method is one that trains nothing; such a cell has no shots."""
        return self.shots > 0

    @property
    def name(self):
        """str: As progress lines call the cell."""
        recipe = f' {self.recipe}' if self.recipe else ''
        return f'{Path(self.config).stem}{recipe}' + (f', {self.shots} shots, seed {self.seed}' if self.trains else '')

    @property
    def folder(self):
        """Path: Below the folder of the grid. Another config gets another folder, therefore nothing stale is found."""
        group = Path(self.config).stem + (f'-{self.recipe}' if self.recipe else '')
        return Path(group, f'{self.shots}shots_seed{self.seed}-{self.key[:10]}')


def make_cells(configs, shots, seeds, recipes=None, options=None, select='last', with_targets=False, treatments=None):
    """Lay out a grid and check every cell before anything runs.

    Args:
        configs (Sequence[str | tuple[str, str]]): Config files, or pairs of the name of a recipe and its config file.
        shots (Sequence[int]): Pictures per class.
        seeds (Sequence[int]): Seeds of picks, order, augmentation and weights.
        recipes (dict[str, dict], optional): Name to changes of the config, each run in its own right.
        options (dict, optional): Changes to every config.
        select (str): ``'last'`` reports the last epoch, ``'val'`` the best one on the validation split.
        with_targets (bool): Test on the config's targets, too.
        treatments (Sequence[Treatment], optional): Methods, in the place of ``recipes``.

    Returns:
        list[Cell]: Config by config, recipe by recipe; few shots first. A method that trains nothing is one cell.

    Raises:
        FileNotFoundError: If a config does not exist.
        ValueError: If the grid is empty or has an entry twice, a number is not one of pictures or a seed, an option is
            unknown, or selection would be on test pictures.
    """
    configs = [entry if isinstance(entry, tuple) else ('', str(entry)) for entry in configs]
    _check_axis('shots', shots, 1)
    _check_axis('seeds', seeds, 0)
    if not configs:
        raise ValueError('the grid has no config and no data set')
    if treatments is None:
        treatments = [Treatment(name, changes=changes) for name, changes in (recipes or {'': {}}).items()]
    cells, contents = [], {}
    for (variant, config), treatment, num_shots, seed in itertools.product(configs, treatments, shots, seeds):
        # Shots and seed go first: a recipe may have the last word on anything but these.
        changed = {**(options or {}), **treatment.changes, 'num_shots': num_shots, 'seed': seed}
        # A grid has hundreds of cells of one file; to read it takes ten times as long as to change it.
        if config not in contents and Path(config).is_file():
            contents[config] = read_config_file(config)
        if not treatment.method:  # which puts other values in their place
            changed = with_values(contents.get(config, {}), changed)
        chosen_by = select
        if treatment.method and not is_trained(treatment.method):
            if (num_shots, seed) != (shots[0], seeds[0]):
                continue
            num_shots, chosen_by = 0, 'last'
            changed.pop('num_shots')
        cell = Cell(
            str(config),
            label_of(variant, treatment.label),
            num_shots,
            seed,
            changed,
            chosen_by,
            with_targets,
            method=treatment.method,
            method_recipe=treatment.recipe,
        )
        cfg = read_cell_config(cell, copy.deepcopy(contents.get(config)))
        cells.append(cell._replace(key=config_key(cfg, chosen_by)))
    _check_folders(cells)
    return cells


def label_of(*parts):
    """Name a recipe of a config file, or a method, and changes to it: what of them there is, joined by ``-``."""
    return '-'.join(part for part in parts if part)


def is_trained(method):
    """Say whether a method trains anything.

    Args:
        method (str): Its name, or the path of its base file.
    """
    return read_method(method).train_cfg is not None


def read_cell_config(cell, content=None):
    """Read and complete the config of a cell, as ``tools/train.py`` would.

    Args:
        cell (Cell): Its ``key`` is not used.
        content (Config, optional): What the config file holds; changed in place.

    Returns:
        Config: Without ``work_dir``.

    Raises:
        FileNotFoundError: If the config file does not exist.
        ValueError: If an option is unknown or selection would be on test pictures.
    """
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    arguments = parser.parse_args([])
    arguments.cfg_options = dict(cell.options)
    if cell.method:
        arguments.method, arguments.recipe = cell.method, cell.method_recipe
    cfg = command_line.read_config(cell.config, arguments, content)
    if not cell.with_targets and cfg.get('test_cfg') and cfg.test_cfg.get('targets'):
        cfg.test_cfg.targets = None
        cfg.test_cfg.pop('requested', None)
    apply_selection(cfg, cell.select)
    return cfg


def config_key(cfg, select):
    """Hash what a config says about the result.

    Args:
        cfg (Config): Complete.
        select (str): Which checkpoint is reported.

    Returns:
        str: 64 hexadecimal digits; the same for the same content, whatever file, folder or commit it comes from.
    """
    # Other top-level entries are short cuts; what they stand for is in the places that use them.
    known = {key: value for key, value in cfg.to_dict().items() if key in RUNNER_KEYS | OPTIONAL_KEYS}
    content = dict(config=_related(known), select=select)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_name).encode()).hexdigest()


def find_config(dataset, recipe, folder, setting=''):
    """Find the config of a data set.

    Args:
        dataset (str): Its name; case, ``-`` and ``_`` do not matter.
        recipe (str): ``'paper'``, or what the file's name ends with, such as ``'official'``.
        folder (str | Path): With files named ``<method>_<model>_<n>shot_<data set>[_<setting>][_<recipe>].py``.
        setting (str): Such as ``'base2new'``; '' for few shots of all classes.

    Returns:
        str: Path of the file.

    Raises:
        ValueError: If there is none, or more than one; lists what there is.
    """
    found = {}
    for path in sorted(Path(folder).glob('*shot_*.py')):
        found.setdefault(_plain(path.stem.split('shot_', 1)[1]), []).append(path)
    wanted = _plain(dataset + setting + ('' if recipe in ('', 'paper') else recipe))
    paths = found.get(wanted, [])
    if len(paths) != 1:
        what = 'no config' if not paths else f'several configs ({", ".join(path.name for path in paths)})'
        with_setting = f' and setting {setting!r}' if setting else ''
        raise ValueError(
            f'{folder} has {what} for data set {dataset!r} with recipe {recipe or "paper"!r}{with_setting}; '
            f'expected one of {", ".join(sorted(found)) or "none"}, or give the path of a config'
        )
    return str(paths[0])


def read_grid_file(path):
    """Read a grid from a file.

    Args:
        path (str): ``.yaml``, ``.json`` or ``.py`` with any of ``configs``, ``datasets``, ``setting`` (what the names of
            their configs end with, such as ``base2new``), ``methods``, ``shots``, ``seeds``, ``recipes`` (names, or
            names with changes to the config), ``definitions`` (names with changes, of which ``recipes`` takes those
            that it names), ``cfg_options``, ``targets`` (whether to test on those of the configs) and ``published``
            (see :mod:`.published`). As in configs, ``_base_`` names files to build on.

    Returns:
        dict: What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else, or a value of another kind.
    """
    grid = read_mapping(path, 'grid file', GRID_KEYS)
    for key, value in grid.items():
        if value is not None and not isinstance(value, GRID_KEYS[key]):
            raise ValueError(f'{path}: {key} is {value!r}; expected {_in_words(GRID_KEYS[key])}')
    for key in ('recipes', 'definitions'):
        for name, changes in grid[key].items() if isinstance(grid.get(key), dict) else ():
            if not isinstance(changes, (dict, type(None))):
                raise ValueError(f'{path}: {key}.{name} is {changes!r}; expected a mapping of changes')
    for named in [*(grid.get('configs') or ()), *(grid.get('methods') or ())]:
        check_named_config(str(named), path)
    return grid


def _in_words(kinds):
    if kinds is bool:
        return 'true or false'
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return ' or '.join(['a list'] * (list in kinds) + ['a mapping'] * (dict in kinds) + ['a text'] * (str in kinds))


def _related(value):
    if isinstance(value, dict):
        return {
            str(key): KEPT_CHECKPOINTS.get(item, item) if key == 'max_keep_ckpts' else _related(item)
            for key, item in value.items()
            if key not in UNRELATED_KEYS
        }
    if isinstance(value, (list, tuple)):
        return [_related(item) for item in value if item not in AS_EVER]
    return value


def _name(value):
    """Name a class or function by where it lives; its usual text holds an address that changes with every run."""
    return f'{value.__module__}.{value.__qualname__}' if hasattr(value, '__qualname__') else repr(value)


def _check_axis(name, values, least):
    bad = [value for value in values if not isinstance(value, int) or isinstance(value, bool) or value < least]
    if bad or not values:
        raise ValueError(f'{name} are {list(values)!r}; expected whole numbers from {least} on')
    if len(set(values)) < len(values):
        raise ValueError(f'{name} are {list(values)!r}; expected each number once')


def _check_folders(cells):
    seen = {}
    for cell in cells:
        other = seen.setdefault(cell.folder, cell)
        if other is not cell:
            raise ValueError(f'two cells of the grid are the same: {other.name} ({other.config}) and {cell.name} ({cell.config})')


def _plain(name):
    return name.lower().replace('-', '').replace('_', '')
