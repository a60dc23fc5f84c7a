"""Run a grid of few-shot trainings: python tools/fewshot_benchmark.py CONFIG ... --shots 1 2 4 8 16 --seeds 1 2 3."""

import argparse
import sys

from mmpretrain_mps.benchmark import command, execution
from mmpretrain_mps.utils.errors import user_errors
from mmpretrain_mps.utils.methods import method_names
from mmpretrain_mps.utils.option_values import OptionsAction
from mmpretrain_mps.utils.places import config_folder
from mmpretrain_mps.utils.trust import add_trust_flag

CONFIGS = config_folder()


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train and test data sets x methods x shots x seeds x recipes. What is done is skipped, what was cut off goes on; '
        'tables and curves are written to the work folder.'
    )
    add_grid(parser)
    add_run(parser)
    return parser.parse_args()


def add_grid(parser):
    """Add what the grid is made of."""
    parser.add_argument('configs', nargs='*', help='config files')
    parser.add_argument('--datasets', nargs='+', default=[], metavar='NAME', help='data sets, instead of their configs')
    parser.add_argument(
        '--methods',
        nargs='+',
        default=[],
        metavar='NAME',
        help='compare these methods on the same pictures, each in the place of the method of the configs: '
        f"{', '.join(method_names())}, or paths of method files; by default the configs' own",
    )
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='a .yaml, .json or .py file with configs, datasets, methods, shots, seeds, '
        'recipes, definitions, cfg_options, targets, published; flags take precedence',
    )
    parser.add_argument('--shots', nargs='+', type=int, help='labelled pictures per class; by default 1 2 4 8 16')
    parser.add_argument('--seeds', nargs='+', type=int, help='by default 1 2 3')
    parser.add_argument(
        '--recipes',
        nargs='+',
        metavar='NAME',
        help='of the methods (default, official), of the data sets (paper, official) or of the grid '
        'file; by default the first, and all of the grid file',
    )


def add_run(parser):
    """Add where and how it is run."""
    parser.add_argument('--work-dir', default='work_dirs/fewshot_benchmark', help='folder of runs, tables and curves')
    parser.add_argument(
        '--runs-dir',
        metavar='DIR',
        help='folder of the runs alone: grids that name the same one share the runs that they have in '
        'common; by default the work folder',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='run and write nothing: list the cells, build what can be built without weights and data, '
        'say what is missing; status 1 if anything is',
    )
    parser.add_argument(
        '--step-seconds',
        type=float,
        metavar='SECONDS',
        help='with --dry-run: measured time of a training step, to estimate the whole',
    )
    execution.add_flags(parser)
    parser.add_argument(
        '--select', default='last', metavar='{last,val}', help='report the last epoch, or the best one on the validation split'
    )
    parser.add_argument('--targets', action='store_true', help="test on the targets of the configs' test loops, too")
    parser.add_argument(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='go on from the checkpoints of runs that were cut off',
    )
    parser.add_argument('--keep-checkpoints', action='store_true', help='keep the checkpoints of finished runs')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, metavar='NAME=VALUE', help='change every config')
    add_trust_flag(parser)
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')


def main():
    """Run the grid."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        status = command.run(arguments, CONFIGS, report=lambda line: print(line, flush=True))
    sys.exit(status)


if __name__ == '__main__':
    main()
