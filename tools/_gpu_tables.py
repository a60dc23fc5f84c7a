"""Tables of docs/speed.md about the runs on a GPU, from the files in results/gpu/; tools/fill_readme.py puts them in."""

import json
from pathlib import Path

from mmpretrain_mps.engine.loops.domain_report import markdown_table

FOLDER = Path(__file__).resolve().parents[1] / 'results' / 'gpu'
TASKS = {'step': 'training step', 'predict': 'prediction'}
# Files of tools/check_parity.py, and what they say.
PARITY = {'strict': 'float32', 'tf32': 'TF32', 'bf16': 'bfloat16'}
TRAININGS = {
    'float32': 'float32',
    'float32_again': 'the same again',
    'float32_loader': 'views made by the processes that load',
    'tf32': 'TF32',
    'bfloat16': 'bfloat16 (`--amp`)',
    'bfloat16_test': 'bfloat16, tested in it, too',
    'float16': 'float16',
    'fused_sgd': 'fused optimizer',
    'view_bank': 'view bank 16',
    'compiled': 'compiled blocks',
    'cuda_graph': 'tested as one CUDA graph',
    'checkpointing': 'checkpointing',
    'nccl_ddp': 'DDP over NCCL, 1 process',
    'fsdp2': 'FSDP2, 1 process',
    'fsdp2_bfloat16': 'FSDP2 in bfloat16, 1 process',
    'linear_probe': 'linear probe',
    'clip_adapter': 'CLIP-Adapter',
    'amu_tuning': 'AMU-Tuning',
}


def read(name: str) -> dict:
    """Read one file of the runs."""
    return json.loads((FOLDER / f'{name}.json').read_text(encoding='utf-8'))


def gpu_machine() -> str:
    """Return on what it was measured."""
    content = read('speed')
    machine, peaks = content['machine'], content['peaks']
    speeds = ', '.join(f'{speed:.0f} in {name}' for name, speed in peaks['tflops'].items())
    return (
        f'{machine["device"]}, {machine["processor"]}, torch {machine["versions"]["torch"]}, CUDA {machine["cuda"]}. A product of '
        f'8192 x 8192 matrices runs at these TFLOP/s: {speeds}; copies move {peaks["copy_tb_per_s"]:.1f} TB/s.'
    )


def gpu_right() -> str:
    """Return how far the recorded numbers of every method are met."""
    files, rows = {name: {one['method']: one for one in read(f'parity-{name}')['files']} for name in PARITY}, []
    for method, strict in files['strict'].items():
        rounded = [f'{files[name][method]["agreeing"]}' for name in PARITY if name != 'strict']
        largest = f'{strict["largest"]["share_of_tolerance"]:.2f}'
        rows.append([method, str(strict['arrays']), str(strict['agreeing']), largest, *rounded])
    header = ['method', 'recorded arrays', 'equal in float32', 'largest difference, of the tolerance', 'in TF32', 'in bfloat16']
    return markdown_table(header, rows)


def gpu_trainings() -> str:
    """Return the accuracies of whole trainings."""
    found = read('trainings')['rows']
    rows = [
        [title, *(f'{found[name]["metrics"][f"accuracy/{branch}"]:.2f}' for branch in ('zero_shot', 'tuned', 'fused'))]
        for name, title in TRAININGS.items()
    ]
    return markdown_table(['training on the GPU, then test', 'zero-shot', 'tuned', 'fused'], rows)


def gpu_steps() -> str:
    """Return time, speed and memory of both formulations."""
    content, rows = read('speed'), []
    for task, label in TASKS.items():
        for step in content['steps']:
            both, precision = step[task], step['precision']
            peak = content['peaks']['tflops'][precision]
            rows.append(
                [
                    f'{label}, {step["batch"]}{" x 2" if task == "step" else ""}, {precision}',
                    *(_time(row) for row in both.values()),
                    f'{both["ours"]["ratio"]:.2f}',
                    f'{both["ours"]["launch_ms"]:.0f}',
                    *(f'{row["tflops"] / peak:.0%}' for row in both.values()),
                    *(f'{row["gb"]:.1f}' for row in both.values()),
                ]
            )
    columns = [
        'ViT-B/16',
        'reference, ms',
        'ours, ms',
        'ratio',
        'launching ours, ms',
        'reference, of the peak',
        'ours, of the peak',
        'reference, GB',
        'ours, GB',
    ]
    return markdown_table(columns, rows)


def gpu_host() -> str:
    """Return what the host takes for a step and a prediction, and the device."""
    content = read('speed')
    kernels, small = content['kernels'], content['steps'][0]
    parts = [
        f'{_count(kernels[name])} of a {label} of {small["batch"]} pictures in {kernels[name]["total"]["ms"]:.1f} ms, for whose '
        f'launch the host took {small[task]["ours"]["launch_ms"]:.0f} ms'
        for name, task, label in (('ours, step', 'step', 'training step'), ('ours, prediction', 'predict', 'prediction'))
    ]
    ratio = kernels['reference, step']['total']['ms'] / kernels['ours, step']['total']['ms']
    return (
        f"The device ran {' and '.join(parts)}. The reference's kernels of a step take {ratio:.2f} times as long as ours, and "
        f'those of a prediction {kernels["reference, prediction"]["total"]["ms"] / kernels["ours, prediction"]["total"]["ms"]:.2f} '
        'times.'
    )


def _count(found):
    return f'{found["total"]["calls"]:,} kernels'


