"""Speed, memory and operations of every method on one machine, against a plain execution of the same method.

    python tools/benchmark/methods.py --out results/benchmark/methods.json                  # all methods; about an hour
    python tools/benchmark/methods.py --methods coop tcp --batch 4 --classes 100            # a look

ViT-B/16 with random weights, 397 classes (as many as SUN397 has, with ImageNet's names), one batch, settings of SUN397 with 16
pictures per class. Each method runs

- ``plain``: the way released code runs it: the whole context of every class in every step and in every batch of a prediction,
  the vision tower in every step, all tokens in all blocks (tools/benchmark/plain_towers.py);
- ``fresh``: this project, on pictures that it has not seen;
- ``kept``: this project, on frozen features of pre-drawn views, where the method has frozen features that save a tower.

All of them compute the same losses and logits, which is checked first. Times are processor times of one thread by default,
medians of the runs that fit into --seconds, one at least.

The search of Tip-Adapter's two numbers runs whole, on features of min(16, 4) pictures per class; its plain execution, which
computes everything again for each pair, runs for the first few pairs.
"""

import argparse
import contextlib
import json
import logging
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from flops import flop_counter
from machine import PeakMemory, describe_machine, seconds, write_results
from mmengine.config import Config
from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from plain_towers import without_short_cuts
from reference import ReferenceFormulation

from mmpretrain_mps.mini_clip import concepts
from mmpretrain_mps.models.classifiers import CLIPClassifier, MPSCLIPClassifier
from mmpretrain_mps.models.classifiers.frozen_image_classifier import ImageFeatures
from mmpretrain_mps.models.classifiers.logit_bias_classifier import LogitBiasClassifier
from mmpretrain_mps.models.classifiers.tip_adapter import TipAdapterClassifier
from mmpretrain_mps.models.fusion.fusion_search import search_grid
from mmpretrain_mps.models.loading.names import EMBEDDED_ARCHITECTURE
from mmpretrain_mps.utils.methods import method_names, replace_method

TRAINED_BY_STEPS = (
    'mps',
    'coop',
    'tcp',
    'textrefiner',
    'promptsrc',
    'ivlp',
    'tac',
    'clip_lora',
    'clip_adapter',
    'tip_adapter_f',
    'amu_tuning',
)
ENCODED_ONCE = dict(sentences=None, teacher_templates='classes')
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SHOTS, VALIDATION_SHOTS = 16, 4
PLAIN_PAIRS = 9


