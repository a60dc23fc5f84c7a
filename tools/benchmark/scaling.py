"""What several processes cost: the formulas of docs/scaling.md, and measured points beside them.

    python tools/benchmark/scaling.py --ranks 1 2 4

Every point starts that many processes on this machine (gloo, one thread each), gathers features of the given sizes and
runs the losses of the common batch forward and backward. Without that many idle cores, times are upper bounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from machine import OUT, describe_machine, write_results

from mmpretrain_mps.models import GramAlignLoss, HierarchicalSculptLoss, LogitsFusionHead
from mmpretrain_mps.models.classifiers.mps_clip_classifier import LossInputs

BYTES = 4


def gathered_bytes(ranks, batch, views, dim, intermediate=1):
    """Return the bytes that a process holds after the gather of a step.

    Per picture: [CLS] of both branches and of every intermediate layer for each view, the label, the local distance.
    """
    return BYTES * ranks * batch * (views * dim * (2 + intermediate) + 2)


def reduced_bytes(ranks, parameters):
    """Return the bytes that a process sends in the all-reduce of the gradients, as a ring."""
    return 2 * BYTES * parameters * (ranks - 1) / ranks


def loss_flops(ranks, batch, views, dim, classes, intermediate=1):
    """Return the operations of the losses of the common batch, forward and backward, which every process does.

    Gram matrices: one product per branch and view, two more on the way back. Sculpting, per layer: images with images (one
    forward, two back) and with texts (one and one). Logits: one per branch, one back.
    """
    pictures = ranks * batch
    images = views * pictures
    gram = views * (2 + 2) * 2 * pictures**2 * dim
    sculpt = (1 + intermediate) * (3 * 2 * images**2 * dim + 2 * 2 * images * classes * dim)
    logits = 3 * 2 * images * classes * dim
    return gram + sculpt + logits


class CommonLosses:
    """The losses of a step from random features."""

    def __init__(self, batch, views, dim, classes, intermediate, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def features():
            return F.normalize(torch.randn(views, batch, dim, generator=generator), dim=-1)

        self.inputs = LossInputs(
            torch.randint(0, classes, (batch,), generator=generator),
            features().requires_grad_(),
            features(),
            tuple(features().requires_grad_() for _ in range(intermediate)),
            torch.rand(batch, generator=generator),
        )
        self.text = F.normalize(torch.randn(classes, dim, generator=generator), dim=-1)
        self.head, self.gram = LogitsFusionHead(), GramAlignLoss()
        self.sculpt = HierarchicalSculptLoss(layer_weights=(1.0,) * (1 + intermediate))

    def gather(self):
        """Return the inputs of all processes."""
        return self.inputs.gathered(equal_sizes=True)

    def run(self, inputs):
        """Run the losses forward and backward."""
        losses = self.head.loss(self.head(inputs.tuned, inputs.zero_shot, self.text, 100.0), inputs.labels)
        losses.update(self.gram.combine(inputs.tuned, inputs.zero_shot, inputs.local_distances))
        losses.update(self.sculpt(inputs.tuned, inputs.intermediate, inputs.labels, self.text))
        sum(value for name, value in losses.items() if 'loss' in name).backward()


def _measure(rank, ranks, args, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting{ranks}', rank=rank, world_size=ranks)
    losses = CommonLosses(args.batch, args.views, args.dim, args.classes, args.intermediate, seed=rank)
    rows = []
    for _ in range(args.repeats + 1):
        dist.barrier()
        start = time.perf_counter()
        inputs = losses.gather()
        middle, busy = time.perf_counter(), time.process_time()
        losses.run(inputs)
        rows.append((middle - start, time.process_time() - busy))
    if rank == 0:
        torch.save([statistics.median(column) for column in zip(*rows[1:])], f'{folder}/{ranks}.pt')
    dist.barrier()
    dist.destroy_process_group()


def main(argv=None):
    """Measure, print beside the formulas, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--ranks', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument('--batch', type=int, default=32, help='pictures per process')
    parser.add_argument('--views', type=int, default=2)
    parser.add_argument('--dim', type=int, default=512)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('--intermediate', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--out', default=OUT / 'scaling.json')
    args = parser.parse_args(argv)
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for ranks in args.ranks:
            multiprocessing.spawn(_measure, (ranks, args, folder), nprocs=ranks)
            gather, loss = torch.load(Path(folder) / f'{ranks}.pt', weights_only=True)
            points.append(
                dict(
                    ranks=ranks,
                    gathered_mb=gathered_bytes(ranks, args.batch, args.views, args.dim, args.intermediate) / 1e6,
                    loss_gflop=loss_flops(ranks, args.batch, args.views, args.dim, args.classes, args.intermediate) / 1e9,
                    gather_ms=1e3 * gather,
                    loss_ms=1e3 * loss,
                )
            )
    print(f'{"ranks":>5}{"gathered MB":>13}{"gather ms":>11}{"loss GFLOP":>12}{"loss ms (CPU)":>15}{"GFLOP/s":>9}')
    for row in points:
        print(
            f'{row["ranks"]:>5}{row["gathered_mb"]:>13.2f}{row["gather_ms"]:>11.1f}{row["loss_gflop"]:>12.3f}'
            f'{row["loss_ms"]:>15.1f}{1e3 * row["loss_gflop"] / row["loss_ms"]:>9.1f}'
        )
    settings = {key: value for key, value in vars(args).items() if key != 'out'}
    write_results(dict(settings=settings, machine=describe_machine(torch.device('cpu')), points=points), args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
