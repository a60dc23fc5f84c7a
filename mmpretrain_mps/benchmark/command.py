"""From the flags of tools/fewshot_benchmark.py to tables and curves."""
from pathlib import Path

import torch

from .cell_run import read_result
from .curves import write_curves
from .grid import find_config, make_cells, read_grid_file
from .pool import GridInterrupted, available_cores, run_cells
from .tables import results_markdown, write_results

DEFAULT_SHOTS = (1, 2, 4, 8, 16)
DEFAULT_SEEDS = (1, 2, 3)
MOST_CPU_JOBS = 4
INTERRUPTED = 130


def run(arguments, config_folder, report):
    """Run the grid that the flags describe and write its tables and curves.

    Args:
        arguments (Namespace): Flags of the tool.
        config_folder (str | Path): Where the configs of named data sets lie.
        report (Callable[[str], None]): Gets lines for the user.

    Returns:
        int: 0 if every cell is done, 1 if some failed, 130 after an interruption.

    Raises:
        FileNotFoundError: If a config or the grid file does not exist.
        ValueError: If a flag or the grid does not hold together.
    """
    cells = cells_of(arguments, config_folder)
    devices = arguments.devices or list(map(str, range(torch.cuda.device_count()))) or ['cpu']
    jobs = arguments.jobs if arguments.jobs is not None else default_jobs(devices)
    folder, failures, status = Path(arguments.work_dir), [], 0
    try:
        failures = run_cells(folder, cells, devices, jobs, arguments.resume, arguments.keep_checkpoints, report)
        status = 1 if failures else 0
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        status = INTERRUPTED
    results = [result for result in (read_result(folder, cell) for cell in cells) if result is not None]
    files = [*write_results(folder, cells, results, failures), *write_curves(folder, results)]
    report('\n' + results_markdown(cells, results))
    for failure in failures:
        report(f'FAILED: {failure.cell.name} ({failure.reason}); the log in {folder / failure.cell.folder} ends with\n'
               + '\n'.join(f'    {line}' for line in failure.log_tail.splitlines()))
    report('written: ' + ', '.join(map(str, files)))
    return status


def cells_of(arguments, config_folder):
    """Lay out the grid of the flags and the grid file.

    Args:
        arguments (Namespace): Flags of the tool; given ones take precedence over the file.
        config_folder (str | Path): Where the configs of named data sets lie.

    Returns:
        list[Cell]: Checked.

    Raises:
        FileNotFoundError: If a config or the grid file does not exist.
        ValueError: If the grid does not hold together.
    """
    grid = read_grid_file(arguments.grid) if arguments.grid else {}
    configs = arguments.configs or grid.get('configs') or []
    datasets = arguments.datasets or grid.get('datasets') or []
    changes, names = _split_recipes(grid.get('recipes') or {}, arguments.recipes)
    if names and configs:
        raise ValueError(
            f"recipes {', '.join(map(repr, names))} are looked up for named data sets, but config files are "
            'given; name the config file of the recipe, or describe the recipe in a grid file')
    variants = names or ['paper']
    # A single recipe needs no mention in tables and folders.
    named = [(name if len(variants) > 1 else '', find_config(dataset, name, config_folder))
             for dataset in datasets for name in variants]
    options = {**(grid.get('cfg_options') or {}), **(arguments.cfg_options or {})}
    return make_cells(
        [*configs, *named], arguments.shots or grid.get('shots') or DEFAULT_SHOTS,
        arguments.seeds or grid.get('seeds') or DEFAULT_SEEDS, changes, options, arguments.select, arguments.targets)


def default_jobs(devices):
    """Return how many runs there are at a time unless told: one per GPU, a few on the CPU, whose memory they share."""
    return min(MOST_CPU_JOBS, available_cores()) if list(devices) == ['cpu'] else len(devices)


def _split_recipes(described, asked):
    """Separate recipes that are changes to a config from those that are names of config files."""
    described = described if isinstance(described, dict) else {name: None for name in described}
    names = list(asked or described)
    changes = {name: described[name] for name in names if described.get(name) is not None}
    return changes, [name for name in names if name not in changes]
