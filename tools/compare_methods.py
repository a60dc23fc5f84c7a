"""Compare methods fairly: python tools/compare_methods.py configs/studies/digits.yaml --work-dir work_dirs/digits_study.

Every method of the study chooses its settings on validation pictures, with as many candidates as the others and with seeds
of its own; then all are trained with the seeds of the report and tested. What is done is skipped, what was cut off goes on.
"""

import argparse
import sys

from mmpretrain_mps.benchmark import execution, study_command
from mmpretrain_mps.utils.errors import user_errors
from mmpretrain_mps.utils.trust import add_trust_flag


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', help='a file such as configs/studies/digits.yaml')
    parser.add_argument('--work-dir', help='folder of runs and tables; by default work_dirs/<name of the study>')
    parser.add_argument('--out', help='another folder for the tables')
    parser.add_argument('--methods', nargs='+', metavar='METHOD', help='compare only these; the baseline must be one')
    parser.add_argument(
        '--against', metavar='FOLDER', help='tables of an earlier run, such as results/digits_study: say which figures agree'
    )
    about = 'tables of earlier studies: runs of theirs that this one has too, with the very same config, are not run again'
    parser.add_argument('--reuse', nargs='+', default=[], metavar='FOLDER', help=about)
    execution.add_flags(parser)
    parser.add_argument('--keep-checkpoints', action='store_true', help='keep the checkpoints of the reported runs')
    add_trust_flag(parser)
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    return parser.parse_args()


def main():
    """Run the study."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        status = study_command.run(arguments, report=lambda line: print(line, flush=True))
    sys.exit(status)


if __name__ == '__main__':
    main()
