"""What a step and a prediction launch on a GPU, and the least time that it takes, by count: no GPU is needed.

    python tools/benchmark/cost.py --batch 32 --dtype bfloat16
    python tools/benchmark/cost.py --peak 989 --float32-peak 67 --bandwidth 3.35     # of another GPU's data sheet
    python tools/benchmark/cost.py --table --out results/benchmark/cost.json     # the lines of docs/speed.md

The code runs on tensors without numbers, and every operator that is more than another view of its input counts as a kernel:
its operations, and the bytes that it reads and writes. A kernel takes at least the longest of three times: operations at the
peak, bytes at the bandwidth, and the shortest time between two kernels. The sum is a floor of eager execution, not a
measurement: real kernels reach neither, and libraries start some for themselves. Peaks and bandwidth default to those that
were measured on an H200 (results/gpu/speed.json).
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from flops import flop_counter, without_numbers
from machine import OUT, describe_machine, write_results
from step import DTYPES, FORMULATIONS, Bench
from step import parse_arguments as step_arguments
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Measured on an H200: TFLOP/s of a product of 8192 x 8192, TB/s of a copy.
MEASURED = dict(peak=685.0, float32_peak=50.0, bandwidth=4.3)
SHORTEST_US = 2.5
TABLE = [('ViT-B-16', batch, dtype, name) for batch in (32, 256) for dtype in ('bfloat16', 'float32') for name in FORMULATIONS]
TASKS = ('step', 'predict')
# What takes memory without touching it, and views whose operators do not say so.
_IDLE = ('empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided', '_unsafe_view', 'unsafe_split')
_MOVING = ('_to_copy', 'copy_', 'clone', 'cat', 'stack', 'constant_pad_nd')


class Kernel(NamedTuple):
    """One operator that a GPU would run."""

    name: str
    flops: int
    bytes: int
    """Read and written."""
    half: bool
    """Whether its products are of half precision."""

    @property
    def group(self) -> str:
        """str: What kind of work it is."""
        if 'attention' in self.name:
            return 'attention'
        if self.flops:
            return 'matrix products'
        if 'layer_norm' in self.name:
            return 'layer norm'
        if self.name.startswith(('_foreach', '_fused')):
            return 'optimizer'
        return 'casts and copies' if self.name in _MOVING else 'element-wise and sums'

    def seconds(self, args: argparse.Namespace) -> float:
        """Return the least time that it takes."""
        peak = args.peak if self.half else args.float32_peak
        return max(self.flops / (1e12 * peak), self.bytes / (1e12 * args.bandwidth), 1e-6 * SHORTEST_US)


class CountKernels(TorchDispatchMode):
    """Collects the kernels of what runs within this context, backward passes included.

    Attributes:
        kernels (list[Kernel]): In their order.
    """

    def __init__(self):
        super().__init__()
        self.kernels: list[Kernel] = []
        self.formulas = flop_counter().flop_registry

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        name = func.__name__.partition('.')[0]
        read, written = _tensors((args, kwargs)), _tensors(outputs)
        if func._schema.is_mutable and not written:  # over lists of tensors: the first of them is changed
            written = _tensors(args[0])
        if written and not _is_view(func) and name not in _IDLE:
            count = self.formulas.get(func._overloadpacket)
            self.kernels.append(
                Kernel(
                    name,
                    count(*args, **kwargs, out_val=outputs) if count else 0,
                    sum(map(_bytes, (*read, *written))),
                    any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in read),
                )
            )
        return outputs


class CudaAutocast(TorchFunctionMode):
    """Layer norms and softmax in float32 under autocast, as on a GPU; the CPU's autocast leaves them in half precision."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        in_float32 = getattr(func, '__name__', '') in ('layer_norm', 'softmax') and torch.is_autocast_enabled('cpu')
        if in_float32 and args[0].dtype in (torch.bfloat16, torch.float16):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


