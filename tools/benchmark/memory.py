"""Memory of a training step by count, for machines that are not at hand.

    python tools/benchmark/memory.py --architecture ViT-L-14 --dtype bfloat16 --batch 32
    python tools/benchmark/memory.py --table --out results/benchmark/memory.json     # the lines of docs/speed.md

Two steps run on tensors without numbers, and every storage is counted from its first appearance until it is freed. What a
device adds is not counted: its context, workspaces of its kernels, gaps of its allocator; leave a tenth and a gigabyte for
them. Attention is counted as fused kernels keep it, without the matrix of tokens by tokens.
"""

import argparse
import weakref

import torch
from flops import without_numbers
from machine import OUT, describe_machine, write_results
from step import DTYPES, FORMULATIONS, Bench
from step import parse_arguments as step_arguments
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TABLE = [
    ('ViT-B-16', 4, 'float32', ()),
    ('ViT-B-16', 32, 'bfloat16', ()),
    ('ViT-B-16', 256, 'bfloat16', ()),
    ('ViT-L-14', 32, 'float32', ()),
    ('ViT-L-14', 32, 'bfloat16', ()),
    ('ViT-L-14', 32, 'bfloat16', ('--checkpointing',)),
    ('ViT-L-14', 256, 'bfloat16', ('--checkpointing',)),
]


class LiveMemory(TorchDispatchMode):
    """Bytes of the storages that operators make within this context, now and at their peak.

    Attributes:
        now (int): Bytes of those that have not been freed.
        peak (int): The largest value of ``now``.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return outputs

    def _count(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self._known.discard(key)
        self.now -= size


def count(flags):
    """Count the memory of a training step.

    Args:
        flags (Sequence[str]): Of tools/benchmark/step.py.

    Returns:
        dict: ``weights``, and ``above`` them for each formulation, in bytes.
    """
    bench = Bench(step_arguments(flags))
    weights = [*bench.model.parameters(), *bench.model.buffers()]
    above = {}
    for name in FORMULATIONS:
        bench.reset()
        with without_numbers(), LiveMemory() as memory:
            for _ in range(2):  # the optimizer's state is there from the second step on
                bench.step(name)
            above[name] = memory.peak
        bench.reset()
    return dict(weights=sum(weight.numel() * weight.element_size() for weight in weights), above=above)


def main():
    """Count and print; write the table of the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16', help='float32, or autocast to the other two')
    parser.add_argument('--checkpointing', action='store_true', help='ours with gradient checkpointing')
    parser.add_argument('--table', action='store_true', help='all lines of the documentation, into --out')
    parser.add_argument('--out', default=str(OUT / 'memory.json'))
    args = parser.parse_args()
    lines = (
        TABLE if args.table else [(args.architecture, args.batch, args.dtype, ('--checkpointing',) if args.checkpointing else ())]
    )
    rows = []
    for architecture, batch, dtype, flags in lines:
        found = count(['--architecture', architecture, '--batch', str(batch), '--dtype', dtype, *flags])
        rows.append(dict(architecture=architecture, batch=batch, dtype=dtype, checkpointing=bool(flags), **found))
        print(
            f'{architecture}, {batch} x 2 views, {dtype}{", checkpointing" if flags else ""}: weights '
            f'{found["weights"] / 1e9:.2f} GB, above them '
            + ', '.join(f'{name} {size / 1e9:.2f} GB' for name, size in found['above'].items()),
            flush=True,
        )
    if args.table:
        write_results(dict(machine=describe_machine(torch.device('cpu')), rows=rows), args.out)


if __name__ == '__main__':
    main()
