"""Pre-train the small network that AMU-Tuning sets beside the embedded mini CLIP: MoCo v3 on drawn pictures, no labels.

    python tools/pretrain_mini_auxiliary.py --out work_dirs/mini_auxiliary

Ten to twenty minutes on one core; needs nothing that the package itself does not. Two runs of one machine with one seed
give the same bytes. Writes auxiliary_resnet18.safetensors in half precision, and card.json.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from mmpretrain_mps import mini_clip
from mmpretrain_mps.mini_clip import self_supervision


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--card', type=Path, help='what was trained and how good it is (default: OUT/card.json)')
    parser.add_argument('--seed', type=int, default=self_supervision.RECIPE.seed)
    parser.add_argument('--steps', type=int, default=self_supervision.RECIPE.steps)
    parser.add_argument('--threads', type=int, default=1, help='CPU threads of torch')
    args = parser.parse_args()
    warmup = self_supervision.RECIPE.warmup
    if args.steps <= warmup:
        parser.error(f'--steps {args.steps}: expected more than the {warmup} in which the learning rate rises')
    return args


def main():
    """Run the tool."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    recipe = self_supervision.RECIPE._replace(seed=args.seed, steps=args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    trained = self_supervision.train(recipe, args.out)
    path = args.out / mini_clip.auxiliary_weights().name
    self_supervision.save(trained.network, path)
    losses = trained.losses
    card = {
        'data': 'drawn digits, glyphs of fonts that matplotlib brings, coloured shapes; no picture of any data set, no label',
        'method': 'MoCo v3, mmpretrain',
        'config': self_supervision.moco_v3(),
        'recipe': recipe._asdict(),
        'parameters': sum(parameter.numel() for parameter in trained.network.parameters()),
        'loss': {'first_steps': round(float(losses[:20].mean()), 3), 'last_steps': round(float(losses[-20:].mean()), 3)},
        'seconds_training': round(trained.seconds, 1),
        'machine': {'processor': platform.machine(), 'threads': args.threads},
        'versions': {name: version(name) for name in ('torch', 'mmpretrain', 'mmengine', 'numpy', 'matplotlib')},
        'bytes': path.stat().st_size,
        'digits_train_half_percent': self_supervision.digit_scores(
            dict(before=trained.before, after=self_supervision.load(path))
        ),
        'scores': "five-fold cross-validation on the train half of scikit-learn's digits, unit-norm vectors; before: "
        'the network with random weights; the other half took part in no choice',
    }
    text = json.dumps(card, indent=1) + '\n'
    (args.card or args.out / 'card.json').write_text(text, encoding='utf-8')
    print(text)


if __name__ == '__main__':
    main()
