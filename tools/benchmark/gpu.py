"""What docs/speed.md says of a GPU: steps and predictions of every precision and option, their kernels, ViT-L/14, view banks.

    python tools/benchmark/gpu.py --out results/gpu/speed.json
    python tools/benchmark/gpu.py --only options kernels --architecture ViT-L-14
    python tools/benchmark/gpu.py --device cpu --architecture mps-mini --batches 2 3 --classes 10   # tries the tool itself

What is compared runs in turn, within one process and one minute: ratios are medians over rounds. A part that fails is written
down as such, and the next one runs; the file is written after every part. About five minutes.
"""

import argparse
import gc
import re
import statistics
import sys
import time
import traceback
from pathlib import Path

import torch
from machine import (
    OUT,
    PeakMemory,
    alternate,
    describe_machine,
    launch_seconds,
    matmul_peak,
    median_ratio,
    synchronize,
    write_results,
)
from operators import record
from step import FORMULATIONS, Bench
from step import parse_arguments as step_arguments

from mmpretrain_mps.engine.command_line import check_device
from mmpretrain_mps.models.computation.precision import STRICT, TF32, float32_products
from mmpretrain_mps.utils.errors import user_errors

# Name -> dtype of autocast, how float32 products are computed.
PRECISIONS = {'bf16': ('bfloat16', STRICT), 'TF32': ('float32', TF32), 'float32': ('float32', STRICT)}
TASKS = ('step', 'predict')
ROUNDS = 5
# Seconds of queued calls in one round of one candidate, and calls at most.
ROUND_SECONDS, MOST_CALLS = 0.4, 10
# Name -> arguments of step.py, and the tasks that they change.
OPTIONS = {
    'plain': ((), TASKS),
    'fused optimizer': (('--fused',), ('step',)),
    'compiled': (('--compile',), TASKS),
    'one CUDA graph': (('--cuda-graph',), TASKS),
}
KINDS = {
    'attention': 'flash|fmha|mha_|attention|sdpa',
    'matrix products': 'gemm|nvjet|cutlass|xmma|cublas|splitK|gemv|_linear|addmm|aten::mm|bmm',
    'convolution': 'conv|winograd|nchwToNhwc|nhwcToNchw|im2col|dgrad|wgrad',
    'layer norm': 'layer_norm|LayerNorm|GammaBeta',
    'optimizer': 'multi_tensor|Adam|fused_sgd|FusedSgd',
    'compiled': 'triton_',
    'copies': 'Memcpy|Memset',
    'casts': 'direct_copy|copy_kernel|bfloat16_copy|aten::copy_',
    'sums': 'reduce|softmax|aten::sum',
    'cat': 'CatArray|aten::cat',
    'element-wise': 'elementwise|vectorized|unrolled|fill|index|aten::mul|aten::add|aten::silu',
}


class Candidate:
    """One thing that is timed: a task of a formulation, as some Bench runs it."""

    def __init__(self, bench, task, formulation='ours'):
        self.bench, self.task, self.formulation = bench, task, formulation

    def __call__(self):
        """Run it once."""
        return getattr(self.bench, self.task)(self.formulation)

    @property
    def flops(self):
        """Operations of a call, counted."""
        return self.bench.count_flops(self.task, self.formulation)


