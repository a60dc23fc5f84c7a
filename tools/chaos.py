"""Kill a training at random moments, resume it, and compare it with one that nobody disturbed: python tools/chaos.py CONFIG.

A training is ended by SIGKILL and SIGTERM, while it writes a checkpoint, and (with --processes 2) by killing one of its
processes; it is resumed until it comes to its end. Weights, optimizer and schedules must then be the same, bit for bit.
The exit status is 0 if they are. Linux alone. For example, in a few minutes on a CPU:

    python tools/chaos.py configs/mps_mini_16shot_digits.py --rounds 10 --cfg-options train_cfg.max_epochs=6
"""

import argparse
import sys
from pathlib import Path

from mmpretrain_mps.benchmark import chaos
from mmpretrain_mps.utils.errors import user_errors
from mmpretrain_mps.utils.methods import method_names


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--methods',
        nargs='+',
        default=[''],
        metavar='NAME',
        help=f"train by these in the place of the config's own method: {', '.join(method_names())}",
    )
    parser.add_argument('--rounds', type=int, default=10, help='trainings that are disturbed, of each method; by default 10')
    parser.add_argument('--seed', type=int, default=0, help='of kinds and moments; by default 0')
    parser.add_argument('--processes', type=int, default=1, help='of each training; by default 1')
    parser.add_argument('--work-dir', default='work_dirs/chaos', help='a new folder, for the runs')
    parser.add_argument('--out', metavar='FILE', help='write what was done and found to this .json file')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='NAME=VALUE', help='change the config')
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.processes < 1:
        parser.error('--rounds and --processes: expected 1 or more')
    if any(Path(arguments.work_dir).glob('*')):
        parser.error(f'--work-dir {arguments.work_dir} is not empty')
    return arguments


def main():
    """Disturb and compare."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        results = []
        for method in arguments.methods:
            results.append(
                chaos.run(
                    arguments.config,
                    Path(arguments.work_dir, method),
                    arguments.rounds,
                    arguments.seed,
                    arguments.processes,
                    arguments.cfg_options,
                    report=lambda line, method=method: print(f'{method} {line}'.lstrip(), flush=True),
                    method=method,
                )
            )
            if arguments.out:
                chaos.write(results, arguments.out)
    sys.exit(0 if all(result['equal'] for result in results) else 1)


if __name__ == '__main__':
    main()
