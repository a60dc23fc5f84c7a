"""Tables of docs/speed.md about the run on a GPU, from the files in results/gpu/; tools/fill_readme.py puts them in."""

import json
from pathlib import Path

from mmpretrain_mps.engine.loops.domain_report import markdown_table

FOLDER = Path(__file__).resolve().parents[1] / 'results' / 'gpu'
# How the labels of speed.json begin, and what their speed is a share of.
PRECISIONS = {'bf16': 'bfloat16', 'TF32': 'tf32', 'float32': 'float32'}
TASKS = {'step': 'training step', 'predict': 'prediction'}
KINDS = {'out': 'features, logits', 'loss': 'losses', 'grad': 'gradients', 'traj': 'losses of several steps'}
WHAT_IF = {
    'plain': 'nothing',
    'plain again': 'nothing, again',
    'half_norms': 'layer norms read and write bfloat16',
    'kept_weights': 'frozen weights kept in bfloat16',
    'kept_vectors': "QuickGELU's factor applied to frozen weights once",
    'linear_patches': 'patch convolution as a matrix product',
    'fused_sgd': 'fused SGD',
    'lean_gram': 'Gram distances in three products instead of four',
    'tf32_losses': 'losses in TF32',
    'all of these': 'all of these',
    'plain, CUDA graph of the step': 'nothing, but the step as one CUDA graph',
    'all of these, CUDA graph of the step': 'all of these, as one CUDA graph',
    'blocks compiled': 'each block through torch.compile',
    'blocks compiled + kept weights etc.': 'compiled blocks, and all but the norms',
    'blocks compiled + kept weights etc., CUDA graph': 'the same, as one CUDA graph',
}


def read(name: str) -> dict:
    """Read one file of the run."""
    return json.loads((FOLDER / f'{name}.json').read_text(encoding='utf-8'))


def gpu_machine() -> str:
    """Return on what it was measured."""
    machine = read('speed')['machine']
    peaks = read('speed')['peaks']
    return (
        f'{machine["device"]} ({machine["device_memory_gib"]} GiB), {machine["host_cores"]} cores of its host, '
        f'torch {machine["torch"]}, cuDNN {machine["cudnn"]}. A product of 8192 x 8192 matrices runs at '
        f'{peaks["bfloat16"]:.0f} TFLOP/s in bfloat16, {peaks["tf32"]:.0f} in TF32 and {peaks["float32"]:.0f} in '
        f'float32; copies move {peaks["copy_tb_per_s"]:.1f} TB/s.'
    )


def gpu_right() -> str:
    """Return how far the recorded numbers of the golden file are met."""
    golden = read('right')['golden']
    rows = [
        [name, f'{row["within"]} of {row["rows"]}', *(f'{row["worst_by_kind"][kind]:.0e}' for kind in KINDS)]
        for name, row in golden['rows'].items()
    ]
    return markdown_table(['precision on the GPU', f'within {golden["tolerance"]:.0e}', *KINDS.values()], rows)


def gpu_cpu() -> str:
    """Return how far a random ViT-B/16 on the GPU is from itself on the CPU or in another precision."""
    found = read('right')['random_vit_b_16']
    rows = [
        [name, *(f'{row[key]:.0e}' for key in ('losses', 'logits', 'gradient')), f'{row["same_predictions"]:.0%}']
        for name, row in found['rows'].items()
    ]
    return markdown_table(['ViT-B/16 with random weights', 'losses', 'logits', 'gradient', 'same predictions'], rows)


def gpu_trainings() -> str:
    """Return the accuracies of whole trainings."""
    rows = [
        [name, *(f'{row[f"accuracy/{branch}"]:.2f}' for branch in ('zero_shot', 'tuned', 'fused'))]
        for name, row in read('trainings')['rows'].items()
    ]
    return markdown_table(['training on the GPU, then test', 'zero-shot', 'tuned', 'fused'], rows)


def gpu_steps() -> str:
    """Return time, speed and memory of both formulations."""
    content, rows = read('speed'), []
    found = _by_label()
    for task, label in TASKS.items():
        for batch in (32, 256):
            for precision, peak in PRECISIONS.items():
                theirs, ours = (found[f'{precision} {name}', task, batch] for name in ('reference', 'ours'))
                rows.append(
                    [
                        f'{label}, {batch}{" x 2" if task == "step" else ""}, {precision}',
                        _time(theirs),
                        _time(ours),
                        f'{theirs["ms"] / ours["ms"]:.2f}',
                        f'{ours["host_ms"]:.0f}',
                        *(f'{row["tflops"] / content["peaks"][peak]:.0%}' for row in (theirs, ours)),
                        *(f'{row["peak_gb"]:.1f}' for row in (theirs, ours)),
                    ]
                )
    return markdown_table(
        [
            'ViT-B/16',
            'reference, ms',
            'ours, ms',
            'ratio',
            'launching ours, ms',
            'reference, of the peak',
            'ours, of the peak',
            'reference, GB',
            'ours, GB',
        ],
        rows,
    )


