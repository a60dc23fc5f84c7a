"""Write the few-shot picks of a data set as a JSON file that can be published and named in a config.

Of a split file alone, no pictures needed:
    python tools/datasets/make_index.py --split split_zhou_OxfordPets.json --shots 16 --seed 1 --out pets.json
Of a data set on disk, ImageNet included:
    python tools/datasets/make_index.py --dataset ImageNet --root data --shots 16 --seed 1 --out imagenet.json
"""

import argparse
import sys

from mmpretrain_mps.datasets.index_file import write
from mmpretrain_mps.datasets.making_index import index_of_dataset, index_of_split_file


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--split', metavar='FILE', help='a split_zhou_*.json file')
    source.add_argument('--dataset', metavar='NAME', help='a data set, such as OxfordPets, ImageNet or PictureFolder')
    parser.add_argument('--root', metavar='DIR', help='data root, with --dataset')
    parser.add_argument('--shots', type=int, required=True, help='pictures per class; val gets at most 4 of them')
    parser.add_argument('--seed', type=int, required=True, help='seed of the picks')
    parser.add_argument('--subset', choices=('train', 'val'), default='train')
    parser.add_argument('--out', required=True, metavar='FILE', help='index file to write')
    args = parser.parse_args(argv)
    if args.split and args.root:
        parser.error('--root goes with --dataset; paths of a split file are relative already')
    return args


def _write(path, index):
    try:
        return write(path, index)
    except OSError as error:
        raise ValueError(f'--out {path!r} cannot be written: {error.strerror}') from None


def main(argv=None):
    """Write an index file; return the exit status."""
    args = parse_args(argv)
    try:
        if args.split:
            index = index_of_split_file(args.split, args.shots, args.seed, args.subset)
        else:
            index = index_of_dataset(args.dataset, args.root or '', args.shots, args.seed, args.subset)
        digest = _write(args.out, index)
    except (ValueError, OSError, KeyError, ImportError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f'make_index: error: {message}', file=sys.stderr)
        return 2
    print(
        f'{args.out}: {len(index.rows)} {args.subset} pictures of {len(index.classes)} classes of {index.dataset}, '
        f'{args.shots} shots, seed {args.seed}, sha256 {digest}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
