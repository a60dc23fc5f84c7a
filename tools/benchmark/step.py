"""Training step and prediction against the method as it is written down.

    python tools/benchmark/step.py --quick
    python tools/benchmark/step.py --device cuda --dtype bfloat16 --reference-dtype float16 --batch 32 --compile
    python tools/benchmark/step.py --device cuda --precision tf32 --fused --batch 256

Weights are random, which changes no cost. Both formulations share them; first their losses and logits are compared,
then they run in turn. Times are medians; the ratio is the median over the rounds. On a GPU a round is several calls,
queued one after the other as a training queues its steps, and how long the host takes to launch a call is measured apart.
Memory is the peak above weights and inputs, each formulation alone, in a process of its own. The floor is the count of what
the method cannot do without; `share` is the speed in operations of the floor per second against a large matrix product of
the same precision, measured here.
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from flops import counted_flops, least_flops
from machine import (
    CLOCKS,
    OUT,
    PeakMemory,
    alternate,
    describe_machine,
    largest,
    launch_seconds,
    matmul_peak,
    median_ratio,
    write_results,
)
from mmpretrain.structures import DataSample
from operators import format_profile, profile
from reference import ReferenceFormulation
from step_report import FORMULATIONS, format_results, name_of

from mmpretrain_mps.engine.command_line import check_device
from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.caches.view_bank import BankLayout, ViewBank
from mmpretrain_mps.models.computation.precision import FLOAT32_PRECISIONS, STRICT, TF32, float32_products
from mmpretrain_mps.utils.errors import user_errors

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
# Losses of the two formulations may differ by this share: rounding.
TOLERANCE = {'float32': 1e-4, TF32: 1e-2, 'bfloat16': 5e-2, 'float16': 1e-2}
RECIPES = {
    'official': dict(layer_weights=(1.0, 1.0, 0.5), temperature_factors=(1.0, 1.0, 2.0), normalize_text=False),
    'paper': dict(layer_weights=(1.0, 1.0), normalize_text=True),
}
# Calls of a timed round on a GPU: enough to keep its queue filled.
QUEUED = 5


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='float32, or autocast to the other two')
    parser.add_argument('--reference-dtype', choices=DTYPES, help='of the reference alone; default: as --dtype')
    parser.add_argument(
        '--precision', choices=FLOAT32_PRECISIONS, default=STRICT, help='of float32 products on a GPU, of both formulations'
    )
    parser.add_argument('--batch', type=int, help='pictures; default 4, with --quick 2')
    parser.add_argument('--views', type=int, default=2)
    parser.add_argument('--classes', type=int, default=100)
    parser.add_argument('--recipe', choices=RECIPES, default='official')
    parser.add_argument('--repeats', type=int, help='timed rounds; default 5, with --quick 3')
    parser.add_argument('--threads', type=int, help="of the CPU; default: PyTorch's")
    parser.add_argument(
        '--clock',
        choices=CLOCKS,
        default='wall',
        help='process: processor time; with --threads 1 for machines that others use too',
    )
    parser.add_argument('--no-onednn', action='store_true', help='ours through the same matrix library as the reference')
    parser.add_argument('--compile', action='store_true', help='ours through torch.compile')
    parser.add_argument('--cuda-graph', action='store_true', help='our passes through the vision tower as CUDA graphs')
    parser.add_argument('--checkpointing', action='store_true', help='ours with gradient checkpointing')
    parser.add_argument('--fused', action='store_true', help='ours with the fused optimizer')
    parser.add_argument('--largest-batch', action='store_true', help='also search the largest batch that fits (GPU)')
    parser.add_argument('--no-memory', action='store_true', help='skip the measurement of memory')
    parser.add_argument('--view-bank', action='store_true', help='our step on pre-drawn views, without the frozen part')
    parser.add_argument(
        '--profile', action='store_true', help='print and store the operators that our step and prediction spend their time in'
    )
    parser.add_argument('--quick', action='store_true', help='under a minute on two cores')
    parser.add_argument('--out', help='result file; default work_dirs/benchmark/step-....json')
    parser.add_argument('--memory-of', choices=FORMULATIONS, help=argparse.SUPPRESS)
    return parser


def parse_arguments(argv=None):
    """Parse the command line; ``--quick`` sets what is not set."""
    parser = make_parser()
    args = parser.parse_args(argv)
    args.batch = args.batch or (2 if args.quick else 4)
    args.repeats = args.repeats or (3 if args.quick else 5)
    args.reference_dtype = args.reference_dtype or args.dtype
    check_device(parser, args.device)
    if torch.device(args.device).type != 'cuda':
        if args.precision != STRICT:
            parser.error(f'--precision {args.precision} is of GPUs, but --device is {args.device}')
        if args.largest_batch:
            parser.error(f'--largest-batch searches the memory of a GPU, but --device is {args.device}')
    for name in ('batch', 'views', 'classes', 'repeats'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} is {getattr(args, name)}, expected 1 or more')
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


class Bench:
    """Weights, inputs and the four things that are measured: step and prediction of both formulations."""

    def __init__(self, args, batch=None):
        self.args, self.device = args, torch.device(args.device)
        torch.manual_seed(0)
        options = {}
        if args.compile:
            options['compile'] = True
        if args.cuda_graph:
            options['cuda_graph'] = 'training'
        if args.checkpointing:
            options['backbone'] = dict(checkpointing=True)
        model = MPSCLIPClassifier(
            args.architecture, None, gram_loss=dict(), sculpt_loss=dict(**RECIPES[args.recipe]), quick_gelu=True, **options
        )
        model._text_tower.clear()
        model.class_names = tuple(f'class {label}' for label in range(args.classes))
        model.text_prototypes = 8 * torch.nn.functional.normalize(torch.randn(args.classes, model.backbone.embed_dims))
        # Away from the start, where both branches are equal and the Gram differences sit on a kink.
        with torch.no_grad():
            for parameter in model.backbone.tuned.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        self.model = model.to(self.device).train()
        self.reference = ReferenceFormulation(self.model)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.set_batch(batch or args.batch)
        self.reset()

    def set_batch(self, batch):
        """Draw pictures and labels."""
        size = self.model.image_size
        self.views = [torch.randn(batch, 3, *size, device=self.device) for _ in range(self.args.views)]
        self.labels = torch.randint(0, self.args.classes, (batch,), device=self.device)
        self.samples = [DataSample(gt_label=label) for label in self.labels.split(1)]
        self.bank = self.fill_bank() if self.args.view_bank else None

    def fill_bank(self, storage='ram'):
        """Return a bank of the views, in memory or on the device."""
        count = len(self.views)
        with torch.no_grad(), self.autocast('ours'):
            frozen = self.model.frozen_features(torch.stack(self.views, 1).flatten(0, 1))
        layout = BankLayout(frozen, torch.ones(len(self.labels), count, dtype=torch.bool))
        bank = ViewBank(layout, storage, device=self.device)
        bank.write(0, frozen)
        return bank

    def inputs(self):
        """Return what our step is given: pictures, or what the bank holds of them."""
        if self.bank is None:
            return self.views
        pictures = torch.arange(len(self.labels))
        return self.bank.read(pictures, torch.arange(len(self.views)).expand(len(pictures), -1), self.device)

    def reset(self):
        """Forget gradients and the optimizer's state."""
        for parameter in self.parameters:
            parameter.grad = None
        # A rate of zero: both formulations do the whole work on weights that stay what they are. One optimizer and one
        # loss scaler for each: what one precision needs, and waits for, is not charged to the other.
        self.optimizers = {
            name: torch.optim.SGD(
                self.parameters, lr=0.0, momentum=0.9, fused=True if self.args.fused and name == 'ours' else None
            )
            for name in FORMULATIONS
        }
        self.scalers = {
            name: torch.amp.GradScaler(self.device.type, enabled=dtype == 'float16') for name, dtype in self.dtypes().items()
        }

    def dtypes(self):
        """Return the dtype of each formulation."""
        return dict(reference=self.args.reference_dtype, ours=self.args.dtype)

    def autocast(self, name):
        """Return the context in which a formulation runs."""
        dtype = DTYPES[self.dtypes()[name]]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)

    def losses(self, name, inputs=None):
        """Return the losses of a formulation, without diagnostics; ours of ``inputs`` if they are there already."""
        self.model.train()
        with self.autocast(name):
            if name == 'reference':
                return self.reference.loss(self.views, self.labels)
            losses = self.model(inputs or self.inputs(), self.samples, mode='loss')
        return {key: value for key, value in losses.items() if 'loss' in key}

    def step(self, name):
        """Run one training step: forward, backward, update."""
        optimizer, scaler = self.optimizers[name], self.scalers[name]
        optimizer.zero_grad()
        scaler.scale(sum(self.losses(name).values())).backward()
        scaler.step(optimizer)
        scaler.update()

    @torch.no_grad()
    def predict(self, name):
        """Return the fused logits of one view."""
        self.model.eval()  # a change of the mode alone makes what is remembered of the weights anew
        with self.autocast(name):
            if name == 'reference':
                logits = self.reference.predict(self.views[0])
            else:
                logits = self.model(self.views[0], mode='tensor')
        return logits

    def count_flops(self, task, name):
        """Return the floating-point operations of a step or a prediction, for the whole batch."""
        if task == 'predict':
            return counted_flops(lambda: self.predict(name))
        inputs = self.inputs()  # the look-up multiplies nothing, and needs numbers to look at
        return counted_flops(lambda: torch.autograd.grad(sum(self.losses(name, inputs).values()), self.parameters))

    def check_equal(self):
        """Compare losses and logits; return the largest difference, relative to the larger of 1 and the largest value.

        Raises:
            ValueError: If a difference is beyond rounding.
        """
        tolerance = max(
            TOLERANCE[self.args.precision if name == 'float32' and self.args.precision == TF32 else name]
            for name in self.dtypes().values()
        )
        ours, theirs = ({key: value.detach() for key, value in self.losses(name).items()} for name in ('ours', 'reference'))
        pairs = {key: (ours[key], theirs[key]) for key in theirs}
        pairs['logits'] = (self.predict('ours'), self.predict('reference'))
        worst = 0.0
        for name, (a, b) in pairs.items():
            difference = ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
            if not difference <= tolerance:
                raise ValueError(
                    f'{name} of the two formulations differs by {difference:.2e} of its size; {tolerance:.0e} '
                    'would be rounding. Speeds of different numbers are not compared'
                )
            worst = max(worst, difference)
        return worst


