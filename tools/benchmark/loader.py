"""Pictures per second of the training data path alone, against what a training step consumes.

    python tools/benchmark/loader.py --quick
    python tools/benchmark/loader.py --workers 4 --folder data/my_pictures
    python tools/benchmark/loader.py --device cuda --workers 0 4 14

Four sources go through the training pipeline (decode, two augmented views, pack, collate) and to the device: JPEG files
decoded anew every time, the same files kept decoded (what a few-shot set does by default), their views cut out on the device
(`views_on_device`), and the built-in digits. Without `--folder` (one sub-folder per class) a tree of synthetic photographs is
written to a temporary folder first.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import OUT, ROOT, describe_machine, synchronize, write_results
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from PIL import Image

import mmpretrain_mps  # noqa: F401  (registers what the configs below name)
from mmpretrain_mps.engine.command_line import check_device
from mmpretrain_mps.engine.hooks.device_views_hook import make_bank
from mmpretrain_mps.models.data_preprocessor import normalisation_of
from mmpretrain_mps.models.loading.clip_loader import clip_preprocess
from mmpretrain_mps.utils.errors import user_errors

ON_DEVICE = 'JPEG files, cut on the device'


def parse_arguments(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--architecture', default='ViT-B-16', help='its picture size and preprocessing')
    parser.add_argument('--pretrained', default='openai', help='whose preprocessing; no weights are read')
    parser.add_argument('--folder', help='pictures, one sub-folder per class; default: synthetic ones')
    parser.add_argument('--size', type=int, nargs=2, default=(500, 375), help='of synthetic pictures: width, height')
    parser.add_argument('--classes', type=int, default=10, help='of synthetic pictures')
    parser.add_argument('--shots', type=int, default=16)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--workers', type=int, nargs='+', default=[0], help='processes that load; several are compared')
    parser.add_argument('--device', default='cpu', help='where the views are to be, for example cuda')
    parser.add_argument('--epochs', type=int, default=5, help='timed, after one that is not')
    parser.add_argument('--quick', action='store_true', help='two epochs of few pictures')
    parser.add_argument(
        '--step-results', help='a result file of step.py to compare with; default: the newest of the architecture'
    )
    parser.add_argument('--out', default=OUT / 'loader.json')
    args = parser.parse_args(argv)
    if args.folder and not Path(args.folder).is_dir():
        parser.error(f'--folder {args.folder} is no folder; expected one with a sub-folder of pictures per class')
    check_device(parser, args.device)
    if args.quick:
        args.epochs, args.shots = 2, min(args.shots, 8)
    return args


def write_photographs(folder, classes, per_class, size):
    """Write JPEG files that are about as costly to decode as photographs: smooth shapes with some noise."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f'class_{label}').mkdir(parents=True)
        for index in range(per_class):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
            noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f'class_{label}' / f'{index}.jpg', quality=90)


def build_loader(args, dataset, cache, workers):
    """Build the training loader of a data set as a run's config does."""
    transform = dict(type='CLIPTrainTransform', architecture=args.architecture, pretrained=args.pretrained)
    pipeline = [dict(type='LoadRGBImage'), dict(type='DualView', num_views=2, transforms=[transform]), dict(type='PackInputs')]
    few_shot = dict(
        type='FewShotDataset', num_shots=args.shots, seed=1, cache_images=cache, dataset=dict(dataset, pipeline=pipeline)
    )
    return Runner.build_dataloader(
        dict(
            batch_size=args.batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.device(args.device).type == 'cuda',
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='FewShotSampler', shuffle=True),
            dataset=few_shot,
        ),
        seed=1,
    )


def pictures_per_second(loader, preprocessor, epochs):
    """Return the median over the epochs; the first, which decodes what is kept, does not count."""
    rates = []
    for epoch in range(epochs + 1):
        loader.sampler.set_epoch(epoch)
        start, count = time.perf_counter(), 0
        for batch in loader:
            count += len(preprocessor(batch, True)['data_samples'])
        synchronize(preprocessor.device)
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def measure(args, sources):
    """Return pictures per second of every source with each number of workers."""
    preprocess = clip_preprocess(args.architecture, args.pretrained)
    preprocessor = MODELS.build(normalisation_of(preprocess)).to(args.device)
    rates = {}
    for name, (dataset, cache) in sources.items():
        for workers in args.workers:
            loader = build_loader(args, dataset, cache, workers)
            preprocessor.picture_bank = make_bank(loader.dataset, args.device) if name == ON_DEVICE else None
            rates.setdefault(name, {})[workers] = pictures_per_second(loader, preprocessor, args.epochs)
            print(f'{name:<34}{workers:>3} workers{rates[name][workers]:>9.0f} pictures/s', flush=True)
    return rates


def consumed_by_step(path, architecture):
    """Return (file, pictures per second of our training step in it, on what device), or None without results."""
    pattern = f'step-{Path(architecture).name}-*.json'
    found = [file for folder in (ROOT / 'results' / 'benchmark', OUT) for file in folder.glob(pattern)]
    files = [Path(path)] if path else sorted(found, key=lambda file: file.stat().st_mtime)
    if not files:
        return None
    results = json.loads(files[-1].read_text(encoding='utf-8'))
    return (
        files[-1],
        results['settings']['batch'] / results['step']['seconds']['ours'],
        results.get('machine', {}).get('device'),
    )


def main(argv=None):
    """Measure, print, write."""
    args = parse_arguments(argv)
    init_default_scope('mmpretrain')
    with user_errors(), tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        if not args.folder:
            write_photographs(folder, args.classes, args.shots, tuple(args.size))
        tree = dict(type='CustomDataset', data_root=str(folder), with_label=True)
        sources = {
            'JPEG files, decoded anew': (tree, False),
            'JPEG files, kept decoded': (tree, True),
            ON_DEVICE: (tree, True),
            'built-in digits': (dict(type='Digits', subset='train'), True),
        }
        print(f'{args.architecture}, batch {args.batch}, 2 views per picture, to {args.device}')
        rates = measure(args, sources)
    step = consumed_by_step(args.step_results, args.architecture)
    if step is not None:
        print(f'the step of {step[0].name} consumes {step[1]:.1f} pictures/s on {step[2]}')
    write_results(
        dict(
            settings={key: value for key, value in vars(args).items() if key not in ('out', 'folder', 'step_results')},
            machine=describe_machine(torch.device(args.device)),
            pictures_per_second=rates,
            step=None if step is None else dict(file=step[0].name, pictures_per_second=step[1], device=step[2]),
        ),
        args.out,
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