def parse_arguments(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', default=list(TRAINED_BY_STEPS), choices=method_names())
    parser.add_argument('--architecture', default='ViT-B-16')
    parser.add_argument('--classes', type=int, default=397, help='1000 at most')
    parser.add_argument('--batch', type=int, default=32, help='pictures')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--clock', choices=('process', 'wall'), default='process')
    parser.add_argument('--seconds', type=float, default=60.0, help='each of the three, training and prediction apart')
    parser.add_argument('--no-plain', action='store_true', help='leave the plain executions out')
    parser.add_argument('--out', help='JSON file')
    parser.add_argument(
        '--add', action='store_true', help='keep what --out holds of other methods, measured under equal settings'
    )
    args = parser.parse_args(arguments)
    if args.add and not (args.out and Path(args.out).is_file()):
        parser.error(f'--add needs --out with the file of an earlier call, but --out is {args.out}')
    return args


class Bench:
    """One method with a batch: training steps and predictions.

    Args:
        method (str): Name of the method.
        args (Namespace): Of the command line.
    """

    def __init__(self, method, args):
        embedded = args.architecture == EMBEDDED_ARCHITECTURE
        cfg = Config.fromfile(CONFIGS / ('mps_mini_16shot_digits.py' if embedded else 'mps_vitb16_16shot_sun397.py'))
        replace_method(cfg, method)
        self.search_over = cfg.train_cfg.get('search')
        config = {**cfg.model, 'architecture': args.architecture, 'pretrained': 'embedded' if embedded else None}
        # What is encoded once, before the first step, is not measured here: the classes' own templates do.
        config.update({name: value for name, value in ENCODED_ONCE.items() if name in config})
        if 'auxiliary_weights' in config:
            config['auxiliary_weights'] = None
        names = IMAGENET_SIMPLE_CATEGORIES[: args.classes]
        torch.manual_seed(0)
        self.model = MODELS.build({**config, 'class_names': _names(args, names)})
        self.classes = len(self.model.class_names)
        self._start()
        self.views = views_of(cfg.train_dataloader.dataset)
        generator = torch.Generator().manual_seed(1)
        pictures = self.views + self.model.takes_reference
        self.pictures = [torch.randn(args.batch, 3, *self.model.image_size, generator=generator) for _ in range(pictures)]
        self.labels = torch.randint(0, self.classes, (args.batch,), generator=generator)
        self.samples = [DataSample(gt_label=label) for label in self.labels.split(1)]
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # What steps add to, such as TextRefiner's memory, without its being trained, once all that is filled once is there.
        with torch.no_grad():
            self.losses()
        self._start_buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        # No rate: every run sees the same weights, and a step costs what it costs.
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.0, momentum=0.9, weight_decay=5e-4)

    def _start(self):
        """Give a layer that starts from features of the training pictures some."""
        if isinstance(self.model, LogitBiasClassifier):
            with torch.no_grad():
                width = self.model.start_features(torch.zeros(1, 3, *self.model.image_size)).shape[1]
            labels = torch.arange(self.classes).repeat(SHOTS)
            self.model.start_from(torch.randn(len(labels), width), labels)

    def forget_steps(self):
        """Set all that steps change, besides weights, to what it was."""
        for name, buffer in self.model.named_buffers():
            buffer.copy_(self._start_buffers[name])

    @property
    def keeps_views(self):
        """bool: Whether the method has frozen features that take the place of pictures."""
        return type(self.model).frozen_features is not CLIPClassifier.frozen_features

    def losses(self, inputs=None):
        """Return the losses of a step."""
        torch.manual_seed(2)  # dropout draws the same numbers every time
        self.model.train()
        return self.model(self.pictures if inputs is None else inputs, self.samples, mode='loss')

    def step(self, inputs=None):
        """Run a training step and return its losses, in the order of their names."""
        losses = [value for name, value in sorted(self.losses(inputs).items()) if 'loss' in name]
        self.optimizer.zero_grad()
        sum(losses).backward()
        self.optimizer.step()
        return torch.stack(losses).detach()

    @torch.no_grad()
    def predict(self):
        """Return the logits of the first view of all pictures."""
        if self.model.training:  # the switch forgets cached texts
            self.model.eval()
        return self.model(self.pictures[0])


def views_of(dataset):
    """Return how many views of a picture a training set draws, by what a method asks for or else by its pipeline."""
    steps = [dataset.get('views') or {}, *(dataset.get('dataset') or dataset).get('pipeline', ())]
    return next((step['num_views'] for step in steps if 'num_views' in step), 1)


def _names(args, names):
    """Return ``names``, or of the embedded model, which does not know them, its own."""
    if args.architecture != EMBEDDED_ARCHITECTURE:
        return names
    return list(concepts.DIGIT_NAMES)[: args.classes]


def measure(run, args):
    """Time a function, and look at its memory and operations.

    The first run counts operations; it is timed as well if it alone takes as long as there is, since counting then takes
    nothing that could be seen.

    Returns:
        tuple[dict, Tensor | None]: Median ``seconds``, number of ``runs``, ``peak_gb`` above what was in use before,
        ``tflop``; and what the first run returned.
    """
    cpu, returned = torch.device('cpu'), []
    with PeakMemory(cpu) as memory, flop_counter() as counter:
        times = [seconds(lambda: returned.append(run()), cpu, args.clock)]
    if times[0] < args.seconds:
        # The first run also meets pages that were not there yet.
        times = []
        while not times or (sum(times) < args.seconds and len(times) < 7):
            times.append(seconds(run, cpu, args.clock))
    median = statistics.median(times)
    return dict(
        seconds=median,
        rate=args.batch / median,
        runs=len(times),
        peak_gb=None if memory.above is None else memory.above / 1e9,
        tflop=counter.get_total_flops() / 1e12,
    ), returned[0]


