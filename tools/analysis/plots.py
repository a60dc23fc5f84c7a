"""Write the plots of a training or a grid: python tools/analysis/plots.py WORK_DIR_OR_GRID [--only gram-after pca-after].

Every plot is written as PNG and SVG, for light and for dark pages; equal results give equal files.
"""

import argparse

from mmpretrain_mps.analysis.report import add_flags, write_plots
from mmpretrain_mps.utils.errors import user_errors


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    parser.add_argument('--out', metavar='FOLDER', help='by default plots/ in the folder')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='these plots; an unknown name lists all')
    return parser.parse_args()


def main():
    """Write the plots."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        for file in write_plots(arguments):
            print(file)


if __name__ == '__main__':
    main()
