"""Training step and prediction against the method as it is written down.

    python tools/benchmark/step.py --quick
    python tools/benchmark/step.py --batch 4 --repeats 7
    python tools/benchmark/step.py --device cuda --dtype bfloat16 --reference-dtype float16 --batch 32 --compile

Weights are random, which changes no cost. Both formulations share them; first their losses and logits are compared,
then they run in turn. Times are medians; the ratio is the median over the rounds. Memory is the peak above weights and
inputs, each in a process of its own. The floor is the count of what the method cannot do without; `share` is the speed
in operations of the floor per second against a large matrix product, measured here.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from flops import counted_flops, least_flops
from machine import (CLOCKS, ROOT, PeakMemory, alternate, describe_machine, matmul_peak, median_ratio, synchronize,
                     write_results)
from mmpretrain.structures import DataSample
from reference import ReferenceFormulation

from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.utils.view_bank import BankLayout, ViewBank
from mmpretrain_mps.utils.errors import user_errors

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
# Losses of the two formulations may differ by this share: rounding.
TOLERANCE = {'float32': 1e-4, 'bfloat16': 5e-2, 'float16': 1e-2}
RECIPES = {
    'official': dict(layer_weights=(1.0, 1.0, 0.5), temperature_factors=(1.0, 1.0, 2.0), normalize_text=False),
    'paper': dict(layer_weights=(1.0, 1.0), normalize_text=True),
}
FORMULATIONS = ('reference', 'ours')
TOP_OPERATORS = 15


def parse_arguments(argv=None):
    """Parse the command line; ``--quick`` sets what is not set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='float32, or autocast to the other two')
    parser.add_argument('--reference-dtype', choices=DTYPES, help='of the reference alone; default: as --dtype')
    parser.add_argument('--batch', type=int, help='pictures; default 4, with --quick 2')
    parser.add_argument('--views', type=int, default=2)
    parser.add_argument('--classes', type=int, default=100)
    parser.add_argument('--recipe', choices=RECIPES, default='official')
    parser.add_argument('--repeats', type=int, help='timed rounds; default 5, with --quick 3')
    parser.add_argument('--threads', type=int, help="of the CPU; default: PyTorch's")
    parser.add_argument('--clock', choices=CLOCKS, default='wall',
                        help='process: processor time; with --threads 1 for machines that others use too')
    parser.add_argument('--no-onednn', action='store_true', help='ours through the same matrix library as the reference')
    parser.add_argument('--compile', action='store_true', help='ours through torch.compile')
    parser.add_argument('--checkpointing', action='store_true', help='ours with gradient checkpointing')
    parser.add_argument('--largest-batch', action='store_true', help='also search the largest batch that fits (GPU)')
    parser.add_argument('--no-memory', action='store_true', help='skip the measurement of memory')
    parser.add_argument('--view-bank', action='store_true', help='our step on pre-drawn views, without the frozen part')
    parser.add_argument('--profile', action='store_true',
                        help='print and store the operators that our step and prediction spend their time in')
    parser.add_argument('--quick', action='store_true', help='under a minute on two cores')
    parser.add_argument('--out', help='result file; default results/benchmark/step-....json')
    parser.add_argument('--memory-of', choices=FORMULATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.batch = args.batch or (2 if args.quick else 4)
    args.repeats = args.repeats or (3 if args.quick else 5)
    args.reference_dtype = args.reference_dtype or args.dtype
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        parser.error(f'--device is {args.device}, but PyTorch sees no GPU here')
    if args.largest_batch and device.type != 'cuda':
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
        if args.checkpointing:
            options['backbone'] = dict(checkpointing=True)
        model = MPSCLIPClassifier(args.architecture, None, gram_loss=dict(), sculpt_loss=dict(**RECIPES[args.recipe]),
                                  quick_gelu=True, **options)
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
        self.labels = torch.randint(0, self.args.classes, (batch, ), device=self.device)
        self.samples = [DataSample(gt_label=label) for label in self.labels.split(1)]
        self.bank = self.fill_bank() if self.args.view_bank else None

    def fill_bank(self):
        """Return a bank of the views."""
        count = len(self.views)
        with torch.no_grad(), self.autocast('ours'):
            frozen = self.model.frozen_features(torch.stack(self.views, 1).flatten(0, 1))
        bank = ViewBank(BankLayout(frozen, torch.ones(len(self.labels), count, dtype=torch.bool)))
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
        # A rate of zero: both formulations do the whole work on weights that stay what they are.
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.0, momentum=0.9)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled='float16' in self.dtypes())

    def dtypes(self):
        """Return the dtypes in use."""
        return (self.args.reference_dtype, self.args.dtype)

    def autocast(self, name):
        """Return the context in which a formulation runs."""
        dtype = DTYPES[self.args.reference_dtype if name == 'reference' else self.args.dtype]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)

    def losses(self, name, inputs=None):
        """Return the losses of a formulation, without diagnostics; ours of ``inputs`` if they are there already."""
        with self.autocast(name):
            if name == 'reference':
                return self.reference.loss(self.views, self.labels)
            losses = self.model(inputs or self.inputs(), self.samples, mode='loss')
        return {key: value for key, value in losses.items() if 'loss' in key}

    def step(self, name):
        """Run one training step: forward, backward, update."""
        self.optimizer.zero_grad()
        self.scaler.scale(sum(self.losses(name).values())).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @torch.no_grad()
    def predict(self, name):
        """Return the fused logits of one view."""
        self.model.eval()
        with self.autocast(name):
            if name == 'reference':
                logits = self.reference.predict(self.views[0])
            else:
                logits = self.model(self.views[0], mode='tensor')
        self.model.train()
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
        tolerance = max(TOLERANCE[name] for name in self.dtypes())
        ours, theirs = ({key: value.detach() for key, value in self.losses(name).items()} for name in ('ours', 'reference'))
        pairs = {key: (ours[key], theirs[key]) for key in theirs}
        pairs['logits'] = (self.predict('ours'), self.predict('reference'))
        worst = 0.0
        for name, (a, b) in pairs.items():
            difference = ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
            if not difference <= tolerance:
                raise ValueError(f'{name} of the two formulations differs by {difference:.2e} of its size; {tolerance:.0e} '
                                 'would be rounding. Speeds of different numbers are not compared')
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
    """Run :func:`measure_memory` of each formulation in a process of its own; they may run side by side."""
    command = [sys.executable, str(Path(__file__).resolve()), *argv, '--memory-of']
    running = {name: subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for name in FORMULATIONS}
    outputs = {name: process.communicate() for name, process in running.items()}
    for name, process in running.items():
        if process.returncode:
            raise RuntimeError(f'the measurement of memory of {name} failed:\n{outputs[name][1]}')
    return {name: json.loads(output.splitlines()[-1]) for name, (output, _) in outputs.items()}


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

    low, high = 0, 16
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def measure(args, argv):
    """Run everything and return plain results."""
    bench = Bench(args)
    results = dict(
        settings={key: value for key, value in vars(args).items() if key not in ('memory_of', 'out', 'no_memory', 'profile')},
        difference=bench.check_equal())
    visual, depths = bench.model.backbone.zero_shot, bench.model.backbone.group_depths
    pictures = dict(step=args.batch * args.views, predict=args.batch)
    peak = matmul_peak(bench.device, DTYPES[args.dtype], clock=args.clock)
    results.update(machine=describe_machine(bench.device), matmul_peak_tflops=peak / 1e12)
    memory = {} if args.no_memory else memory_in_own_processes(argv)
    for task, count in pictures.items():
        times = alternate({name: lambda name=name: getattr(bench, task)(name) for name in FORMULATIONS}, args.repeats,
                          bench.device, args.clock)
        flops = {} if args.compile else {name: bench.count_flops(task, name) / count for name in FORMULATIONS}
        # What cannot be done without is less where the frozen part was run before.
        floor = flops.get('ours', float('nan')) if args.view_bank and task == 'step' else least_flops(
            visual, depths, task == 'step')
        median = statistics.median(times['ours'])
        results[task] = dict(
            seconds={name: statistics.median(times[name]) for name in FORMULATIONS},
            all_seconds=times, ratio=median_ratio(times, 'reference', 'ours'),
            gflop={name: number / 1e9 for name, number in flops.items()},
            gflop_floor=floor / 1e9, share_of_peak=floor * count / median / peak,
            memory={name: memory[name][task] for name in memory})
    if args.largest_batch:
        results['largest_batch'] = {name: largest_batch(bench, name) for name in FORMULATIONS}
        bench.set_batch(args.batch)
        bench.reset()
    return results, bench


