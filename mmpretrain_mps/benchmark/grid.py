"""What a grid of few-shot runs consists of, and what each of its cells is."""

import argparse
import copy
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..engine import command_line
from ..utils.config import OPTIONAL_KEYS, RUNNER_KEYS
from ..utils.config_files import read_config_file
from ..utils.files import AnyPath
from ..utils.methods import read_method
from ..utils.option_values import with_values
from ..utils.places import existing_config
from .files import check_named_config, read_mapping
from .selection import apply_selection

# What neither changes a result nor belongs to it: where it is written, what it looks like, how many processes load, hooks
# that only say what happens.
UNRELATED_KEYS = {'work_dir', 'load_from', 'resume', 'launcher', 'env_cfg'}
UNRELATED_KEYS |= {'log_level', 'log_processor', 'logger', 'visualizer', 'visualization', 'runtime_info', 'timer'}
UNRELATED_KEYS |= {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'cache_images', 'cache_limit_mb'}
# How often a large checkpoint is written, and where views are made.
UNRELATED_KEYS |= {'max_share', 'views_on_device'}
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
GRID_KEYS = dict(configs=LIST, datasets=LIST, setting=str, methods=LIST, shots=LIST, seeds=LIST, recipes=(*LIST, dict))
GRID_KEYS |= dict(definitions=dict, cfg_options=dict, targets=bool, published=dict)
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
    changes: dict[str, Any] = {}
    """Further changes of the config."""


class Cell(NamedTuple):
    """One run of a grid."""

    config: str
    """Path of the config file."""
    recipe: str
    """Name of the variant; '' for the config as it is."""
    shots: int
    seed: int
    options: dict[str, Any]
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
    def trains(self) -> bool:
        """False where the method is one that trains nothing; such a cell has no shots."""
        return self.shots > 0

    @property
    def name(self) -> str:
        """As progress lines call the cell."""
        name = f'{Path(self.config).stem} {self.recipe}'.strip()
        return f'{name}, {self.shots} shots, seed {self.seed}' if self.trains else name

    @property
    def folder(self) -> Path:
        """Below the folder of the grid. Another config gets another folder, therefore nothing stale is found."""
        return Path(label_of(Path(self.config).stem, self.recipe), f'{self.shots}shots_seed{self.seed}-{self.key[:10]}')


def make_cells(
    configs: Sequence[str | tuple[str, str]],
    shots: Sequence[int],
    seeds: Sequence[int],
    recipes: dict[str, dict] | None = None,
    options: dict[str, Any] | None = None,
    select: str = 'last',
    with_targets: bool = False,
    treatments: Sequence[Treatment] | None = None,
) -> list[Cell]:
    """Lay out a grid, config by config, recipe by recipe, few shots first, and check every cell before anything runs.

    A method that trains nothing is one cell.

    Args:
        configs: Config files, or pairs of the name of a recipe and its config file.
        shots: Pictures per class.
        seeds: Of picks, order, augmentation and weights.
        recipes: Name to changes of the config, each run in its own right.
        options: Changes to every config.
        select: ``'last'`` reports the last epoch, ``'val'`` the best one on the validation split.
        with_targets: Test on the config's targets, too.
        treatments: Methods, in the place of ``recipes``.

    Raises:
        FileNotFoundError: If a config does not exist.
        ValueError: If the grid is empty or has an entry twice, a number is not one of pictures or a seed, an option is
            unknown, or selection would be on test pictures.
    """
    named = [entry if isinstance(entry, tuple) else ('', entry) for entry in configs]
    configs = [(variant, str(existing_config(config))) for variant, config in named]
    _check_axis('shots', shots, 1)
    _check_axis('seeds', seeds, 0)
    if not configs:
        raise ValueError('the grid has no config and no data set')
    if treatments is None:
        treatments = [Treatment(name, changes=changes) for name, changes in (recipes or {'': {}}).items()]
    cells: dict[Path, Cell] = {}
    contents = {}
    for (variant, config), treatment, num_shots, seed in itertools.product(configs, treatments, shots, seeds):
        # Shots and seed go first: a recipe may have the last word on anything but these.
        changed = {**(options or {}), **treatment.changes, 'num_shots': num_shots, 'seed': seed}
        # A grid has hundreds of cells of one file; to read it takes ten times as long as to change it.
        if config not in contents:
            contents[config] = read_config_file(config)
        if not treatment.method:  # which puts other values in their place
            changed = with_values(contents[config], changed)
        chosen_by, label = select, label_of(variant, treatment.label)
        if treatment.method and not is_trained(treatment.method):
            if (num_shots, seed) != (shots[0], seeds[0]):
                continue
            num_shots, chosen_by = 0, 'last'
            changed.pop('num_shots')
        method = dict(method=treatment.method, method_recipe=treatment.recipe)
        cell = Cell(config, label, num_shots, seed, changed, chosen_by, with_targets, **method)
        cfg = read_cell_config(cell, copy.deepcopy(contents[config]))
        cell = cell._replace(key=config_key(cfg, chosen_by))
        other = cells.setdefault(cell.folder, cell)
        if other is not cell:
            raise ValueError(f'two cells of the grid are the same: {other.name} ({other.config}) and {cell.name} ({cell.config})')
    return list(cells.values())


