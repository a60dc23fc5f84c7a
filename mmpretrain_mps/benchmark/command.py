"""From the flags of tools/fewshot_benchmark.py to tables and curves."""

import itertools
from argparse import Namespace
from pathlib import Path
from typing import Any

from ..utils.files import AnyPath
from ..utils.locking import leased
from ..utils.methods import RECIPES, read_method
from .cell_process import GridInterrupted, Report
from .cell_run import read_result
from .curves import write_curves
from .dry_run import dry_run, without_inputs
from .execution import execution_of
from .grid import OWN_METHOD, Cell, Treatment, find_config, label_of, make_cells, read_grid_file
from .published import published_of
from .tables import results_markdown, write_results

DEFAULT_SHOTS = (1, 2, 4, 8, 16)
DEFAULT_SEEDS = (1, 2, 3)
DEFAULT_VARIANT = 'paper'
# Ways to train the paper's method; what it publishes of a recipe is of no other config's.
VARIANTS_OF_THE_METHOD = (DEFAULT_VARIANT, 'official')
TABLES_LEASE = '.tables.lease'
INTERRUPTED = 130


def run(arguments: Namespace, config_folder: AnyPath, report: Report) -> int:
    """Run the grid that the flags describe, with the configs of named data sets in a folder; write its tables and curves.

    Returns 0 if every cell is done, 1 if some failed, 130 after an interruption; with ``--dry-run``, 0 if all could be run, else
    1. Raises FileNotFoundError if a config or the grid file does not exist, or weights or data of every run, and ValueError if
    a flag or the grid does not hold together.
    """
    grid = read_grid_file(arguments.grid) if arguments.grid else {}
    cells = cells_of(arguments, config_folder, grid)
    published = published_of(grid, arguments.grid, quotable_labels(arguments, grid), cells)
    execution = execution_of(arguments, arguments.resume)
    folder, runs = Path(arguments.work_dir), Path(arguments.runs_dir or arguments.work_dir)
    if arguments.dry_run:
        return dry_run(runs, execution.shard.of(cells), report, arguments.step_seconds, execution.jobs or len(cells))
    if arguments.step_seconds is not None:
        raise ValueError('--step-seconds is for the estimate of --dry-run')
    ready, hopeless = without_inputs(runs, execution.shard.of(cells))
    reasons = '; '.join(dict.fromkeys(failure.reason for failure in hopeless))
    if hopeless and not ready:
        raise FileNotFoundError(f'none of the {len(hopeless)} runs can start: {reasons}')
    if hopeless:
        report(f'{len(hopeless)} of {len(ready) + len(hopeless)} runs cannot start and are left out: {reasons}')
    failures, files, status = [], [], 0
    try:
        failures = execution.run(runs, ready, report)
        status = 1 if failures or hopeless else 0
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        status = INTERRUPTED
    results = [read_result(runs, cell) for cell in cells]
    if execution.is_complete(results, report):
        done = [result for result in results if result is not None]
        folder.mkdir(parents=True, exist_ok=True)
        with leased(folder / TABLES_LEASE):  # two shards may come last
            files = [*write_results(folder, cells, done, hopeless + failures, published), *write_curves(folder, done)]
        report('\n' + results_markdown(cells, done, published=published))
    for failure in failures:
        log = ''.join(f'\n    {line}' for line in failure.log_tail.splitlines())
        report(f'FAILED: {failure.cell.name} ({failure.reason}); the log in {runs / failure.cell.folder} ends with{log}')
    if files:
        report('written: ' + ', '.join(map(str, files)))
    return status