def parse_arguments(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--large', default='ViT-L-14', help='the larger architecture, measured in bfloat16 and the smaller batch')
    parser.add_argument('--batches', type=int, nargs=2, default=(32, 256), help='pictures: a small and a large batch')
    parser.add_argument('--classes', type=int, default=100)
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--out', default=str(OUT / 'gpu.json'))
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    return args


def make_bench(args, *more, architecture=None):
    """Return a :class:`Bench` of the command line's device."""
    return Bench(
        step_arguments(
            ['--architecture', architecture or args.architecture, '--device', args.device, '--classes', str(args.classes)]
            + ['--batch', str(args.batches[0]), '--dtype', 'bfloat16', *more]
        )
    )


def switch(bench, precision, batch):
    """Give a bench another precision and size of batch; its weights stay. Returns the context in which products have it."""
    dtype, products = PRECISIONS[precision]
    bench.args.dtype = bench.args.reference_dtype = dtype
    bench.args.precision = products
    if batch != len(bench.labels):
        bench.set_batch(batch)
    bench.reset()
    free(bench.device)
    return float32_products(products)


def free(device):
    """Give memory back that nothing uses."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def compare(candidates, rounds=ROUNDS):
    """Time candidates in turn.

    Args:
        candidates (dict[str, Candidate]): What to time.
        rounds (int): Timed rounds.

    Returns:
        dict[str, dict]: ``ms`` (median), ``spread_ms`` (largest - smallest), ``launch_ms``, ``gb`` above what was there before,
        and ``ratio`` to the first candidate (median over the rounds), of every candidate.
    """
    device = next(iter(candidates.values())).bench.device
    memory, slowest = {}, 0.0
    for name, candidate in candidates.items():
        candidate()  # compiles, captures, sets up libraries
        candidate()
        with PeakMemory(device) as found:
            candidate()
        memory[name] = found.above
        synchronize(device)
        begin = time.perf_counter()
        candidate()
        synchronize(device)
        slowest = max(slowest, time.perf_counter() - begin)
    calls = max(1, min(MOST_CALLS, int(ROUND_SECONDS / slowest)))
    times = alternate(candidates, rounds, device, calls=calls)
    first = next(iter(candidates))
    return {
        name: dict(
            ms=1e3 * statistics.median(found),
            spread_ms=1e3 * (max(found) - min(found)),
            launch_ms=1e3 * launch_seconds(candidates[name], device),
            gb=None if memory[name] is None else memory[name] / 1e9,
            ratio=median_ratio(times, first, name),
            rounds=rounds,
            calls=calls,
        )
        for name, found in times.items()
    }


def peaks(args):
    """Return the speed of a large product in each precision (TFLOP/s), and of a copy (TB/s)."""
    device, found = torch.device(args.device), {}
    for name, (dtype, products) in PRECISIONS.items():
        with float32_products(products):
            found[name] = matmul_peak(device, getattr(torch, dtype)) / 1e12
    block = torch.randn(1 << (30 if device.type == 'cuda' else 20), device=device)
    other = torch.empty_like(block)
    copy = statistics.median(alternate(dict(copy=lambda: other.copy_(block)), ROUNDS, device, calls=5)['copy'])
    return dict(tflops=found, copy_tb_per_s=2 * block.nbytes / copy / 1e12)


def steps(args):
    """Compare both formulations in every precision and both batches; how far apart they are is written down, not judged."""
    bench, found = make_bench(args), []
    flops = {(task, name): Candidate(bench, task, name).flops / len(bench.labels) for task in TASKS for name in FORMULATIONS}
    for batch in args.batches:
        for precision in PRECISIONS:
            with switch(bench, precision, batch):
                row = dict(batch=batch, precision=precision, difference=difference(bench))
                for task in TASKS:
                    free(bench.device)
                    row[task] = compare({name: Candidate(bench, task, name) for name in FORMULATIONS})
                    for name in FORMULATIONS:
                        row[task][name]['tflops'] = flops[task, name] * batch / row[task][name]['ms'] / 1e9
                    show(f'{precision} {task} {batch}', row[task])
                found.append(row)
    return found


def difference(bench):
    """Return how far losses and logits of both formulations are apart, or what :meth:`Bench.check_equal` says of it."""
    try:
        return bench.check_equal()
    except ValueError as error:
        return str(error)


def options(args):
    """Compare our options in bfloat16, each with the seconds of its first call, in which it compiles or captures."""
    benches = {name: make_bench(args, *flags) for name, (flags, _) in OPTIONS.items()}
    found = []
    for batch in args.batches:
        row = dict(batch=batch, precision='bf16', first_call_seconds={}, failed={})
        for bench in benches.values():
            switch(bench, 'bf16', batch)
        for task in TASKS:
            candidates = {name: Candidate(benches[name], task) for name, (_, tasks) in OPTIONS.items() if task in tasks}
            with float32_products(STRICT):
                row[task] = compare({name: one for name, one in candidates.items() if runs(one, f'{name}, {task}', row)})
            show(f'options, {task} {batch}', row[task])
        found.append(row)
    return found


def runs(candidate, title, row):
    """Call a candidate for the first time; write down how long that took, or that it failed, and say which."""
    begin = time.perf_counter()
    try:
        candidate()
        synchronize(candidate.bench.device)
    except Exception as error:  # the others are still worth measuring
        row['failed'][title] = f'{type(error).__name__}: {error}'[:500]
        print(f'   {title}: {row["failed"][title][:200]}')
        return False
    row['first_call_seconds'][title] = time.perf_counter() - begin
    return True


def kernels(args):
    """Return calls and time by kind of kernel, in bfloat16 and the small batch."""
    plain, compiled = make_bench(args), make_bench(args, '--compile')
    candidates = {
        'reference, step': Candidate(plain, 'step', 'reference'),
        'ours, step': Candidate(plain, 'step'),
        'ours, step, compiled': Candidate(compiled, 'step'),
        'reference, prediction': Candidate(plain, 'predict', 'reference'),
        'ours, prediction': Candidate(plain, 'predict'),
    }
    return {name: by_kind(candidate) for name, candidate in candidates.items()}


def by_kind(candidate):
    """Profile a call and add up its kernels by kind."""
    for _ in range(3):
        candidate()
    synchronize(candidate.bench.device)
    rows, kinds = record(candidate, candidate.bench.device), {}
    for row in rows:
        kind = next((name for name, pattern in KINDS.items() if re.search(pattern, row['operator'])), 'other')
        kinds.setdefault(kind, dict(calls=0, ms=0.0))
        kinds[kind]['calls'] += row['calls']
        kinds[kind]['ms'] += row['self_ms']
    total = dict(calls=sum(row['calls'] for row in rows), ms=sum(row['self_ms'] for row in rows))
    print(f'   {total["calls"]} kernels, {total["ms"]:.2f} ms:', {kind: round(value['ms'], 2) for kind, value in kinds.items()})
    return dict(total=total, kinds=kinds, longest=[dict(row, operator=row['operator'][:120]) for row in rows[:12]])


def large(args):
    """Compare both formulations of the larger architecture, and ours with checkpointing."""
    plain, checkpointed = (make_bench(args, *flags, architecture=args.large) for flags in ((), ('--checkpointing',)))
    found = dict(batch=args.batches[0], precision='bf16', architecture=args.large)
    for task in TASKS:
        candidates = {name: Candidate(plain, task, name) for name in FORMULATIONS}
        if task == 'step':
            candidates['ours, checkpointing'] = Candidate(checkpointed, task)
        found[task] = compare(candidates, rounds=3)
        show(f'{args.large}, {task}', found[task])
    return found


def view_bank(args):
    """Compare a step with one on pre-drawn views, which lie in the host's memory or on the device."""
    benches = dict(plain=make_bench(args), **{f'bank, {place}': make_bench(args, '--view-bank') for place in ('ram', 'device')})
    if args.device != 'cpu':
        benches['bank, device'].bank = benches['bank, device'].fill_bank('device')
    found = compare({name: Candidate(bench, 'step') for name, bench in benches.items()})
    show('view bank', found)
    return dict(batch=args.batches[0], precision='bf16', step=found)


PARTS = dict(peaks=peaks, steps=steps, options=options, kernels=kernels, large=large, view_bank=view_bank)


def show(title, rows):
    """Print a comparison."""
    for name, row in rows.items():
        memory = '' if row['gb'] is None else f'{row["gb"]:7.1f} GB'
        print(
            f'   {title:<28}{name:<28}{row["ms"]:9.2f} ms (± {row["spread_ms"] / 2:.2f}, launching {row["launch_ms"]:.2f})'
            f'{row["ratio"]:7.2f} x{memory}',
            flush=True,
        )


def main(argv=None):
    """Run the parts, print, write; the exit status says whether all of them ran."""
    args = parse_arguments(argv)
    device, begin = torch.device(args.device), time.perf_counter()
    settings = {key: value for key, value in vars(args).items() if key not in ('out', 'only')}
    results, failed = dict(machine=describe_machine(device), settings=settings), []
    results['settings'].update(views=2, recipe='official', optimizer='SGD, momentum 0.9')
    with user_errors():
        for name in args.only:
            print(f'{name}, after {time.perf_counter() - begin:.0f} s', flush=True)
            free(device)
            try:
                results[name] = PARTS[name](args)
            except Exception as error:  # what the other parts say is not lost
                traceback.print_exc(limit=8)
                results[name] = dict(failed=f'{type(error).__name__}: {error}'[:500])
                failed.append(name)
            write_results(results, Path(args.out))
    print(f'took {time.perf_counter() - begin:.0f} s' + (f'; failed: {", ".join(failed)}' if failed else ''))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
