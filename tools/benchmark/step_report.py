"""What step.py prints, and how it names its result file."""

from pathlib import Path

import torch

from mmpretrain_mps.models.computation.precision import STRICT

FORMULATIONS = ('reference', 'ours')


def format_results(results):
    """Return the table for the screen."""
    settings = results['settings']
    lines = [
        f'{settings["architecture"]}, batch {settings["batch"]} x {settings["views"]} views, {settings["classes"]} classes, '
        f'{settings["dtype"]} (reference {settings["reference_dtype"]}), float32 {settings["precision"]}, '
        f'recipe {settings["recipe"]}{", compiled" if settings["compile"] else ""} on {results["machine"]["device"]}, '
        f'{results["machine"]["threads"]} threads, {results["machine"]["processor"]}, {settings["clock"]} clock',
        f'numbers agree to {results["difference"]:.1e}; a large matrix product runs at '
        f'{results["matmul_peak_tflops"]:.3f} TFLOP/s',
        '',
        f'{"":<11}{"":<12}{"seconds":>9}{"GFLOP/picture":>15}{"peak memory":>13}',
    ]
    for task, label in (('step', 'step'), ('predict', 'prediction')):
        row = results[task]
        for name in FORMULATIONS:
            memory = row['memory'].get(name)
            lines.append(
                f'{label:<11}{name:<12}{row["seconds"][name]:>9.3f}{row["gflop"].get(name, float("nan")):>15.2f}'
                f'{"" if memory is None else f"{memory / 1e9:.2f} GB":>13}'
            )
        if row['launch_seconds']:
            lines.append(
                f'{label:<11}{"launching":<12}'
                + ', '.join(f'{name} {seconds:.4f} s' for name, seconds in row['launch_seconds'].items())
            )
        memory = row['memory']
        known = memory and None not in memory.values()
        lines += [
            f'{label:<11}{"ratio":<12}{row["ratio"]:>8.2f}x'
            f'{row["gflop"]["reference"] / row["gflop"]["ours"] if row["gflop"] else float("nan"):>14.2f}x'
            f'{memory["ours"] / memory["reference"] if known else float("nan"):>12.2f}x   '
            f"(floor {row['gflop_floor']:.2f} GFLOP, {100 * row['share_of_peak']:.0f} % of the matrix product's speed)",
            '',
        ]
    if 'largest_batch' in results:
        lines.append(f'largest batch: {results["largest_batch"]}')
    return '\n'.join(lines)


def name_of(args):
    """Return the name of a result file: what was run, and the settings that are not at their default."""
    parts = ['step', Path(args.architecture).name, torch.device(args.device).type, args.dtype, f'batch{args.batch}']
    defaults = dict(
        precision=STRICT, reference_dtype=args.dtype, views=2, classes=100, recipe='official', threads=None, clock='wall'
    )
    parts += [f'{name}_{getattr(args, name)}' for name, value in defaults.items() if getattr(args, name) != value]
    kinds = ('compile', 'checkpointing', 'fused', 'no_onednn', 'view_bank', 'cuda_graph')
    parts += [name for name in kinds if getattr(args, name)]
    return '-'.join(parts)