def gpu_kernels() -> str:
    """Return where the device's time goes."""
    found = read('speed')['kernels']
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one['kinds']))
    kinds.sort(key=lambda kind: -found['ours, step']['kinds'].get(kind, dict(ms=0))['ms'])
    rows = [[kind, *(_kind(one['kinds'].get(kind)) for one in found.values())] for kind in kinds]
    rows.append(['together', *(_kind(one['total']) for one in found.values())])
    return markdown_table(['kernels, ms (calls); bfloat16, 32 pictures', *found], rows)


def _kind(row):
    return '' if row is None else f'{row["ms"]:.2f} ({row["calls"]})'


def gpu_options() -> str:
    """Return what our options do to time and memory."""
    found, rows = read('speed')['options'], []
    for name in dict.fromkeys(name for row in found for task in TASKS for name in row[task]):
        cells = [row[task].get(name) for task in TASKS for row in found]
        times = ['' if cell is None else f'{_time(cell)} ({cell["ratio"]:.2f})' for cell in cells]
        first = [row['first_call_seconds'].get(f'{name}, {task}') for task in TASKS for row in found[:1]]
        rows.append([name, *times, *('' if seconds is None else f'{seconds:.1f}' for seconds in first)])
    columns = [f'{label} {row["batch"]}, ms' for label in TASKS.values() for row in found]
    return markdown_table(['ours in bfloat16', *columns, 'first step, s', 'first prediction, s'], rows)


def gpu_view_bank() -> str:
    """Return what a view bank gives."""
    found = read('speed')['view_bank']['step']
    plain, ram, device = (found[name] for name in ('plain', 'bank, ram', 'bank, device'))
    return (
        f'A step of 32 x 2 in bfloat16 took {_time(plain)} ms, {_time(ram)} on a view bank in memory and {_time(device)} on one '
        f'that lies on the device ({device["ratio"]:.2f} times faster).'
    )


def gpu_large() -> str:
    """Return the rows of ViT-L/14."""
    found = read('speed')['large']
    rows = [
        [f'{label}, {name}', _time(row), f'{row["ratio"]:.2f}', f'{row["launch_ms"]:.0f}', f'{row["gb"]:.1f}']
        for task, label in TASKS.items()
        for name, row in found[task].items()
    ]
    return markdown_table([f'ViT-L/14, {found["batch"]} pictures, bfloat16', 'ms', 'ratio', 'launching, ms', 'GB'], rows)


def gpu_cost() -> str:
    """Return what is launched and moved by count, the least time for it, and the time that was measured."""
    content = json.loads((FOLDER.parent / 'benchmark' / 'cost.json').read_text(encoding='utf-8'))
    rows, found = [], {}
    for row in content['rows']:
        found.setdefault((row['task'], row['batch'], row['dtype']), {})[row['formulation']] = row
    for (task, batch, dtype), both in sorted(found.items(), key=lambda item: (item[0][0] != 'step', item[0][1:])):
        rows.append(
            [
                f'{TASKS[task]}, {batch}{" x 2" if task == "step" else ""}, {dtype}',
                *(str(row['kernels']) for row in both.values()),
                *(f'{row["gigabytes"]:.0f}' for row in both.values()),
                *(f'{row["least_ms"]:.1f}' for row in both.values()),
                *(f'{_device_ms(name, task, batch, dtype):.1f}' for name in both),
            ]
        )
    columns = [f'{what}, {name}' for what in ('kernels', 'GB moved', 'least ms', 'measured ms') for name in ('reference', 'ours')]
    return markdown_table(['by count, ViT-B/16', *columns], rows)


def _device_ms(name, task, batch, dtype):
    """Return the time of the device: that of the kernels where the host is slower."""
    content = read('speed')
    if (batch, dtype) == (32, 'bfloat16'):
        return content['kernels'][f'{name}, {TASKS[task].removeprefix("training ")}']['total']['ms']
    precision = 'bf16' if dtype == 'bfloat16' else 'float32'
    return next(one for one in content['steps'] if (one['batch'], one['precision']) == (batch, precision))[task][name]['ms']


def gpu_loader() -> str:
    """Return pictures per second of the data path by number of workers."""
    content = read('loader')
    rates = {name: rate for name, rate in content['pictures_per_second'].items() if name.startswith('JPEG')}
    workers = list(next(iter(rates.values())))
    table = markdown_table(
        ['pictures/s, two views of each', *(f'{count} processes' for count in workers)],
        [[name.removeprefix('JPEG files, '), *(f'{rate[count]:.0f}' for count in workers)] for name, rate in rates.items()],
    )
    large = read('speed')['steps'][3]
    width, height = content['settings']['size']
    return (
        f'{table}\n\nJPEG files of {width} x {height}. Our step of {large["batch"]} x 2 in bfloat16 consumes '
        f'{1e3 * large["batch"] / large["step"]["ours"]["ms"]:.0f} pictures/s.'
    )


def gpu_start() -> str:
    """Return how long a training takes to its first iteration."""
    found = read('start')
    return (
        f'`{found["config"]}.py` was in its first iteration {found["seconds"]["first"]:.0f} s after the command, '
        f'{found["seconds"]["later"]:.0f} s with cached prototypes (one start each).'
    )


def _time(row):
    """Write milliseconds, with half of the spread where it is more than a fiftieth."""
    half = row['spread_ms'] / 2
    text = f'{row["ms"]:.1f}' if row['ms'] < 100 else f'{row["ms"]:.0f}'
    return text if half < 0.02 * row['ms'] else f'{text} ± {half:.0f}' if half >= 1 else f'{text} ± {half:.1f}'


GPU_BLOCKS = {
    function.__name__: function
    for function in (
        gpu_machine,
        gpu_right,
        gpu_trainings,
        gpu_steps,
        gpu_host,
        gpu_kernels,
        gpu_options,
        gpu_view_bank,
        gpu_large,
        gpu_cost,
        gpu_loader,
        gpu_start,
    )
}
