"""Accuracy with the options that make training cheaper, beside plain training: is it the same?

    python tools/benchmark/options_accuracy.py --seeds 1 2 3 --work-dir work_dirs/options

Trains the config once per option and seed through tools/train.py (two processes through tools/dist_train.sh), tests every
checkpoint in one process and float32, and compares the mean over seeds with that of plain training. "Same" is a difference
of at most one standard deviation of plain training over its seeds. What is done is kept. Trainings take a GPU where there
is one; what needs more GPUs than there are is left out, with the reason.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from machine import OUT, ROOT, describe_machine, device_in_use, write_results

PLAIN = 'plain'
METRICS = {'accuracy/tuned': 'tuned', 'accuracy/fused': 'fused'}


class Option(NamedTuple):
    """One way to train."""

    changes: tuple = ()
    """Of the config. The batch of all processes and accumulated steps together stays what it is."""
    processes: int = 1


OPTIONS = {
    PLAIN: Option(),
    'bfloat16': Option(changes=('optim_wrapper.type=DeviceAmpOptimWrapper', 'optim_wrapper.dtype=bfloat16')),
    'torch.compile': Option(changes=('model.compile=True',)),
    'checkpointing': Option(changes=('model.backbone.checkpointing=True',)),
    '2 accumulated steps of 16': Option(changes=('train_dataloader.batch_size=16', 'optim_wrapper.accumulative_counts=2')),
    '2 processes with 16 each': Option(changes=('train_dataloader.batch_size=16',), processes=2),
}


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default=str(ROOT / 'configs' / 'mps_mini_16shot_digits.py'), help='its batch is 32')
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument(
        '--options', nargs='+', choices=OPTIONS, default=list(OPTIONS), metavar='NAME', help=f'of: {", ".join(OPTIONS)}'
    )
    parser.add_argument('--work-dir', default='work_dirs/options', help='folder of the trainings')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time')
    parser.add_argument('--out', default=str(OUT / 'options_accuracy.json'))
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f'--jobs is {arguments.jobs}, expected 1 or more')
    if PLAIN not in arguments.options:
        arguments.options.insert(0, PLAIN)  # what the others are compared with
    return arguments


def main():
    """Train, test and compare."""
    arguments = parse_arguments()
    skipped = {name: reason for name in arguments.options if (reason := why_not(OPTIONS[name]))}
    for name, reason in skipped.items():
        print(f'{name}: left out, {reason}')
    options = [name for name in arguments.options if name not in skipped]
    runs = [(name, seed) for name in options for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        metrics = dict(zip(runs, pool.map(lambda run: train_and_test(*run, arguments), runs)))
    results = compare(metrics, options, arguments.seeds)
    write_results(
        dict(
            config=Path(arguments.config).name,
            seeds=arguments.seeds,
            machine=describe_machine(device_in_use()),
            options=results,
            skipped=skipped,
        ),
        arguments.out,
    )
    print(format_results(results))


def why_not(option: Option) -> str:
    """Return why an option cannot be had here, '' if it can: each process needs a GPU of its own where there are GPUs."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else option.processes
    return f'{option.processes} processes need as many GPUs, but there are {gpus}' if option.processes > gpus else ''


def train_and_test(name, seed, arguments):
    """Return the metrics of a run, which is only run if they are not there yet."""
    option = OPTIONS[name]
    folder = Path(arguments.work_dir, f'{name.replace(" ", "_")}_seed{seed}')
    file = folder / 'metrics.json'
    if not file.is_file():
        tool = [sys.executable, str(ROOT / 'tools' / 'train.py'), arguments.config]
        if option.processes > 1:
            tool = ['bash', str(ROOT / 'tools' / 'dist_train.sh'), arguments.config, str(option.processes)]
        run([*tool, '--work-dir', str(folder), '--overwrite', '--cfg-options', f'seed={seed}', *option.changes])
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        run(
            [
                sys.executable,
                str(ROOT / 'tools' / 'test.py'),
                arguments.config,
                checkpoint,
                '--work-dir',
                str(folder),
                '--out',
                str(file),
                '--out-item',
                'metrics',
                '--cfg-options',
                f'seed={seed}',
                'test_cfg.targets=None',
            ]
        )
        print(f'{name}, seed {seed}: done', flush=True)
    return json.loads(file.read_text(encoding='utf-8'))


def run(command):
    """Run a command; show the end of what it said if it fails."""
    # The launcher of several processes takes the Python that it finds first.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, 'PATH': search}
    )
    if done.returncode:
        sys.exit(f'{" ".join(command)} ended with status {done.returncode}:\n{done.stdout[-3000:]}')


def compare(metrics, options, seeds):
    """Return mean and standard deviation of every option, and whether it is within one of plain training's mean.

    Args:
        metrics (dict[tuple[str, int], dict]): Option and seed to figures in percent.
        options (Sequence[str]): Names.
        seeds (Sequence[int]): Of all options.

    Returns:
        dict[str, dict]: Option to figure to ``values``, ``mean``, ``std``, ``difference`` and ``same``; the last two are
        None for plain training, and ``std`` for a single seed.
    """
    results = {}
    for name in options:
        results[name] = {}
        for metric, label in METRICS.items():
            values = [metrics[name, seed][metric] for seed in seeds]
            result = dict(
                values=values,
                mean=statistics.mean(values),
                std=statistics.stdev(values) if len(values) > 1 else None,
                difference=None,
                same=None,
            )
            if name != PLAIN:
                plain = results[PLAIN][label]
                result['difference'] = result['mean'] - plain['mean']
                result['same'] = None if plain['std'] is None else abs(result['difference']) <= plain['std']
            results[name][label] = result
    return results


def format_results(results):
    """Return the table for the screen and the documentation."""
    lines = ['| training | tuned | fused | difference of fused |', '|---|---|---|---|']
    for name, figures in results.items():
        spreads = [
            f'{result["mean"]:.2f}' + ('' if result['std'] is None else f' ± {result["std"]:.2f}') for result in figures.values()
        ]
        difference = figures['fused']['difference']
        lines.append(f'| {name} | {" | ".join(spreads)} | {"" if difference is None else f"{difference:+.2f}"} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