def gpu_noise() -> str:
    """Return what the rows with a small batch cannot say, and what says it."""
    rows, kernels = _by_label(), read('kernels')['rows']
    first, *later = (rows[label, 'step', 32]['ms'] for label in ('bf16 ours', 'bf16 + plain', 'bf16 + plain again'))
    theirs, ours = (kernels[f'bf16 {name} step b32']['busy_ms'] for name in ('reference', 'ours'))
    graph = rows['bf16 + plain, CUDA graph of the step', 'step', 32]['ms']
    return (
        f'The same step of ours took {first:.0f} ms, later {" and ".join(f"{value:.0f}" for value in later)} ms. Of '
        'the rows of 32 pictures in bfloat16 and TF32 the ratio therefore says little. The kernels alone took '
        f'{theirs:.1f} ms for the reference and {ours:.1f} ms for ours ({theirs / ours:.2f} times less), and our step '
        f'as one CUDA graph, which the host launches at once, took {graph:.1f} ms.'
    )


def gpu_compiled() -> str:
    """Return what compiling blocks costs at the start, and what a view bank gave."""
    content, rows = read('speed'), _by_label()
    seconds = content['compile_seconds']
    bank, device = (rows[f'bf16 view bank {place}', 'step', 32]['ms'] for place in ('in memory', 'on the device'))
    return (
        f'The first step with compiled blocks took {seconds["first step b32"]:.0f} s, the first prediction '
        f'{seconds["first prediction b32"]:.0f} s. A step of 32 x 2 from a view bank in memory took {bank:.0f} ms, '
        f'on the device {device:.0f} ms: with the host as the limit, no gain is to be seen.'
    )


def gpu_tests() -> str:
    """Return how the tests went that had the GPU in sight."""
    found = read('trainings')['tests_with_the_gpu_in_sight']
    return (
        f'Of the tests of models, engine and evaluation, with the GPU in sight, {found["passed"]} passed, '
        f"{found['failed']} failed and {found['errors']} could not start: models went to the GPU and the tests' "
        'own tensors did not, or processes that were to share CPUs met one GPU. Tests hide GPUs now, and `tests/gpu/` '
        'holds what needs one.'
    )


def gpu_large() -> str:
    """Return the rows of ViT-L/14."""
    rows = [
        [
            f'{TASKS[row["task"]]}, {row["label"].removeprefix("ViT-L ")}',
            _time(row),
            f'{row["host_ms"]:.0f}',
            f'{row["peak_gb"]:.1f}',
        ]
        for row in read('speed')['rows']
        if row['architecture'] == 'ViT-L-14'
    ]
    return markdown_table(['ViT-L/14, 32 pictures', 'ms', 'launching, ms', 'GB'], rows)


def gpu_what_if() -> str:
    """Return what single changes of the code would bring, and what the compiler and CUDA graphs do."""
    found = {}
    for row in read('speed')['rows']:
        name = row['label'].removeprefix('bf16 + ')
        if name in WHAT_IF:
            found.setdefault(name, {})[row['task'], row['batch']] = row
    columns = (('step', 32), ('step', 256), ('predict', 32), ('predict', 256))
    # In the order of the names above; what compiles or captures last.
    rows = [
        [
            title,
            *(_time(found[name][column]) if column in found[name] else '' for column in columns),
            *(f'{found[name]["step", 256]["peak_gb"]:.1f}' if ('step', 256) in found[name] else '',),
        ]
        for name, title in WHAT_IF.items()
        if name in found
    ]
    return markdown_table(
        [
            'ours in bfloat16, and',
            'step 32 x 2, ms',
            'step 256 x 2, ms',
            'prediction 32, ms',
            'prediction 256, ms',
            'step 256 x 2, GB',
        ],
        rows,
    )


