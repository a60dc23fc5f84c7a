"""Compare this project with recorded numbers of the methods' released code.

    python tools/check_parity.py tests/data/golden.npz
    python tools/check_parity.py tests/data/golden.npz --compile   # minutes: compiles the backbone, and runs it

Prints one row per recorded array; the exit status is 0 only if all of them are within the method's tolerance times
max(1, max|recorded|), and nothing that was recorded was left out.
"""
import argparse
import logging
import sys

from mmpretrain_mps.evaluation.parity import METHODS, compare, unused_entries


def main():
    """Parse the arguments, print the rows, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', help='.npz file of recorded numbers')
    parser.add_argument('--method', choices=METHODS, help='what the file is of; by default its arrays tell')
    parser.add_argument('--compile', action='store_true', help='the backbone through torch.compile')
    parser.add_argument('--checkpointing', action='store_true', help='with gradient checkpointing')
    arguments = parser.parse_args()
    path = arguments.file
    options = dict(compile=True) if arguments.compile else {}
    if arguments.checkpointing:
        options['backbone'] = dict(checkpointing=True)
    logging.disable(logging.WARNING)  # every comparison builds a model, which need not be announced
    failed = total = 0
    try:
        print(f"{'recorded array':<66} {'difference':>11} {'tolerance':>10}")
        for row in compare(path, options, arguments.method):
            total, failed = total + 1, failed + (not row.passed)
            print(f"{row.name:<66} {row.difference:>11.2e} {row.tolerance:>10.1e} {'ok' if row.passed else 'DIFFERS'}")
        for name in unused_entries(path, arguments.method):
            print(f'{name:<66} not compared: the released code computes it and does not use it')
    except (FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{total - failed} of {total} recorded arrays agree' + (f', {failed} DIFFER' if failed else ''))
    return 1 if failed or not total else 0


if __name__ == '__main__':
    sys.exit(main())