def _is_view(func):
    """Whether all that an operator returns is its input, seen in another way."""
    aliases = [result.alias_info for result in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _bytes(tensor):
    # An expanded tensor lies in memory once.
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def kernels_of(function: Callable) -> list[Kernel]:
    """Return what a function launches.

    Args:
        function (Callable): Runs on tensors without numbers, and is run here twice; the second one is counted.
    """
    with without_numbers(), CudaAutocast():
        function()  # frozen weights are cast once
        with CountKernels() as counted:
            function()
    return counted.kernels


def count(bench: Bench, task: str, name: str) -> list[Kernel]:
    """Return the kernels of a training step or a prediction.

    Args:
        bench (Bench): With weights and inputs on the CPU.
        task (str): ``'step'`` or ``'predict'``.
        name (str): Of the formulation.
    """
    bench.reset()
    if task == 'step':
        # As on a GPU: all weights in a few kernels.
        fused = bench.args.fused and name == 'ours'
        bench.optimizers[name] = torch.optim.SGD(bench.parameters, lr=0.0, momentum=0.9, fused=fused, foreach=not fused)
        with without_numbers():
            bench.step(name)  # momentum is there from the second step on
    found = kernels_of(lambda: getattr(bench, task)(name))
    bench.reset()
    return found


def summary(kernels: list[Kernel], args: argparse.Namespace) -> dict:
    """Return the sums over all kernels and by kind of work: ``kernels``, ``tflop``, ``gigabytes``, ``least_ms``."""
    groups = {}
    for kernel in kernels:
        groups.setdefault(kernel.group, []).append(kernel)
    ordered = sorted(groups.items(), key=lambda item: -sum(kernel.seconds(args) for kernel in item[1]))
    return dict(**_sums(kernels, args), groups={name: _sums(part, args) for name, part in ordered})


def _sums(kernels, args):
    return dict(
        kernels=len(kernels),
        tflop=sum(kernel.flops for kernel in kernels) / 1e12,
        gigabytes=sum(kernel.bytes for kernel in kernels) / 1e9,
        least_ms=1e3 * sum(kernel.seconds(args) for kernel in kernels),
    )


def format_summary(title: str, found: dict) -> str:
    """Return the table for the screen."""
    lines = [f'{title:<46}{"kernels":>8}{"TFLOP":>9}{"GB":>9}{"least ms":>10}']
    for name, row in {**found['groups'], 'together': found}.items():
        lines.append(f'{name:<46}{row["kernels"]:>8}{row["tflop"]:>9.3f}{row["gigabytes"]:>9.2f}{row["least_ms"]:>10.2f}')
    return '\n'.join(lines) + '\n'


def parse_arguments(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16', help='float32, or autocast to the other two')
    parser.add_argument('--formulation', choices=FORMULATIONS, default='ours')
    parser.add_argument('--fused', action='store_true', help='ours with the fused optimizer')
    parser.add_argument('--peak', type=float, default=MEASURED['peak'], help='TFLOP/s of products in half precision')
    parser.add_argument(
        '--float32-peak', type=float, default=MEASURED['float32_peak'], help='the same of float32; that of TF32 where it is used'
    )
    parser.add_argument('--bandwidth', type=float, default=MEASURED['bandwidth'], help='TB/s of the memory')
    parser.add_argument('--table', action='store_true', help='all lines of the documentation, into --out')
    parser.add_argument('--out', default=str(OUT / 'cost.json'))
    args = parser.parse_args(argv)
    for name in ('batch', 'peak', 'float32_peak', 'bandwidth'):
        if getattr(args, name) <= 0:
            parser.error(f'--{name.replace("_", "-")} is {getattr(args, name)}, expected more than 0')
    return args


def main(argv=None):
    """Count and print; write the table of the documentation."""
    args, rows = parse_arguments(argv), []
    lines = TABLE if args.table else [(args.architecture, args.batch, args.dtype, args.formulation)]
    for architecture, batch, dtype, name in lines:
        bench = Bench(
            step_arguments(
                ['--architecture', architecture, '--batch', str(batch), '--dtype', dtype, *(['--fused'] if args.fused else [])]
            )
        )
        for task in TASKS:
            found = summary(count(bench, task, name), args)
            rows.append(dict(architecture=architecture, batch=batch, dtype=dtype, formulation=name, task=task, **found))
            print(format_summary(f'{architecture}, batch {batch}, {dtype}, {name}, {task}', found), flush=True)
    if args.table:
        gpu = dict(peak=args.peak, float32_peak=args.float32_peak, bandwidth=args.bandwidth, shortest_us=SHORTEST_US)
        write_results(dict(machine=describe_machine(torch.device('cpu')), gpu=gpu, rows=rows), args.out)


if __name__ == '__main__':
    main()