def cells_of(arguments: Namespace, config_folder: AnyPath, grid: dict[str, Any]) -> list[Cell]:
    """Lay out and check the grid of the flags and the grid file, empty without one; flags take precedence over it.

    Raises FileNotFoundError if a config does not exist, and ValueError if the grid does not hold together.
    """
    configs = arguments.configs or grid.get('configs') or []
    datasets = arguments.datasets or grid.get('datasets') or []
    changes, variants = split_recipes(grid, arguments.recipes)
    treatments = treatments_of(arguments, grid)
    if treatments is not None:
        variants = [DEFAULT_VARIANT]  # the recipe is the method's business
    elif variants != [DEFAULT_VARIANT] and configs:
        raise ValueError(
            f'recipes {", ".join(map(repr, variants))} are looked up for named data sets, but config files are '
            'given; name the config file of the recipe, or describe the recipe in a grid file'
        )
    # A single recipe needs no mention in tables and folders.
    named = [
        (name if len(variants) > 1 else '', find_config(dataset, name, config_folder, grid.get('setting') or ''))
        for dataset, name in itertools.product(datasets, variants)
    ]
    return make_cells(
        [*configs, *named],
        arguments.shots or grid.get('shots') or DEFAULT_SHOTS,
        arguments.seeds or grid.get('seeds') or DEFAULT_SEEDS,
        changes,
        {**(grid.get('cfg_options') or {}), **(arguments.cfg_options or {})},
        arguments.select,
        arguments.targets or grid.get('targets', False),
        treatments,
    )


def treatments_of(arguments: Namespace, grid: dict[str, Any]) -> list[Treatment] | None:
    """Lay out the methods of the flags and the grid file, each by each of the recipes; None where no methods are named.

    Changes that the grid describes are changes of MPS-Tuning: they go with it and with no other method. Raises ValueError if a
    method is unknown or named twice, or a recipe is none of a method.
    """
    methods = list(map(str, arguments.methods or grid.get('methods') or ()))
    if not methods:
        return None
    changes, variants = split_recipes(grid, arguments.recipes)
    recipes = [RECIPES[0] if name == DEFAULT_VARIANT else name for name in variants]
    strangers = [name for name in recipes if name not in RECIPES]
    twice = [name for name in (*recipes, *methods) if (*recipes, *methods).count(name) > 1]
    if strangers or twice:
        what = f'recipes {", ".join(map(repr, strangers))} are none of a method' if strangers else f'{twice[0]!r} is named twice'
        raise ValueError(f'{what}; expected each method once, and recipes {" or ".join(map(repr, RECIPES))}')
    treatments = []
    for method in methods:
        name = read_method(method).method.name
        own = changes if name == OWN_METHOD and changes else {'': {}}
        for recipe, change in itertools.product(recipes, own):
            label = label_of(name, recipe if len(recipes) > 1 else '', change if len(own) > 1 else '')
            treatments.append(Treatment(label, method, recipe, own[change]))
    return treatments


def quotable_labels(arguments: Namespace, grid: dict[str, Any]) -> dict[str, str]:
    """Return labels of cells that published figures of MPS-Tuning may stand beside, with the names of their changes."""
    changes, variants = split_recipes(grid, arguments.recipes)
    treatments = treatments_of(arguments, grid)
    if treatments is None:
        own = [variant for variant in variants if variant in VARIANTS_OF_THE_METHOD]
        pairs = itertools.product(own, changes)
        return {label_of(variant if len(variants) > 1 else '', name): name for variant, name in pairs}
    ours = [treatment.label for treatment in treatments if treatment.method == OWN_METHOD]
    return dict(zip(ours, itertools.cycle(changes)))


def split_recipes(grid: dict[str, Any], asked: list[str] | None) -> tuple[dict[str, dict], list[str]]:
    """Separate recipes that are changes to a config from those that are names of config files, of which there is one at least.

    Where those that are asked for name no changes, all those of the grid are made to the config files that they name.
    """
    recipes, definitions = grid.get('recipes') or {}, grid.get('definitions') or {}
    recipes = recipes if isinstance(recipes, dict) else dict.fromkeys(recipes)
    known = {**definitions, **{name: changes for name, changes in recipes.items() if changes is not None}}
    names = list(asked or recipes)
    changes = {name: known[name] for name in names if name in known}
    if not changes:
        changes = {name: known[name] for name in recipes if name in known}
    return changes, [name for name in names if name not in known] or [DEFAULT_VARIANT]