def measure_memory(args, name):
    """Measure one formulation in this process: peak above the weights of training steps and of a prediction."""
    bench, peaks = Bench(args), {}
    for task in ('predict', 'step'):
        with PeakMemory(bench.device) as memory:
            for _ in range(1 if task == 'predict' else 2):  # the optimizer's state is there from the second step on
                getattr(bench, task)(name)
        peaks[task] = memory.above
    return peaks


def memory_in_own_processes(argv):
    """Run :func:`measure_memory` of each formulation in a process of its own; one after the other, for they may not fit."""
    command, found = [sys.executable, str(Path(__file__).resolve()), *argv, '--memory-of'], {}
    for name in FORMULATIONS:
        done = subprocess.run([*command, name], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'the measurement of memory of {name} failed:\n{done.stderr}')
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def largest_batch(bench, name):
    """Search the largest batch whose training step fits into the GPU's memory, to one part in 16."""

    def fits(batch):
        bench.reset()
        torch.cuda.empty_cache()
        try:
            bench.set_batch(batch)
            bench.step(name)
            bench.step(name)
        except torch.cuda.OutOfMemoryError:
            return False
        return True

    return largest(fits)


def measure(args, argv):
    """Run everything and return plain results."""
    bench = Bench(args)
    results = dict(
        settings={key: value for key, value in vars(args).items() if key not in ('memory_of', 'out', 'no_memory', 'profile')},
        difference=bench.check_equal(),
    )
    visual, depths = bench.model.backbone.zero_shot, bench.model.backbone.group_depths
    pictures = dict(step=args.batch * args.views, predict=args.batch)
    peak = matmul_peak(bench.device, DTYPES[args.dtype], clock=args.clock)
    results.update(machine=describe_machine(bench.device), matmul_peak_tflops=peak / 1e12)
    on_gpu = bench.device.type == 'cuda'
    bench.reset()
    if on_gpu:
        torch.cuda.empty_cache()  # otherwise the allocator keeps what the comparison took
    memory = {} if args.no_memory else memory_in_own_processes(argv)
    for task, count in pictures.items():
        calls = {name: functools.partial(getattr(bench, task), name) for name in FORMULATIONS}
        times = alternate(calls, args.repeats, bench.device, args.clock, QUEUED if on_gpu else 1)
        flops = {} if args.compile else {name: bench.count_flops(task, name) / count for name in FORMULATIONS}
        # What cannot be done without is less where the frozen part was run before.
        floor = (
            flops.get('ours', float('nan')) if args.view_bank and task == 'step' else least_flops(visual, depths, task == 'step')
        )
        median = statistics.median(times['ours'])
        results[task] = dict(
            seconds={name: statistics.median(times[name]) for name in FORMULATIONS},
            all_seconds=times,
            ratio=median_ratio(times, 'reference', 'ours'),
            launch_seconds={name: launch_seconds(call, bench.device) for name, call in calls.items()} if on_gpu else {},
            gflop={name: number / 1e9 for name, number in flops.items()},
            gflop_floor=floor / 1e9,
            share_of_peak=floor * count / median / peak,
            memory={name: memory[name][task] for name in memory},
        )
    if args.largest_batch:
        results['largest_batch'] = {name: largest_batch(bench, name) for name in FORMULATIONS}
        bench.set_batch(args.batch)
        bench.reset()
    return results, bench


def main(argv=None):
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_arguments(argv)
    with user_errors(), force_onednn(False if args.no_onednn else None), float32_products(args.precision):
        if args.memory_of:
            print(json.dumps(measure_memory(args, args.memory_of)))
            return
        results, bench = measure(args, argv)
        print(format_results(results))
        out = args.out or OUT / f'{name_of(args)}.json'
        write_results(results, out)
        if args.profile:
            results['profile'] = profile(bench)
            print(format_profile(results['profile']))
            write_results(results, out)


if __name__ == '__main__':
    main()
