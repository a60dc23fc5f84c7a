"""How long a training takes from the command to its first iteration: python tools/benchmark/start.py [CONFIG].

The first start computes the class prototypes, later ones find them on disk; each is timed several times, in turn.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import OUT, ROOT, describe_machine, device_in_use, write_results

FIRST_ITERATION = 'Epoch(train)'


def seconds_to_first_iteration(config, folder, cache):
    """Start a training, wait for the line of its first iteration, and end it.

    Args:
        config (str): The config.
        folder (str): For its work directory.
        cache (str): Folder of the prototypes.

    Returns:
        float: Seconds.
    """
    command = [
        sys.executable,
        str(ROOT / 'tools' / 'train.py'),
        config,
        '--work-dir',
        folder,
        '--cfg-options',
        'default_hooks.logger.interval=1',
    ]
    start, lines = time.perf_counter(), []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, 'MMPRETRAIN_MPS_CACHE': cache}
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if FIRST_ITERATION in line:
                elapsed = time.perf_counter() - start
                process.kill()
                return elapsed
    sys.exit(f'{" ".join(command)} ended before its first iteration:\n{"".join(lines[-20:])}')


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=str(ROOT / 'configs' / 'mps_mini_16shot_digits.py'))
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--out', default=str(OUT / 'start.json'))
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f'--repeats is {arguments.repeats}, expected 1 or more')
    times = dict(first=[], later=[])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.repeats):
            cache = str(Path(folder, f'cache_{number}'))
            for name in times:
                times[name].append(seconds_to_first_iteration(arguments.config, str(Path(folder, 'work')), cache))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f'{Path(arguments.config).name}: first iteration after {medians["first"]:.1f} s, with cached prototypes after '
        f'{medians["later"]:.1f} s (medians of {arguments.repeats})'
    )
    write_results(
        dict(config=Path(arguments.config).name, machine=describe_machine(device_in_use()), seconds=medians, all_seconds=times),
        arguments.out,
    )


if __name__ == '__main__':
    main()
