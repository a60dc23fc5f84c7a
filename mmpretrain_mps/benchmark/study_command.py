"""From the flags of tools/compare_methods.py to the tables of a study."""

from pathlib import Path

from ..utils.locking import leased
from .cell_process import GridInterrupted
from .cell_run import read_result
from .command import INTERRUPTED, TABLES_LEASE
from .dry_run import Needs
from .execution import execution_of
from .grid import read_cell_config
from .selection import shows_test_pictures
from .study import Choice, choose, only, read_study, report_cells, selection_cells
from .study_results import agreement_of, agreement_text, read_study_results
from .study_tables import study_content, study_markdown, verdicts_of, write_study


def run(arguments, report):
    """Let every method choose its settings, train and test it with them, and write the tables.

    A share of a study ends where it needs results of others: what is to be reported is known once all have selected.

    Args:
        arguments (Namespace): Flags of the tool.
        report (Callable[[str], None]): Gets lines for the user.

    Returns:
        int: 0 if all is done, 1 if a run failed or figures do not agree with those of ``--against``, 130 after an
        interruption.

    Raises:
        FileNotFoundError: If the study, the one to compare with, or weights or pictures that it needs, are not there.
        ValueError: If the study or a flag does not hold together.
    """
    execution = execution_of(arguments)
    study = read_study(arguments.study)
    folder = Path(arguments.work_dir or Path('work_dirs', Path(arguments.study).stem))
    # Read and laid out before anything runs, so that a mistake in any method, claim or earlier study shows at once.
    verdicts_of(study, [])
    earlier = read_study_results(arguments.against) if arguments.against else None
    if arguments.methods:
        study = only(study, arguments.methods)
    to_select, to_report = (
        selection_cells(study),
        report_cells(study, {method.name: Choice(0, method.candidates[0], []) for method in study.methods}),
    )
    refuse_test_pictures(arguments.study, to_select, to_report)
    require_what_is_needed(to_report)
    failures = []
    try:
        selection = _results(
            folder / 'selection',
            to_select,
            arguments.study,
            execution._replace(keep_checkpoints=False),
            report,
            [study.selection['metric']],
            failures,
        )
        choices = choose(study, selection) if selection else None
        results = choices and _results(
            folder / 'report',
            _baseline_first(study, report_cells(study, choices)),
            arguments.study,
            execution,
            report,
            _figures_of(study),
            failures,
        )
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        return INTERRUPTED
    if not results:
        return int(bool(failures))
    content = study_content(study, choices, results)
    with leased(folder / TABLES_LEASE):  # two shares may come last
        files = write_study(arguments.out or folder, study, content, selection)
    report('\n' + study_markdown(content))
    report('written: ' + ', '.join(map(str, files)))
    if earlier:
        agreement = agreement_of(content, earlier)
        report(agreement_text(agreement, arguments.against))
        return int(not agreement.is_whole)
    return 0


def refuse_test_pictures(study, to_select, to_report):
    """Refuse a study that would choose settings by the pictures that it reports on.

    Args:
        study (str): Path of its file.
        to_select (Sequence[Cell]): Whose figures choose.
        to_report (Sequence[Cell]): Of all methods.

    Raises:
        ValueError: If any of the former tests on what one of the latter tests on.
    """
    reported = _test_loaders(to_report)
    for config, loader in _test_loaders(to_select).items():
        if any(shows_test_pictures(loader, other) for other in reported.values()):
            raise ValueError(
                f'{study}: settings would be chosen by test pictures. selection.options must give '
                f'test_dataloader of {config[0]} a validation split, such as '
                'test_dataloader.dataset.subset: val'
            )


def _test_loaders(cells):
    """Return one config of a test loader per config file and recipe."""
    distinct = {(cell.config, cell.recipe): cell for cell in cells}
    return {key: read_cell_config(cell).test_dataloader for key, cell in distinct.items()}


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
        raise FileNotFoundError(f'what the study needs is not all there: {"; ".join(absent)}')


def _baseline_first(study, cells):
    """Return the runs of the baseline before all others: every figure that is compared must be one of its own."""
    return sorted(cells, key=lambda cell: cell.recipe != study.baseline)


def _figures_of(study):
    """Return the metrics that columns of a study name."""
    return [metric for column in study.columns for metric in (column.metric, column.zero_shot) if metric]


def _results(folder, cells, study, execution, report, wanted, failures):
    """Run cells and return the results of all, or None where one failed or is left to another share.

    The first is run alone, so that a metric that nothing measures is found before the hours of all others.
    """
    report(f'{folder.name}: {len(cells)} runs in {folder}')
    own = execution.shard.of(cells)
    if own and not execution.run(folder, own[:1], report):
        _require_figures(study, own[0], read_result(folder, own[0])['metrics'], wanted)
    failures += execution.run(folder, own, report)
    for failure in failures:
        report(f'FAILED: {failure.cell.name} ({failure.reason}); its log ends with\n{failure.log_tail}')
    results = [read_result(folder, cell) for cell in cells]
    return results if execution.is_complete(results, report) and not failures else None


def _require_figures(study, cell, metrics, wanted):
    absent = [metric for metric in wanted if metric not in metrics]
    if absent:
        raise ValueError(
            f'{study} asks for {", ".join(map(repr, absent))}, which {cell.name} did not give; it gave {", ".join(metrics)}'
        )
