"""Compare methods fairly: python tools/compare_methods.py configs/studies/digits.yaml --work-dir work_dirs/digits_study.

Every method of the study chooses its settings on validation pictures, with as many candidates as the others and with seeds
of its own; then all are trained with the seeds of the report and tested. What is done is skipped, what was cut off goes on.
"""
import argparse
import sys
from pathlib import Path

from mmpretrain_mps.benchmark.cell_run import read_result
from mmpretrain_mps.benchmark.command import default_jobs
from mmpretrain_mps.benchmark.pool import GridInterrupted, run_cells
from mmpretrain_mps.benchmark.study import Choice, choose, read_study, report_cells, selection_cells
from mmpretrain_mps.benchmark.study_tables import study_markdown, verdicts_of, write_study
from mmpretrain_mps.utils.errors import user_errors

INTERRUPTED = 130


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', help='a file such as configs/studies/digits.yaml')
    parser.add_argument('--work-dir', help='folder of runs and tables; by default work_dirs/<name of the study>')
    parser.add_argument('--out', help='another folder for the tables')
    parser.add_argument('--jobs', type=int, help='runs at a time; by default one per GPU, or up to 4 on the CPU')
    parser.add_argument('--devices', nargs='+', default=['cpu'], metavar='DEVICE', help='GPU numbers, or cpu')
    parser.add_argument('--keep-checkpoints', action='store_true', help='keep the checkpoints of the reported runs')
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    return parser.parse_args()


def main():
    """Run the study."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        try:
            status = run(arguments)
        except GridInterrupted as interruption:
            print(f'interrupted: {interruption}', flush=True)
            status = INTERRUPTED
    sys.exit(status)


def run(arguments):
    """Select, train, test and write the tables; return the exit status."""
    study = read_study(arguments.study)
    folder = Path(arguments.work_dir or Path('work_dirs', Path(arguments.study).stem))
    # Laid out before anything runs, so that a mistake in any method or claim shows at once.
    verdicts_of(study, [])
    report_cells(study, {method.name: Choice(0, method.candidates[0], []) for method in study.methods})
    selection = _run(folder / 'selection', selection_cells(study), arguments, 'selection', False)
    if selection is None:
        return 1
    choices = choose(study, selection)
    cells = report_cells(study, choices)
    results = _run(folder / 'report', cells, arguments, 'report', arguments.keep_checkpoints)
    if results is None:
        return 1
    files = write_study(arguments.out or folder, study, choices, selection, results)
    print('\n' + study_markdown(study, choices, results))
    print('written: ' + ', '.join(map(str, files)))
    return 0


def _run(folder, cells, arguments, stage, keep_checkpoints):
    """Run cells and return their results, or None where one failed."""
    print(f'{stage}: {len(cells)} runs in {folder}', flush=True)
    jobs = arguments.jobs or default_jobs(arguments.devices)
    failures = run_cells(folder, cells, arguments.devices, jobs, True, keep_checkpoints,
                         lambda line: print(line, flush=True))
    for failure in failures:
        print(f'FAILED: {failure.cell.name} ({failure.reason}); its log ends with\n{failure.log_tail}', flush=True)
    return None if failures else [read_result(folder, cell) for cell in cells]


if __name__ == '__main__':
    main()
