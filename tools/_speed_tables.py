"""Tables of what the tools in tools/benchmark/ measured on a CPU, from the files in results/benchmark/; see fill_readme.py."""

import functools

from _method_tables import read

from mmpretrain_mps.engine.loops.domain_report import markdown_table

STEPS = {
    'step_quick': 'step-ViT-B-16-cpu-float32-batch2',
    'step': 'step-ViT-B-16-cpu-float32-batch4-threads_1-clock_process',
    'step_one_library': 'step-ViT-B-16-cpu-float32-batch4-threads_1-clock_process-no_onednn',
}
EXPORTED = ('mps-mini', 'ViT-B-16')


def step(name):
    """Return the table of a file that tools/benchmark/step.py wrote."""
    found, rows = read(f'benchmark/{name}.json'), []
    for task, label, pictures in (('step', 'training step', 'picture and view'), ('predict', 'prediction', 'picture')):
        row = found[task]
        seconds, flops, memory = (row[key] for key in ('seconds', 'gflop', 'memory'))
        rows.append([f'{label}, s', f'{seconds["reference"]:.2f}', f'{seconds["ours"]:.2f}', f'{row["ratio"]:.2f} times faster'])
        rows.append(
            [
                f'{label}, GFLOP per {pictures}',
                f'{flops["reference"]:.1f}',
                f'{flops["ours"]:.1f} (floor {row["gflop_floor"]:.1f})',
                f'{flops["reference"] / flops["ours"]:.2f}',
            ]
        )
        if memory:
            rows.append(
                [
                    f'{label}, peak memory above weights',
                    *(f'{memory[key] / 1e9:.2f} GB' for key in memory),
                    f'{memory["ours"] / memory["reference"]:.2f}',
                ]
            )
        rows.append([f'{label}, share of the speed of a large matrix product', '', f'{row["share_of_peak"]:.0%}', ''])
    return markdown_table(['', 'reference', 'ours', 'ratio'], rows)


def operators(name):
    """Return where the time of a step goes, from a file that tools/benchmark/step.py wrote with --profile."""
    rows = [
        [row['operator'], str(row['calls']), f'{row["share"]:.1%}']
        for row in read(f'benchmark/{name}.json')['profile']['step'][:8]
    ]
    return markdown_table(['operator of our training step', 'calls', 'share of the time'], rows)


def memory():
    """Return the counted memory of training steps."""
    rows = []
    for row in read('benchmark/memory.json')['rows']:
        ours, theirs = row['above']['ours'], row['above']['reference']
        rows.append(
            [
                f'{row["architecture"]}, {row["batch"]} x 2 views, {row["dtype"]}'
                f'{", checkpointing" if row["checkpointing"] else ""}',
                f'{row["weights"] / 1e9:.2f} GB',
                f'{theirs / 1e9:.1f} GB',
                f'{ours / 1e9:.1f} GB',
                f'{ours / theirs:.2f}',
            ]
        )
    return markdown_table(['training step', 'weights', 'reference, above them', 'ours, above them', 'ratio'], rows)


def start():
    """Return how long a training takes to its first iteration."""
    found = read('benchmark/start.json')
    first, later = (found['seconds'][name] for name in ('first', 'later'))
    return (
        f'`{found["config"]}` is in its first iteration {first:.1f} s after the command, {later:.1f} s where the '
        f'prototypes are on disk already (medians of {len(found["all_seconds"]["first"])} starts; '
        f'{found["machine"]["processor"]}).'
    )


def export():
    """Return how long exported models take on a CPU, from the files that tools/benchmark/export.py wrote."""
    found = [read(f'benchmark/export-{architecture}.json') for architecture in EXPORTED]
    columns = {
        f'{file["settings"]["architecture"]}, {pictures}': seconds
        for file in found
        for pictures, seconds in file['seconds'].items()
    }
    rows = [[name, *(f'{1000 * seconds[name]:.1f}' for seconds in columns.values())] for name in next(iter(columns.values()))]
    machine, threads = found[0]['machine'], found[0]['settings']['threads']
    return (
        f'{markdown_table(["model, pictures", *columns], rows)}\n\n{machine["processor"]}, threads: {threads}; torch '
        f'{machine["versions"]["torch"]}, onnxruntime {machine["onnxruntime"]}. ViT-B-16 has random weights.'
    )


SPEED_BLOCKS = dict(
    memory=memory,
    start=start,
    export=export,
    operators=functools.partial(operators, STEPS['step']),
    **{name: functools.partial(step, file) for name, file in STEPS.items()},
)
