"""Follow the Gromov-Wasserstein distance and its bound over trainings, with the settings that a study chose.

    python tools/analysis/gromov_wasserstein.py results/digits_study --methods ce mar full --settings-of full --shots 4 \
        --seeds 1 2 3 --work-dir work_dirs/bound --out results/bound
"""

import argparse
import functools
import sys
from pathlib import Path

from mmpretrain_mps.analysis.bound_study import courses_of, run_trainings, settings_of, write_bounds
from mmpretrain_mps.benchmark.study_results import read_study_results
from mmpretrain_mps.utils.errors import user_errors

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'mps_mini_16shot_digits_evidence_gw.py'


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', help='folder with the study.json of tools/compare_methods.py')
    parser.add_argument('--methods', nargs='+', default=['ce', 'mar', 'full'], help='of the study')
    parser.add_argument(
        '--settings-of',
        metavar='METHOD',
        help='train all with what validation chose for this one, so that they differ in their losses alone',
    )
    parser.add_argument('--config', default=str(CONFIG), help='with GromovWassersteinDistance in val_evaluator')
    parser.add_argument('--shots', type=int, default=4)
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument('--work-dir', default='work_dirs/bound', help='folder of the trainings; what is done is kept')
    parser.add_argument('--out', default='results/bound', help='folder of bounds.json and the plots')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time')
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    return parser.parse_args()


def main():
    """Train and write; return 1 if a training failed."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        labels, options = settings_of(read_study_results(arguments.study), arguments.methods, arguments.settings_of)
        folders = {
            (name, seed): Path(arguments.work_dir, f'{name}_{arguments.shots}shots_seed{seed}')
            for name in arguments.methods
            for seed in arguments.seeds
        }
        runs = [
            ({**options[name], 'num_shots': arguments.shots, 'seed': seed}, folder) for (name, seed), folder in folders.items()
        ]
        try:
            run_trainings(arguments.config, runs, arguments.jobs, functools.partial(print, flush=True))
        except RuntimeError as failure:
            print(f'FAILED: {failure}', file=sys.stderr)
            return 1
        courses = {name: {seed: courses_of(folders[name, seed]) for seed in arguments.seeds} for name in arguments.methods}
        print('written: ' + ', '.join(map(str, write_bounds(arguments.out, labels, options, courses))))
    return 0


if __name__ == '__main__':
    sys.exit(main())
