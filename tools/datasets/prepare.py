"""Check a data set on disk before training, and say what is missing and where it is published.

Nothing is downloaded, split, renamed or deleted. The exit status is 0 if the data set can be used, else 1.
    python tools/datasets/prepare.py OxfordPets --root data
    python tools/datasets/prepare.py --all --root data --check-images
"""

import argparse
import sys

from mmpretrain_mps.datasets.catalog import CATALOG
from mmpretrain_mps.datasets.preparation import inspect_dataset


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', nargs='?', help=f'one of {", ".join(CATALOG)}, or PictureFolder, PictureTable')
    parser.add_argument('--all', action='store_true', help='check every benchmark data set')
    parser.add_argument('--root', required=True, metavar='DIR', help='folder of the data sets, or of your pictures')
    parser.add_argument('--check-images', action='store_true', help='decode every picture (hours for ImageNet)')
    args = parser.parse_args(argv)
    if bool(args.name) == args.all:
        parser.error('name one data set, or give --all')
    return args


def main(argv=None):
    """Check the data sets asked for; return the exit status."""
    args = parse_args(argv)
    unusable = []
    for name in CATALOG if args.all else [args.name]:
        try:
            findings = inspect_dataset(name, args.root, args.check_images)
        except KeyError as error:
            print(f'prepare: error: {error.args[0]}', file=sys.stderr)
            return 2
        print(f'{name}:')
        for level, text in findings:
            # Names of files may hold bytes that are no text.
            print(f'  {level:6}{text.encode("utf-8", "backslashreplace").decode()}')
        if any(level == 'error' for level, _ in findings):
            unusable.append(name)
    print(f'Not usable yet: {", ".join(unusable)}' if unusable else 'Ready for training.')
    return int(bool(unusable))


if __name__ == '__main__':
    sys.exit(main())
