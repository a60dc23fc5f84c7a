"""Pre-train the embedded mini CLIP on rendered pictures.

Needs the extra ``pretrain`` (font packages, MNIST images for the score).
A run from start to end (about 40 minutes on two shared CPU cores)::

    python tools/pretrain_mini_clip.py --out work_dirs/mini_clip

The delivered model came from a run whose schedule was shortened halfway::

    python tools/pretrain_mini_clip.py --out work_dirs/mini_clip \
        --checkpoint work_dirs/mini_clip.pt --steps 4500 --stop 2250
    python tools/pretrain_mini_clip.py --out work_dirs/mini_clip \
        --checkpoint work_dirs/mini_clip.pt --steps 3400

Batches depend on the seed and the step only.  With ``--no-compile`` two runs
of one machine and number of threads give the same bytes; compiled sums may
differ in the last digits between machines.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import torch

from mmpretrain_mps.mini_clip import byte_pairs, concepts, pretraining, rendering, zero_shot

logger = logging.getLogger('pretrain_mini_clip')
PACKAGES = ('torch', 'open_clip_torch', 'numpy', 'pillow', 'matplotlib', 'scikit-learn', 'mlxtend')

# Prompt sets whose zero-shot scores are compared on the train half of
# scikit-learn's digits.
PROMPT_SETS = {
    'bare': ['{}'],
    'number': ['a photo of the number {}.'],
    'clip_mnist': ['a photo of the number: "{}".'],
    'handwritten': ['a handwritten digit {}.'],
    'digits_4': [
        'a photo of the number {}.',
        'a photo of the digit {}.',
        'a handwritten digit {}.',
        'an image of the number {}.',
    ],
    'digits_8': [
        'the number {}.',
        'the digit {}.',
        'a photo of the number {}.',
        'a photo of the digit {}.',
        'a handwritten digit {}.',
        'a handwritten number {}.',
        'an image of the digit {}.',
        'a low resolution photo of the number {}.',
    ],
    'all': list(concepts.TEMPLATES['digits']),
}


def parse_args() -> argparse.Namespace:
    """Command line of the tool."""
    default = pretraining.Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pretraining.add_run_arguments(parser, default)
    return pretraining.parse_run(parser)


def make_recipe(args: argparse.Namespace) -> pretraining.Recipe:
    """Recipe of the run from the command line."""
    recipe = pretraining.Recipe(steps=args.steps, learning_rate=args.learning_rate, seed=args.seed)
    if args.quick:
        recipe = recipe._replace(steps=6, drawn_digits=12, font_digits=4, letters=8, symbols=8, shapes=8, drawn_per_digit=20)
    return recipe


def evaluation_sets(quick: bool = False) -> dict:
    """Pictures and labels by name; none of them is ever trained on."""
    images, labels = zero_shot.digits_images()
    pictures = zero_shot.preprocess(images)
    halves = zero_shot.digits_halves()
    sets = {f'digits_{half}_half': (pictures[rows], labels[rows]) for half, rows in halves.items()}
    if quick:
        return {name: (x[:50], y[:50]) for name, (x, y) in sets.items()}
    sets['digits_whole'] = (pictures, labels)
    fonts, font_labels = rendering.render_heldout_glyphs(concepts.DIGIT_NAMES)
    sets['heldout_font_digits'] = (zero_shot.preprocess(fonts), font_labels)
    mnist, mnist_labels = zero_shot.mnist_images()
    sets['mnist_5000'] = (zero_shot.preprocess(mnist), mnist_labels)
    return sets


def score_glyph_group(model, tokenize, group: str) -> dict:
    """Zero-shot accuracy on one whole group of held-out glyphs."""
    characters = concepts.glyph_characters(group)
    faces = rendering.font_faces('held_out')
    names = [name for name, chars in characters.items() if any(rendering.can_draw(f, c) for f in faces for c in chars)]
    images, labels = rendering.render_heldout_glyphs(names, per_font=2)
    prototypes = zero_shot.text_prototypes(model, tokenize, names, ['a photo of the {}.'])
    features = zero_shot.image_features(model, zero_shot.preprocess(images))
    return {'classes': len(names), 'images': len(labels), 'accuracy': round(zero_shot.accuracy(features, prototypes, labels), 2)}


def score(folder: Path, quick: bool = False) -> dict:
    """Zero-shot accuracies, in percent, of the model as it was saved."""
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

    model = open_clip.create_model(f'local-dir:{folder}', require_pretrained=True).eval()
    tokenize = SimpleTokenizer(bpe_path=str(folder / 'bpe_merges.txt.gz'), context_length=pretraining.CONTEXT_LENGTH)
    prototypes = {
        name: zero_shot.text_prototypes(model, tokenize, concepts.DIGIT_NAMES, templates)
        for name, templates in PROMPT_SETS.items()
    }
    accuracies = {}
    for name, (pictures, labels) in evaluation_sets(quick).items():
        features = zero_shot.image_features(model, pictures)
        accuracies[name] = {prompts: round(zero_shot.accuracy(features, text, labels), 2) for prompts, text in prototypes.items()}
    groups = {group: score_glyph_group(model, tokenize, group) for group in (() if quick else ('letters', 'symbols'))}
    return {'logit_scale': round(model.logit_scale.exp().item(), 3), 'digits': accuracies, 'heldout_glyphs': groups}


def card(
    recipe: pretraining.Recipe,
    batches: pretraining.BatchMaker,
    folder: Path,
    progress: pretraining.Progress,
    scores: dict,
    threads: int,
) -> dict:
    """Everything a reader needs to judge or repeat the run."""
    batch_size = recipe.drawn_digits + recipe.font_digits + recipe.letters + recipe.symbols + recipe.shapes
    fonts = {split: sorted({(f.family, f.licence) for f in rendering.font_faces(split)}) for split in ('train', 'held_out')}
    return {
        'data': 'rendered glyphs, drawn digits, coloured shapes; no picture of any data set',
        'concepts': {k: len(v) for k, v in concepts.concept_groups().items()},
        'masks': batches.counts(),
        'fonts': fonts,
        'recipe': recipe._asdict(),
        'batch_size': batch_size,
        'images_seen': batch_size * progress.steps,
        'resumed_at_step_with_schedule_of': progress.rejoined,
        'prompt_sets': PROMPT_SETS,
        'zero_shot_percent': scores,
        'splits': 'digits halves: scikit-learn train_test_split, test_size '
        '0.5, stratified, random_state 0; recipe and prompts were '
        'chosen on the train half',
        **pretraining.about_run(progress, threads, folder, PACKAGES),
    }


def main() -> None:
    """Run the tool."""
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    torch.set_num_threads(args.threads)
    recipe = make_recipe(args)
    args.out.mkdir(parents=True, exist_ok=True)
    config = pretraining.model_config(byte_pairs.write_vocabulary(args.out))
    from open_clip.tokenizer import SimpleTokenizer

    tokenize = SimpleTokenizer(bpe_path=str(args.out / 'bpe_merges.txt.gz'), context_length=pretraining.CONTEXT_LENGTH)
    began = time.perf_counter()
    batches = pretraining.BatchMaker(recipe)
    logger.info('masks %s in %.1f s', batches.counts(), time.perf_counter() - began)
    model = pretraining.build_model(config, recipe.seed)
    progress = pretraining.train(
        model,
        tokenize,
        batches,
        recipe,
        pretraining.log_progress(recipe.steps, logger),
        checkpoint=args.checkpoint,
        stop=args.stop,
        use_compile=not (args.no_compile or args.quick),
    )
    if progress.steps < recipe.steps:
        logger.info('stopped at step %d of %d', progress.steps, recipe.steps)
        return
    pretraining.save_model(model.eval(), config, args.out)
    scores = score(args.out, args.quick)
    content = card(recipe, batches, args.out, progress, scores, args.threads)
    pretraining.write_card(args.card or args.out / 'card.json', content)
    logger.info('zero-shot %s', json.dumps(scores['digits']))
    logger.info('data preparation took %.0f %% of the training time', 100 * progress.data_seconds / progress.seconds)


if __name__ == '__main__':
    main()
