"""Write a report on a training or a grid: python tools/analysis/report.py WORK_DIR_OR_GRID [--out report.html].

The report is one HTML file that needs nothing else: tables, plots, config, environment, for light and dark screens.
"""

import argparse

from mmpretrain_mps.analysis.report import add_flags, write_report
from mmpretrain_mps.utils.errors import user_errors


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    parser.add_argument('--out', metavar='FILE', help='by default report.html in the folder')
    return parser.parse_args()


def main():
    """Write the report."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        print(f'written: {write_report(arguments)}')


if __name__ == '__main__':
    main()
