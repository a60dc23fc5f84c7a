"""Pictures per second of the training data path alone, against what a training step consumes.

    python tools/benchmark/loader.py --quick
    python tools/benchmark/loader.py --workers 4 --folder data/my_pictures

Three sources go through the training pipeline (decode, two augmented views, pack, collate): JPEG files decoded anew every
time, the same files kept decoded (what a few-shot set does by default), and the built-in digits. Without `--folder`
(one sub-folder per class) a tree of synthetic photographs is written to a temporary folder first.
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
from machine import OUT, ROOT, describe_machine, write_results
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

import mmpretrain_mps  # noqa: F401  (registers what the configs below name)
from mmpretrain_mps.utils.errors import user_errors


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
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--epochs', type=int, default=5, help='timed, after one that is not')
    parser.add_argument('--quick', action='store_true', help='two epochs of few pictures')
    parser.add_argument(
        '--step-results', help='a result file of step.py to compare with; default: the newest of the architecture'
    )
    parser.add_argument('--out', default=OUT / 'loader.json')
    args = parser.parse_args(argv)
    if args.folder and not Path(args.folder).is_dir():
        parser.error(f'--folder {args.folder} is no folder; expected one with a sub-folder of pictures per class')
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


def build_loader(args, dataset, cache):
    """Build the training loader of a data set as a run's config does."""
    transform = dict(type='CLIPTrainTransform', architecture=args.architecture, pretrained=args.pretrained)
    pipeline = [dict(type='LoadRGBImage'), dict(type='DualView', num_views=2, transforms=[transform]), dict(type='PackInputs')]
    few_shot = dict(
        type='FewShotDataset', num_shots=args.shots, seed=1, cache_images=cache, dataset=dict(dataset, pipeline=pipeline)
    )
    return Runner.build_dataloader(
        dict(
            batch_size=args.batch,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='FewShotSampler', shuffle=True),
            dataset=few_shot,
        ),
        seed=1,
    )


def pictures_per_second(loader, epochs):
    """Return the median over the epochs; the first, which decodes what is kept, does not count."""
    rates = []
    for epoch in range(epochs + 1):
        loader.sampler.set_epoch(epoch)
        start = time.perf_counter()
        count = sum(len(batch['data_samples']) for batch in loader)
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates[1:])


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
            'built-in digits': (dict(type='Digits', subset='train'), True),
        }
        rates = {
            name: pictures_per_second(build_loader(args, dataset, cache), args.epochs)
            for name, (dataset, cache) in sources.items()
        }
    step = consumed_by_step(args.step_results, args.architecture)
    print(f'{args.architecture}, batch {args.batch}, 2 views per picture, {args.workers} workers')
    for name, rate in rates.items():
        print(f'{name:<28}{rate:>9.0f} pictures/s{"" if step is None else f"{rate / step[1]:>9.1f} x the step"}')
    if step is not None:
        print(f'the step of {step[0].name} consumes {step[1]:.1f} pictures/s on {step[2]}')
    write_results(
        dict(
            settings={key: value for key, value in vars(args).items() if key not in ('out', 'folder', 'step_results')},
            # Decoding and augmentation are the CPU's, whatever trains.
            machine=describe_machine(torch.device('cpu')),
            pictures_per_second=rates,
            step=None if step is None else dict(file=step[0].name, pictures_per_second=step[1], device=step[2]),
        ),
        args.out,
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