def plain_count_right(model, cls, labels, inners, alphas):
    """Count right predictions for every pair of Tip-Adapter's numbers, with both products computed again for each.

    Returns:
        Tensor: ``(len(inners), len(alphas))``.
    """
    right = torch.zeros(len(inners), len(alphas), dtype=torch.int64)
    values = torch.eye(len(model.class_names)).repeat_interleave(model.cache_keys.shape[1], 0)
    for row, beta in enumerate(inners):
        for column, alpha in enumerate(alphas):
            unit = F.normalize(cls, dim=-1)
            zero_shot = model.logit_scale * unit @ F.normalize(model.text_prototypes, dim=-1).T
            bias = (beta * (unit @ model.cache_keys.flatten(0, 1).T) - beta).exp() @ values
            right[row, column] = ((zero_shot + alpha * bias).argmax(1) == labels).sum()
    return right


@torch.no_grad()
def measure_search(bench, args):
    """Time the search of Tip-Adapter's two numbers.

    Returns:
        dict: Seconds of the whole search, of the plain one for each pair, and how many times as long it takes for all.

    Raises:
        ValueError: If the two count differently.
    """
    model, labels = bench.model, torch.arange(bench.classes * min(SHOTS, VALIDATION_SHOTS)) % bench.classes
    # As hard as real pictures: some are right whatever the numbers are, some never.
    cls = 0.3 * F.normalize(model.text_prototypes, dim=-1)[labels] + F.normalize(
        torch.randn(len(labels), model.text_prototypes.shape[1], generator=torch.Generator().manual_seed(3)), dim=-1
    )
    grid = [search_grid(end, steps) for end, steps in zip(bench.search_over.scale, bench.search_over.steps)]
    few = [values[: round(PLAIN_PAIRS**0.5)] for values in grid]
    features, cpu = ImageFeatures(cls), torch.device('cpu')
    if not args.no_plain:
        right, plainly = model.count_right(features, labels, *few), plain_count_right(model, cls, labels, *few)
        if (right - plainly).abs().max() > 0.002 * len(labels):  # pictures between two classes but for rounding
            raise ValueError(f'the plain search counts {plainly.tolist()} right, the search {right.tolist()}')
    pairs = len(grid[0]) * len(grid[1])
    found = dict(
        pictures=len(labels), pairs=pairs, seconds=seconds(lambda: model.count_right(features, labels, *grid), cpu, args.clock)
    )
    if not args.no_plain:
        per_pair = seconds(lambda: plain_count_right(model, cls, labels, *few), cpu, args.clock) / (len(few[0]) * len(few[1]))
        found.update(
            plain_seconds_per_pair=per_pair,
            plain_pairs_measured=len(few[0]) * len(few[1]),
            ratio=per_pair * pairs / found['seconds'],
        )
    return found


def check_equal(ours, plain):
    """Raise ValueError if a plain execution has other losses or logits: speeds of different numbers are not compared.

    Returns:
        float: The largest difference, relative to the largest number.
    """
    difference = (ours - plain).abs().max().item() / max(1.0, plain.abs().max().item())
    if not difference < 1e-3:
        raise ValueError(f'the plain execution has other losses or logits: difference {difference}')
    return difference