def format_results(results):
    """Return the table for the screen."""
    settings = results['settings']
    lines = [
        f"{settings['architecture']}, batch {settings['batch']} x {settings['views']} views, {settings['classes']} classes, "
        f"{settings['dtype']} (reference {settings['reference_dtype']}), recipe {settings['recipe']}"
        f"{', compiled' if settings['compile'] else ''} on {results['machine']['device']}, "
        f"{results['machine']['threads']} threads, {results['machine']['processor']}, {settings['clock']} clock",
        f"numbers agree to {results['difference']:.1e}; a large matrix product runs at "
        f"{results['matmul_peak_tflops']:.3f} TFLOP/s", '',
        f"{'':<11}{'':<12}{'seconds':>9}{'GFLOP/picture':>15}{'peak memory':>13}"]
    for task, label in (('step', 'step'), ('predict', 'prediction')):
        row = results[task]
        for name in FORMULATIONS:
            memory = row['memory'].get(name)
            lines.append(f"{label:<11}{name:<12}{row['seconds'][name]:>9.3f}{row['gflop'].get(name, float('nan')):>15.2f}"
                         f"{'' if memory is None else f'{memory / 1e9:.2f} GB':>13}")
        memory = row['memory']
        known = memory and None not in memory.values()
        lines += [f"{label:<11}{'ratio':<12}{row['ratio']:>8.2f}x"
                  f"{row['gflop']['reference'] / row['gflop']['ours'] if row['gflop'] else float('nan'):>14.2f}x"
                  f"{memory['ours'] / memory['reference'] if known else float('nan'):>12.2f}x   "
                  f"(floor {row['gflop_floor']:.2f} GFLOP, {100 * row['share_of_peak']:.0f} % of the matrix product's speed)",
                  '']
    if 'largest_batch' in results:
        lines.append(f"largest batch: {results['largest_batch']}")
    return '\n'.join(lines)


