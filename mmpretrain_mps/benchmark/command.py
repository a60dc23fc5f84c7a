"""From the flags of tools/fewshot_benchmark.py to tables and curves."""

import itertools
from pathlib import Path

from ..utils.locking import leased
from ..utils.methods import RECIPES, read_method
from .cell_process import GridInterrupted
from .cell_run import read_result
from .curves import write_curves
from .dry_run import dry_run, without_inputs
from .execution import execution_of
from .grid import OWN_METHOD, Treatment, find_config, label_of, make_cells, read_grid_file
from .published import published_of
from .tables import results_markdown, write_results

DEFAULT_SHOTS = (1, 2, 4, 8, 16)
DEFAULT_SEEDS = (1, 2, 3)
DEFAULT_VARIANT = 'paper'
# Ways to train the paper's method; what it publishes of a recipe is of no other config's.
VARIANTS_OF_THE_METHOD = (DEFAULT_VARIANT, 'official')
TABLES_LEASE = '.tables.lease'
INTERRUPTED = 130


def run(arguments, config_folder, report):
    """Run the grid that the flags describe and write its tables and curves.

    Args:
        arguments (Namespace): Flags of the tool.
        config_folder (str | Path): Where the configs of named data sets lie.
        report (Callable[[str], None]): Gets lines for the user.

    Returns:
        int: 0 if every cell is done, 1 if some failed, 130 after an interruption. With ``--dry-run``: 0 if all could be
        run, else 1.

    Raises:
        FileNotFoundError: If a config or the grid file does not exist, or weights or data of every run.
        ValueError: If a flag or the grid does not hold together.
    """
    grid = read_grid_file(arguments.grid) if arguments.grid else {}
    cells = cells_of(arguments, config_folder, grid)
    published = published_of(grid, arguments.grid, quotable_labels(arguments, grid), cells)
    execution = execution_of(arguments, arguments.resume)
    folder, runs, failures, status = Path(arguments.work_dir), Path(arguments.runs_dir or arguments.work_dir), [], 0
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
    try:
        failures = execution.run(runs, ready, report)
        status = 1 if failures or hopeless else 0
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        status = INTERRUPTED
    results = [read_result(runs, cell) for cell in cells]
    files = []
    if execution.is_complete(results, report):
        done = [result for result in results if result is not None]
        files = _write_tables(folder, cells, done, hopeless + failures, published, report)
    for failure in failures:
        report(
            f'FAILED: {failure.cell.name} ({failure.reason}); the log in {runs / failure.cell.folder} ends with\n'
            + '\n'.join(f'    {line}' for line in failure.log_tail.splitlines())
        )
    if files:
        report('written: ' + ', '.join(map(str, files)))
    return status


def _write_tables(folder, cells, results, failures, published, report):
    folder.mkdir(parents=True, exist_ok=True)
    with leased(folder / TABLES_LEASE):  # two shares may come last
        files = [*write_results(folder, cells, results, failures, published), *write_curves(folder, results)]
    report('\n' + results_markdown(cells, results, published=published))
    return files


def cells_of(arguments, config_folder, grid):
    """Lay out the grid of the flags and the grid file.

    Args:
        arguments (Namespace): Flags of the tool; given ones take precedence over the file.
        config_folder (str | Path): Where the configs of named data sets lie.
        grid (dict): Of :func:`.grid.read_grid_file`; empty without a file.

    Returns:
        list[Cell]: Checked.

    Raises:
        FileNotFoundError: If a config or the grid file does not exist.
        ValueError: If the grid does not hold together.
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
    setting = grid.get('setting') or ''
    # A single recipe needs no mention in tables and folders.
    named = [
        (name if len(variants) > 1 else '', find_config(dataset, name, config_folder, setting))
        for dataset in datasets
        for name in variants
    ]
    options = {**(grid.get('cfg_options') or {}), **(arguments.cfg_options or {})}
    return make_cells(
        [*configs, *named],
        arguments.shots or grid.get('shots') or DEFAULT_SHOTS,
        arguments.seeds or grid.get('seeds') or DEFAULT_SEEDS,
        changes,
        options,
        arguments.select,
        arguments.targets or grid.get('targets', False),
        treatments,
    )


def treatments_of(arguments, grid):
    """Lay out the methods of the flags and the grid file, each by each of the recipes.

    Changes that the grid describes are changes of MPS-Tuning: they go with it and with no other method.

    Args:
        arguments (Namespace): Flags of the tool.
        grid (dict): Of :func:`.grid.read_grid_file`.

    Returns:
        list[Treatment] | None: None where no methods are named.

    Raises:
        ValueError: If a method is unknown or named twice, or a recipe is none of a method.
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
        treatments += [
            Treatment(
                label_of(name, recipe if len(recipes) > 1 else '', change if len(own) > 1 else ''), method, recipe, own[change]
            )
            for recipe in recipes
            for change in own
        ]
    return treatments


def quotable_labels(arguments, grid):
    """Name the recipes of a run that published figures of MPS-Tuning may stand beside.

    Args:
        arguments (Namespace): Flags of the tool.
        grid (dict): Of :func:`.grid.read_grid_file`.

    Returns:
        dict[str, str]: Label, as cells have it, to the name of the changes.
    """
    changes, variants = split_recipes(grid, arguments.recipes)
    treatments = treatments_of(arguments, grid)
    if treatments is None:
        return {
            label_of(variant if len(variants) > 1 else '', name): name
            for variant in variants
            for name in changes
            if variant in VARIANTS_OF_THE_METHOD
        }
    ours = [treatment for treatment in treatments if treatment.method == OWN_METHOD]
    return {treatment.label: name for treatment, name in zip(ours, itertools.cycle(changes))} if changes else {}


def split_recipes(grid, asked):
    """Separate recipes that are changes to a config from those that are names of config files.

    Args:
        grid (dict): Of :func:`.grid.read_grid_file`.
        asked (Sequence[str] | None): Recipes of the command line. Where they name no changes, all those of the grid are
            made to the config files that they name.

    Returns:
        tuple[dict[str, dict], list[str]]: Name to changes; names of config files, at least one.
    """
    recipes, definitions = grid.get('recipes') or {}, grid.get('definitions') or {}
    recipes = recipes if isinstance(recipes, dict) else dict.fromkeys(recipes)
    known = {**definitions, **{name: changes for name, changes in recipes.items() if changes is not None}}
    names = list(asked or recipes)
    changes = {name: known[name] for name in names if name in known}
    variants = [name for name in names if name not in known]
    if not changes:
        changes = {name: known[name] for name in recipes if name in known}
    return changes, variants or [DEFAULT_VARIANT]
