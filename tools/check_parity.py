"""Compare this project with recorded numbers of the methods' released code.

    python tools/check_parity.py tests/data/golden.npz
    python tools/check_parity.py tests/data/golden.npz tests/data/methods/*.npz --out results/parity.json
    python tools/check_parity.py tests/data/methods/coop.npz --device cuda --precision bf16
    python tools/check_parity.py tests/data/golden.npz --compile   # minutes: compiles the backbone, and runs it

Prints one row per recorded array; the exit status is 0 only if all of them are within the method's tolerance times
max(1, max|recorded|), and nothing that was recorded was left out; under rounding (--precision tf32 or bf16) if all were computed.
"""

import argparse
import json
import logging
import math
import platform
import sys
from pathlib import Path

import torch

from mmpretrain_mps.engine.command_line import check_device
from mmpretrain_mps.evaluation.parity import METHODS, PRECISIONS, compare, method_of_file, unused_arrays
from mmpretrain_mps.models.computation.precision import STRICT


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', metavar='file', help='.npz file of recorded numbers')
    parser.add_argument('--method', choices=METHODS, help='what the files are of; by default their arrays tell')
    parser.add_argument('--compile', action='store_true', help='the backbone through torch.compile')
    parser.add_argument('--checkpointing', action='store_true', help='with gradient checkpointing')
    parser.add_argument('--device', default='cpu', help='where to compute, for example cuda')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help='strict: whole float32 products (default); tf32: rounded ones on GPUs; bf16: autocast as well. '
        'The last two show how far rounding takes each number, and are not judged',
    )
    parser.add_argument('--out', help='write a summary of all files here, as JSON')
    arguments = parser.parse_args()
    check_device(parser, arguments.device)
    return arguments


def check(path, method, options, device, precision):
    """Print the rows of one file and return what came out.

    Returns:
        dict: File, method, number of recorded arrays, how many agree, how many were computed at all, the largest difference in
        units of its tolerance.
    """
    print(f'{"recorded array":<66} {"difference":>11} {"tolerance":>10}')
    rows = []
    for row in compare(path, options, method, device, precision):
        rows.append(row)
        print(f'{row.name:<66} {row.difference:>11.2e} {row.tolerance:>10.1e} {"ok" if row.passed else "DIFFERS"}')
    for name in unused_arrays(path, method):
        print(f'{name:<66} not compared: the released code computes it and does not use it')
    agreeing = sum(row.passed for row in rows)
    print(
        f'{agreeing} of {len(rows)} recorded arrays agree' + (f', {len(rows) - agreeing} DIFFER' if agreeing < len(rows) else '')
    )
    worst = max(rows, key=lambda row: row.difference / row.tolerance, default=None)
    return dict(
        file=Path(path).name,
        method=method or method_of_file(path),
        arrays=len(rows),
        agreeing=agreeing,
        computed=sum(math.isfinite(row.difference) for row in rows),
        largest=None
        if worst is None
        else dict(name=worst.name, difference=worst.difference, share_of_tolerance=worst.difference / worst.tolerance),
    )


def main():
    """Compare all files, return the exit status."""
    arguments = parse_arguments()
    options = dict(compile=True) if arguments.compile else {}
    if arguments.checkpointing:
        options['backbone'] = dict(checkpointing=True)
    logging.disable(logging.WARNING)  # every comparison builds a model, which need not be announced
    results = []
    for path in arguments.files:
        try:
            results.append(check(path, arguments.method, options, arguments.device, arguments.precision))
        except (FileNotFoundError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 2
    if arguments.out:
        on_gpu = torch.device(arguments.device).type == 'cuda'
        versions = dict(
            precision=arguments.precision,
            python=platform.python_version(),
            torch=torch.__version__,
            device=torch.cuda.get_device_name(arguments.device) if on_gpu else 'cpu',
        )
        Path(arguments.out).write_text(json.dumps(dict(versions=versions, files=results), indent=1) + '\n')
    expected = 'agreeing' if arguments.precision == STRICT else 'computed'
    return 0 if all(0 < result['arrays'] == result[expected] for result in results) else 1


if __name__ == '__main__':
    sys.exit(main())
