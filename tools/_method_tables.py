"""Tables about all methods, from the files in results/; tools/fill_readme.py puts them in."""

import json
import statistics
from pathlib import Path

from mmpretrain_mps.benchmark.summary import shots_text, spread_of
from mmpretrain_mps.engine.loops.domain_report import markdown_table

RESULTS = Path(__file__).resolve().parents[1] / 'results'
CONTEXT = {'plain': 'released code', 'fresh': 'new pictures', 'kept': 'cached views'}


def read(name: str) -> dict:
    """Read one JSON file below results/."""
    return json.loads((RESULTS / name).read_text(encoding='utf-8'))


def methods_digits() -> str:
    """Return the accuracy of every method on the digits, and how long a run takes."""
    content = read('methods_digits/results.json')
    cells = [cell for cell in content['cells'] if cell['shots']]
    (zero_shot,) = (cell for cell in content['cells'] if not cell['shots'])
    methods, numbers = list(dict.fromkeys(cell['method'] for cell in cells)), sorted({cell['shots'] for cell in cells})
    lines = [['zero_shot', *[f'{zero_shot["metrics"]["accuracy/fused"]:.2f}'] * len(numbers), '', '']]
    for method in methods:
        runs = {number: [cell for cell in cells if (cell['method'], cell['shots']) == (method, number)] for number in numbers}
        lines.append(
            [
                method,
                *(_spread([run['metrics']['accuracy/fused'] for run in runs[number]]) for number in numbers),
                *(f'{statistics.median([run["seconds"]["training"] for run in runs[number]]):.0f} s' for number in numbers),
            ]
        )
    seeds, machine = sorted({cell['seed'] for cell in cells}), cells[0]['machine']
    header = [
        'method',
        *map(shots_text, numbers),
        *(f'training, {number}' for number in numbers),
    ]
    return '\n'.join(
        [
            markdown_table(header, lines),
            '',
            f'Accuracy in percent on {cells[0]["test_pictures"]} held-out digits, mean ± standard deviation over the seeds '
            f'{", ".join(map(str, seeds))}, each with its own pictures, the same for all methods; median time of a training '
            f'({machine["processor"]}, {machine["cores"]} cores, with other work beside; torch {cells[0]["versions"]["torch"]}).',
        ]
    )


def methods_speed() -> str:
    """Return pictures per second of every method against its plain execution."""
    content = read('benchmark/methods.json')
    lines = []
    for found in content['methods']:
        training, prediction = found['training'], found['prediction']
        lines.append(
            [
                found['method'],
                f'{found["trained"]:,}',
                str(found['views']),
                *(_rate(training, name) for name in CONTEXT),
                _rate(prediction, 'plain'),
                _rate(prediction, 'fresh'),
            ]
        )
    header = [
        'method',
        'trained',
        'views',
        *(f'training, {what}' for what in CONTEXT.values()),
        'prediction, released code',
        'prediction',
    ]
    return '\n'.join([markdown_table(header, lines), '', _circumstances(content), *_searches(content)])


def methods_cost() -> str:
    """Return operations and memory of every method against its plain execution."""
    content = read('benchmark/methods.json')
    lines = [
        [
            found['method'],
            *(
                _cost(found[task], name)
                for task in ('training', 'prediction')
                for name in CONTEXT
                if task == 'training' or name != 'kept'
            ),
        ]
        for found in content['methods']
    ]
    header = ['method', *(f'training, {what}' for what in CONTEXT.values()), 'prediction, released code', 'prediction']
    return markdown_table(header, lines)


def methods_1000() -> str:
    """Return what a training step costs with 1000 classes, and an epoch of 16 pictures of each on cached views."""
    content = read('benchmark/methods_1000.json')
    lines = []
    for found in content['methods']:
        fresh, kept = found['training']['fresh'], found['training'].get('kept')
        epoch = '-' if kept is None else f'{16 * content["classes"] / kept["rate"]:,.0f} s'
        lines.append([found['method'], f'{fresh["peak_gb"]:.1f} GB', f'{fresh["seconds"]:.1f} s', epoch])
    return markdown_table(['method', 'memory of a step', 'processor time of a step', 'of an epoch of 16,000 cached views'], lines)


def _rate(executions, name):
    if name not in executions:
        return '-'
    found, ratio = executions[name], executions.get(f'{name}_ratio')
    digits = 2 if found['rate'] < 10 else 0
    return f'{found["rate"]:,.{digits}f}' + (f' ({ratio:.{1 if ratio < 100 else 0}f} x)' if ratio else '')


def _cost(executions, name):
    if name not in executions:
        return '-'
    found = executions[name]
    return f'{found["tflop"]:.3f} TFLOP' + ('' if found['peak_gb'] is None else f', {found["peak_gb"]:.2f} GB')


def _circumstances(content):
    machine = content['machine']
    return (
        f'Pictures per second; {content["architecture"]}, {content["classes"]} classes, batches of {content["batch"]}, float32, '
        f'{content["clock"]} time of one thread; {machine["processor"]}, torch {machine["versions"]["torch"]}. In brackets: times the '
        'released way of the same method.'
    )


def _searches(content):
    for found in content['methods']:
        if 'search' in found:
            search = found['search']
            yield (
                f'\nThe search of {found["method"]}, {search["pairs"]:,} pairs on {search["pictures"]:,} pictures, takes '
                f'{search["seconds"]:.1f} s; computed anew for each pair, as the released code does, it would take '
                f'{search["ratio"]:.0f} times as long (measured on {search["plain_pairs_measured"]} pairs).'
            )


def _spread(values):
    found = spread_of(values)
    return f'{found.mean:.2f} ± {found.std:.2f}' if found.std is not None else f'{found.mean:.2f}'


METHOD_BLOCKS = {function.__name__: function for function in (methods_digits, methods_speed, methods_cost, methods_1000)}