def profile(bench):
    """Return the operators that our step and prediction spend most of their own time in.

    Args:
        bench (Bench): What is run, once more after a run that is not recorded.

    Returns:
        dict[str, list[dict]]: For ``step`` and ``predict``: operator, calls, milliseconds, share of all of them.
    """
    cuda = bench.device.type == 'cuda'
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    found = {}
    for task in ('step', 'predict'):
        getattr(bench, task)('ours')
        with torch.profiler.profile(activities=activities) as recorded:
            getattr(bench, task)('ours')
            synchronize(bench.device)
        times = {event.key: (event.self_device_time_total if cuda else event.self_cpu_time_total, event.count)
                 for event in recorded.key_averages()}
        total = sum(time for time, _ in times.values())
        found[task] = [dict(operator=name, calls=calls, self_ms=time / 1e3, share=time / total)
                       for name, (time, calls) in sorted(times.items(), key=lambda item: -item[1][0])[:TOP_OPERATORS]]
    return found


def format_profile(found):
    """Return the tables of :func:`profile` for the screen."""
    lines = []
    for task, rows in found.items():
        lines += [f"{f'operators of our {task}':<52}{'calls':>7}{'self ms':>11}{'share':>8}"]
        lines += [f"{row['operator'][:50]:<52}{row['calls']:>7}{row['self_ms']:>11.2f}{100 * row['share']:>6.1f} %"
                  for row in rows] + ['']
    return '\n'.join(lines)


def main(argv=None):
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_arguments(argv)
    with user_errors(), force_onednn(False if args.no_onednn else None):
        if args.memory_of:
            print(json.dumps(measure_memory(args, args.memory_of)))
            return
        results, bench = measure(args, argv)
        print(format_results(results))
        out = args.out or ROOT / 'results' / 'benchmark' / f'{name_of(args)}.json'
        write_results(results, out)
        if args.profile:
            results['profile'] = profile(bench)
            print(format_profile(results['profile']))
            write_results(results, out)


def name_of(args):
    """Return the name of a result file: what was run, and the settings that are not at their default."""
    parts = ['step', Path(args.architecture).name, torch.device(args.device).type, args.dtype, f'batch{args.batch}']
    defaults = dict(reference_dtype=args.dtype, views=2, classes=100, recipe='official', threads=None, clock='wall')
    parts += [f'{name}_{getattr(args, name)}' for name, value in defaults.items() if getattr(args, name) != value]
    parts += [name for name in ('compile', 'checkpointing', 'no_onednn', 'view_bank') if getattr(args, name)]
    return '-'.join(parts)


if __name__ == '__main__':
    main()
