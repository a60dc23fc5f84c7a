"""From the flags of tools/compare_methods.py to the tables of a study."""

from argparse import Namespace
from pathlib import Path

from .. import __version__
from ..utils.files import AnyPath
from ..utils.locking import leased
from .cell_process import GridInterrupted, Report
from .cell_run import RESULT_FILE, read_result
from .command import INTERRUPTED, TABLES_LEASE
from .dry_run import Needs
from .execution import execution_of
from .files import json_text, write_files
from .grid import Cell, configs_of
from .parts import PartsCheck
from .selection import shows_test_pictures
from .study import Study, choose, only, read_study, report_cells, report_cells_of, selection_cells
from .study_results import agreement_of, agreement_text, finished_runs, read_study_results
from .study_tables import study_content, study_markdown, verdicts_of, write_study


def run(arguments: Namespace, report: Report) -> int:
    """Let every method of a study choose its settings, train and test it with them, and write the tables.

    A shard of a study ends where it needs results of others: what is to be reported is known once all have selected.

    Returns 0 if all is done, 1 if a run failed or figures do not agree with those of ``--against``, 130 after an interruption.
    Raises FileNotFoundError if the study, the one to compare with, or weights or pictures that it needs, are not there, and
    ValueError if the study or a flag does not hold together.
    """
    execution = execution_of(arguments)
    study = read_study(arguments.study)
    folder = Path(arguments.work_dir or Path('work_dirs', Path(arguments.study).stem))
    # Read and laid out before anything runs, so that a mistake in any method, claim or earlier study shows at once.
    verdicts_of(study, [])
    earlier = read_study_results(arguments.against) if arguments.against else None
    finished = {folder: finished_runs(folder) for folder in arguments.reuse}
    if arguments.methods:
        study = only(study, arguments.methods)
    to_select = selection_cells(study)
    to_report = report_cells_of(study, 0)
    refuse_test_pictures(arguments.study, to_select, to_report)
    require_what_is_needed(to_report)
    refuse_faulty_parts(study, to_select, to_report)
    results, failures = None, []
    try:
        take_finished(folder / 'selection', to_select, finished, report)
        light = execution._replace(keep_checkpoints=False)
        selection = _results(folder / 'selection', to_select, study, light, report, [study.selection['metric']], failures)
        if selection:
            choices = choose(study, selection)
            # Every figure that is compared must be one of the baseline: its runs come first.
            to_report = sorted(report_cells(study, choices), key=lambda cell: cell.recipe != study.baseline)
            take_finished(folder / 'report', to_report, finished, report)
            wanted = [metric for column in study.columns for metric in (column.metric, column.zero_shot) if metric]
            results = _results(folder / 'report', to_report, study, execution, report, wanted, failures)
    except GridInterrupted as interruption:
        report(f'interrupted: {interruption}')
        return INTERRUPTED
    if not results:
        return int(bool(failures))
    content = study_content(study, choices, results)
    with leased(folder / TABLES_LEASE):  # two shards may come last
        files = write_study(arguments.out or folder, study, content, selection)
    report('\n' + study_markdown(content))
    report('written: ' + ', '.join(map(str, files)))
    if earlier:
        agreement = agreement_of(content, earlier)
        report(agreement_text(agreement, arguments.against))
        return int(not agreement.is_whole)
    return 0


def take_finished(folder: Path, cells: list[Cell], finished: dict[str, dict[str, dict]], report: Report) -> None:
    """Put results of earlier runs of the same configs where those of cells are looked for.

    ``finished`` holds, for folders of tables, what :func:`finished_runs` found in them.
    """
    for source, runs in finished.items():
        found = [cell for cell in cells if cell.key in runs and read_result(folder, cell) is None]
        for cell in found:
            write_files(folder / cell.folder, {RESULT_FILE: json_text(runs[cell.key], indent=2)})
        # Equal configs give equal figures as long as the code does the same.
        made_by = {runs[cell.key].get('versions', {}).get('mmpretrain_mps', 'another version') for cell in found}
        others = f', made by {", ".join(sorted(made_by))}; this is {__version__}' if made_by - {__version__} else ''
        report(f'{folder.name}: {len(found)} of {len(cells)} runs are taken from {source}{others}')


def refuse_test_pictures(study: AnyPath, to_select: list[Cell], to_report: list[Cell]) -> None:
    """Refuse a study whose runs to select by test on what one of those to report tests on."""
    reported = [cfg.test_dataloader for cfg in configs_of(to_report).values()]
    for (config, _), cfg in configs_of(to_select).items():
        if any(shows_test_pictures(cfg.test_dataloader, other) for other in reported):
            raise ValueError(
                f'{study}: settings would be chosen by test pictures. selection.options must give test_dataloader of {config} '
                'a validation split, such as test_dataloader.dataset.subset: val'
            )


def require_what_is_needed(cells: list[Cell]) -> None:
    """Look for weights, pictures and targets; every figure of a study is wanted, so that no target may be left out."""
    needs = Needs()
    for cfg in configs_of(cells).values():
        needs.look_for(cfg)
    absent = [*needs.missing, *needs.skipped]
    if absent:
        raise FileNotFoundError(f'what the study needs is not all there: {"; ".join(absent)}')


def refuse_faulty_parts(study: Study, to_select: list[Cell], to_report: list[Cell]) -> None:
    """Refuse a study with a run that would fail when its parts are built, which for some is after hours of others.

    Looked at are all candidates, ``to_select``; what is reported of the first, ``to_report``, with all shots; and what is reported
    of the others, with the first number of shots alone.
    """
    laid_out = [to_select, *([cell for cell in to_report if cell.shots == shots] for shots in study.report['shots'])]
    once = study._replace(report={key: value[:1] if isinstance(value, list) else value for key, value in study.report.items()})
    laid_out += [report_cells_of(once, index) for index in range(1, study.budget)]
    check, faults = PartsCheck(), {}
    for cells in laid_out:
        for (_, recipe), cfg in configs_of(cells).items():
            faults.update({fault: f'{recipe}: {fault}' for fault in check.faults_of(cfg) if fault not in faults})
    if faults:
        raise ValueError(f'{study.path}: these parts of its runs cannot be built: {"; ".join(faults.values())}')


def _results(folder, cells, study, execution, report, wanted, failures):
    """Run cells and return the results of all, or None where one failed or is left to another shard.

    The first is run alone, so that a metric that nothing measures is found before the hours of all others.
    """
    report(f'{folder.name}: {len(cells)} runs in {folder}')
    own = execution.shard.of(cells)
    if own and not execution.run(folder, own[:1], report):
        metrics = read_result(folder, own[0])['metrics']
        absent = [repr(metric) for metric in wanted if metric not in metrics]
        if absent:
            gave = f'which {own[0].name} did not give; it gave {", ".join(metrics)}'
            raise ValueError(f'{study.path} asks for {", ".join(absent)}, {gave}')
    failures += execution.run(folder, own, report)
    for failure in failures:
        report(f'FAILED: {failure.cell.name} ({failure.reason}); its log ends with\n{failure.log_tail}')
    results = [read_result(folder, cell) for cell in cells]
    return results if execution.is_complete(results, report) and not failures else None