def label_of(*parts: str) -> str:
    """Name a recipe of a config file, or a method, and changes to it: what of them there is, joined by ``-``."""
    return '-'.join(filter(None, parts))


def is_trained(method: str) -> bool:
    """Say whether a method, by its name or the path of its base file, trains anything."""
    return read_method(method).train_cfg is not None


def read_cell_config(cell: Cell, content: Config | None = None) -> Config:
    """Read and complete the config of a cell, without ``work_dir``, as ``tools/train.py`` would.

    ``content`` is what the config file holds, where it was read before; it is changed in place. Raises FileNotFoundError if
    the config file does not exist, and ValueError if an option is unknown or selection would be on test pictures.
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


def configs_of(cells: Iterable[Cell]) -> dict[tuple[str, str], Config]:
    """Read the configs of cells by config file and recipe, with the shots and the seed of the first cell of each."""
    contents, configs = {}, {}
    for cell in cells:
        if (cell.config, cell.recipe) not in configs:
            if cell.config not in contents:
                contents[cell.config] = read_config_file(cell.config)
            configs[cell.config, cell.recipe] = read_cell_config(cell, copy.deepcopy(contents[cell.config]))
    return configs


def config_key(cfg: Config, select: str) -> str:
    """Hash what a complete config, and which checkpoint is reported, say about the result.

    The key is the same for the same content, whatever file, folder or commit it comes from.
    """
    # Other top-level entries are short cuts; what they stand for is in the places that use them.
    known = {key: value for key, value in cfg.to_dict().items() if key in RUNNER_KEYS | OPTIONAL_KEYS}
    content = dict(config=_related(known), select=select)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_name).encode()).hexdigest()


def find_config(dataset: str, recipe: str, folder: AnyPath, setting: str = '') -> str:
    """Find the config ``<method>_<model>_<n>shot_<data set>[_<setting>][_<recipe>].py`` of a data set in a folder.

    Case, ``-`` and ``_`` of its name do not matter. A setting is such as ``'base2new'``, a recipe such as ``'official'``;
    ``'paper'`` is in no name. Raises ValueError, which lists what there is, if there is none, or more than one.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(folder).glob('*shot_*.py')):
        found.setdefault(_plain(path.stem.split('shot_', 1)[1]), []).append(path)
    paths = found.get(_plain(dataset + setting + ('' if recipe in ('', 'paper') else recipe)), [])
    if len(paths) != 1:
        what = 'no config' if not paths else f'several configs ({", ".join(path.name for path in paths)})'
        with_setting = f' and setting {setting!r}' if setting else ''
        raise ValueError(
            f'{folder} has {what} for data set {dataset!r} with recipe {recipe or "paper"!r}{with_setting}; '
            f'expected one of {", ".join(sorted(found)) or "none"}, or give the path of a config'
        )
    return str(paths[0])


def read_grid_file(path: AnyPath) -> dict[str, Any]:
    """Read a grid from a file.

    It has any of ``configs``, ``datasets``, ``setting`` (what the names of their configs end with, such as ``base2new``),
    ``methods``, ``shots``, ``seeds``, ``recipes`` (names, or names with changes to the config), ``definitions`` (names with
    changes, of which ``recipes`` takes those that it names), ``cfg_options``, ``targets`` (whether to test on those of the
    configs) and ``published`` (see :mod:`.published`). Raises ValueError if it holds anything else, or a value of another kind.
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
    names = {bool: 'true or false', list: 'a list', dict: 'a mapping', str: 'a text'}
    return ' or '.join(names[kind] for kind in names if kind in (kinds if isinstance(kinds, tuple) else (kinds,)))


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


def _plain(name):
    return name.lower().replace('-', '').replace('_', '')