def run_method(method, args):
    """Measure one method.

    Returns:
        dict: Trained numbers, views, and for each execution what :func:`measure` returns.
    """
    bench = Bench(method, args)
    found = dict(
        method=method,
        trained=sum(parameter.numel() for parameter in bench.parameters),
        views=bench.views,
        training={},
        prediction={},
    )
    # A first prediction keeps texts, which a step would make out of date.
    bench.predict()
    numbers = _measure_both(bench, found, 'fresh', args)
    if bench.keeps_views:
        with torch.no_grad():
            frozen = bench.model.frozen_features(torch.cat(bench.pictures))
        found['training']['kept'], _ = measure(lambda: bench.step(frozen), args)
        bench.forget_steps()
    if isinstance(bench.model, TipAdapterClassifier):
        found['search'] = measure_search(bench, args)
    if not args.no_plain:
        with plain_execution(bench):
            plain = _measure_both(bench, found, 'plain', args)
        found['difference'] = max(map(check_equal, numbers, plain))
    for executions in (found['training'], found['prediction']):
        for name in {'fresh', 'kept', 'plain'} & set(executions) - {'plain'} if 'plain' in executions else ():
            executions[f'{name}_ratio'] = executions['plain']['seconds'] / executions[name]['seconds']
    return found


def _measure_both(bench, found, execution, args):
    """Measure a step and a prediction; return the losses of the first step and the logits."""
    found['prediction'][execution], logits = measure(bench.predict, args)
    found['training'][execution], losses = measure(bench.step, args)
    bench.forget_steps()
    return losses, logits


@contextlib.contextmanager
def plain_execution(bench):
    """Let a bench run its method the plain way for a while."""
    if not isinstance(bench.model, MPSCLIPClassifier):
        with without_short_cuts(bench.model):
            yield
        return
    plain = ReferenceFormulation(bench.model)
    bench.losses = lambda inputs=None: plain.loss(bench.pictures, bench.labels)
    bench.predict = torch.no_grad()(lambda: plain.predict(bench.pictures[0]))
    try:
        yield
    finally:
        del bench.losses, bench.predict


def lines_of(found):
    """Return a line for each execution of a method."""
    for task in ('training', 'prediction'):
        for name in ('plain', 'fresh', 'kept'):
            row = found[task].get(name)
            if row:
                ratio = found[task].get(f'{name}_ratio')
                yield (
                    f'{found["method"]:<14}{task:<11}{name:<6}{row["rate"]:>9.2f} pictures/s{row["seconds"]:>9.2f} s'
                    f'{row["tflop"]:>8.3f} TFLOP'
                    + ('' if row['peak_gb'] is None else f'{row["peak_gb"]:>7.2f} GB')
                    + (f'{ratio:>8.2f} x' if ratio else '')
                )
    if 'search' in found:
        search = found['search']
        yield (
            f'{found["method"]:<14}search of {search["pairs"]} pairs on {search["pictures"]} pictures {search["seconds"]:.2f} s'
            + (f', {search["ratio"]:.0f} x' if 'ratio' in search else '')
        )


def other_methods(args, results):
    """Return what an earlier call found of methods that are not measured now.

    Raises:
        ValueError: If that was on another machine, or under other settings.
    """
    found = json.loads(Path(args.out).read_text(encoding='utf-8'))
    for name in results.keys() - {'methods'}:
        if found[name] != results[name]:
            raise ValueError(
                f'{args.out} was measured with {name} {found[name]}, this call has {results[name]}; '
                'leave --add out, or measure all methods alike'
            )
    return [method for method in found['methods'] if method['method'] not in args.methods]


def main():
    """Measure all methods."""
    args = parse_arguments()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    results = dict(
        machine=describe_machine(torch.device('cpu')),
        clock=args.clock,
        architecture=args.architecture,
        classes=args.classes,
        batch=args.batch,
        methods=[],
    )
    if args.add:
        results['methods'] = other_methods(args, results)
    for method in args.methods:
        results['methods'].append(run_method(method, args))
        print('\n'.join(lines_of(results['methods'][-1])), flush=True)
        if args.out:
            write_results(results, args.out)


if __name__ == '__main__':
    main()
