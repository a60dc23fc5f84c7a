"""From the flags of tools/compare_methods.py to the tables of a study."""
from pathlib import Path

from .cell_run import read_result
from .command import INTERRUPTED, default_jobs
from .dry_run import Needs
from .grid import read_cell_config
from .pool import GridInterrupted, run_cells
from .study import Choice, choose, read_study, report_cells, selection_cells
from .study_tables import study_markdown, verdicts_of, write_study


def run(arguments, report):
    """Let every method choose its settings, train and test it with them, and write the tables.

    Args:
        arguments (Namespace): Flags of the tool.
        report (Callable[[str], None]): Gets lines for the user.

    Returns:
        int: 0 if all is done, 1 if a run failed, 130 after an interruption.

    Raises:
        FileNotFoundError: If the study, or weights or pictures that it needs, are not there.
        ValueError: If the study or a flag does not hold together.
    """
    study = read_study(arguments.study)
    folder = Path(arguments.work_dir or Path('work_dirs', Path(arguments.study).stem))
    # Laid out before anything runs, so that a mistake in any method or claim shows at once.
    verdicts_of(study, [])
    require_what_is_needed(report_cells(
        study, {method.name: Choice(0, method.candidates[0], []) for method in study.methods}))
    try:
        selection = _results(folder / 'selection', selection_cells(study), arguments, report, False)
        choices = choose(study, selection) if selection else None
        results = choices and _results(folder / 'report', report_cells(study, choices), arguments, report,
                                       arguments.keep_checkpoints)
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        return INTERRUPTED
    if not results:
        return 1
    files = write_study(arguments.out or folder, study, choices, selection, results)
    report('\n' + study_markdown(study, choices, results))
    report('written: ' + ', '.join(map(str, files)))
    return 0


def require_what_is_needed(cells):
    """Look for weights, pictures and targets; every figure of a study is wanted, so that no target may be left out.

    Args:
        cells (Sequence[Cell]): Of the report.

    Raises:
        FileNotFoundError: If something is not there.
    """
    needs = Needs()
    for cell in {(cell.config, cell.recipe): cell for cell in cells}.values():
        needs.look_for(read_cell_config(cell))
    absent = [*needs.missing, *needs.skipped]
    if absent:
        raise FileNotFoundError(f"what the study needs is not all there: {'; '.join(absent)}")


def _results(folder, cells, arguments, report, keep_checkpoints):
    """Run cells and return their results, or None where one failed."""
    report(f'{folder.name}: {len(cells)} runs in {folder}')
    jobs = arguments.jobs if arguments.jobs is not None else default_jobs(arguments.devices)
    failures = run_cells(folder, cells, arguments.devices, jobs, True, keep_checkpoints, report)
    for failure in failures:
        report(f'FAILED: {failure.cell.name} ({failure.reason}); its log ends with\n{failure.log_tail}')
    return None if failures else [read_result(folder, cell) for cell in cells]