def gpu_kernels() -> str:
    """Return where the device's time goes."""
    found = read('kernels')['rows']
    columns = {
        'bf16 reference step b32': 'reference, step',
        'bf16 ours step b32': 'ours, step',
        'bf16 blocks compiled step': 'ours, step, blocks compiled',
        'bf16 ours predict b32': 'ours, prediction',
    }
    groups = list(dict.fromkeys(group for name in columns for group in found[name]['groups']))
    groups.sort(key=lambda group: -found['bf16 ours step b32']['groups'].get(group, dict(ms=0))['ms'])
    rows = [[group, *(_group(found[name]['groups'].get(group)) for name in columns)] for group in groups]
    rows.append(['together', *(f'{found[name]["busy_ms"]:.1f} ({found[name]["launches"]})' for name in columns)])
    return markdown_table(['kernels, ms (calls); bfloat16, 32 x 2', *columns.values()], rows)


def gpu_cost() -> str:
    """Return what is launched and moved by count, the least time for it, and the time that was measured."""
    content = json.loads((FOLDER.parent / 'benchmark' / 'cost.json').read_text(encoding='utf-8'))
    rows, found = [], {}
    for row in content['rows']:
        found.setdefault((row['task'], row['batch'], row['dtype']), {})[row['formulation']] = row
    for (task, batch, dtype), both in sorted(found.items(), key=lambda item: (item[0][0] != 'step', item[0][1:])):
        measured = [_device_ms(name, task, batch, dtype) for name in both]
        rows.append(
            [
                f'{TASKS[task]}, {batch}{" x 2" if task == "step" else ""}, {dtype}',
                *(str(row['kernels']) for row in both.values()),
                *(f'{row["gigabytes"]:.0f}' for row in both.values()),
                *(f'{row["least_ms"]:.1f}' for row in both.values()),
                *('' if value is None else f'{value:.1f}' for value in measured),
            ]
        )
    columns = [f'{what}, {name}' for what in ('kernels', 'GB moved', 'least ms', 'measured ms') for name in ('reference', 'ours')]
    return markdown_table(['by count, ViT-B/16', *columns], rows)


def _device_ms(name, task, batch, dtype):
    """Return the time of the device: that of the kernels where the host is slower, None where they were not recorded."""
    if (batch, dtype) == (32, 'bfloat16'):
        row = read('kernels')['rows'].get(f'bf16 {name} {task} b32')
        return None if row is None else row['busy_ms']
    return _by_label()[f'{"bf16" if dtype == "bfloat16" else "float32"} {name}', task, batch]['ms']


def gpu_loader() -> str:
    """Return pictures per second of the loader by number of workers."""
    rates, rows = read('host')['loader']['pictures_per_second'], {}
    for name, rate in rates.items():
        source, workers = name.split(', ')
        rows.setdefault(workers, {})[source] = rate
    sources = list(next(iter(rows.values())))
    eaten = 1e3 * 256 / _by_label()['bf16 ours', 'step', 256]['ms']
    table = markdown_table(
        ['pictures/s, two views of each', *sources],
        [[workers, *(f'{row[source]:.0f}' for source in sources)] for workers, row in rows.items()],
    )
    return f'{table}\n\nJPEG files of 500 x 375. Our step of 256 x 2 in bfloat16 consumes {eaten:.0f} pictures/s.'


def gpu_start() -> str:
    """Return how long a training takes to its first iteration."""
    found = read('host')['start']
    return (
        f'`{found["config"]}.py` was in its first iteration {found["seconds"]["first"]:.0f} s after the command, '
        f'{found["seconds"]["later"]:.0f} s with cached prototypes (one start each).'
    )


def _by_label():
    """Return the rows of ViT-B/16 by label, task and batch."""
    return {(row['label'], row['task'], row['batch']): row for row in read('speed')['rows'] if row['architecture'] == 'ViT-B-16'}


def _time(row):
    """Write milliseconds, with half of the spread where it is more than a fiftieth."""
    half = row['spread_ms'] / 2
    text = f'{row["ms"]:.1f}' if row['ms'] < 100 else f'{row["ms"]:.0f}'
    return text if half < 0.02 * row['ms'] else f'{text} ± {half:.0f}' if half >= 1 else f'{text} ± {half:.1f}'


def _group(group):
    return '' if group is None else f'{group["ms"]:.2f} ({group["count"]})'


GPU_BLOCKS = {
    function.__name__: function
    for function in (
        gpu_machine,
        gpu_right,
        gpu_cpu,
        gpu_trainings,
        gpu_tests,
        gpu_steps,
        gpu_noise,
        gpu_kernels,
        gpu_what_if,
        gpu_compiled,
        gpu_large,
        gpu_cost,
        gpu_loader,
        gpu_start,
    )
}
