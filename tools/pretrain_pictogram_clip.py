"""Pre-train the embedded pictogram CLIP on drawings that no test shows.

PICTOGRAMS is what ``tools/build_pictograms.py PACKAGES --out OUT --pretraining PICTOGRAMS`` wrote. A run can be cut off and goes
on from its checkpoint, in as many sittings as are needed::

    python tools/pretrain_pictogram_clip.py PICTOGRAMS --out work_dirs/pictogram_clip --checkpoint work_dirs/pictogram_clip.pt

On a GPU the pictures are made there, and processes draw and write captions ahead::

    python tools/pretrain_pictogram_clip.py PICTOGRAMS --out work_dirs/pictogram_clip --device cuda --workers 8 --batch-scale 8

Batches depend on the seed and the step only. With ``--no-compile`` two runs of one machine and number of threads give the same
bytes; compiled sums may differ in the last digits between machines.
"""

import argparse
import json
import logging
from pathlib import Path

import torch

from mmpretrain_mps import mini_clip, pictograms
from mmpretrain_mps.engine.command_line import check_device
from mmpretrain_mps.mini_clip import byte_pairs, pretraining
from mmpretrain_mps.pictogram_clip import captions, drawings, scoring
from mmpretrain_mps.pictogram_clip.batches import PictogramBatches, PictogramRecipe
from mmpretrain_mps.pictogram_clip.model import model_config

logger = logging.getLogger('pretrain_pictogram_clip')
PACKAGES = ('torch', 'open_clip_torch', 'numpy', 'pillow')
MERGES = 6000
QUICK = dict(steps=6, pictograms=12, icons_of_kinds=6, icons=6)
DATA = (
    'drawings of emoji and icons by the artists under `styles`. None of the styles under `never_seen` was trained on, nor '
    'a drawing that looks like theirs of the same concept, nor an icon that looks like any of theirs. Most concepts that are '
    'tested were seen in the styles trained on, with their '
    'names, keywords and kinds, as CLIP had seen dogs with captions: `tested_concepts` counts them'
)
CHOICES = (
    'form, recipe and length followed from the speed of one core, and from the loss and the validation pictures of kinds; '
    'test pictures were looked at when the training had ended'
)


def parse_args() -> argparse.Namespace:
    """Command line of the tool."""
    default = PictogramRecipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pictograms', type=Path, help='folder of the drawings for pre-training')
    pretraining.add_run_arguments(parser, default)
    parser.add_argument('--patch-dropout', type=float, default=default.patch_dropout)
    parser.add_argument(
        '--changed',
        type=float,
        default=default.changed,
        help='share of the pictures whose colours, lines or paper are changed, too',
    )
    parser.add_argument('--icons', type=int, default=default.icons, help='pictures per batch of all icons')
    parser.add_argument('--batch-scale', type=int, default=1, help='multiplies the pictures of every part of a batch')
    parser.add_argument('--device', default='cpu', help='where to train, for example cuda')
    parser.add_argument('--workers', type=int, default=0, help='processes that draw and write captions ahead')
    args = pretraining.parse_run(parser)
    check_device(parser, args.device)
    return args


def write_vocabulary(out: Path, read: dict) -> int:
    """Write the vocabulary of all drawings; returns its size."""
    from open_clip.tokenizer import SimpleTokenizer

    splitter = SimpleTokenizer()
    described = [one for found in read.values() for one in found.described]
    words = captions.count_words(captions.texts_of(described), lambda text: splitter.pat.findall(splitter.clean_fn(text)))
    return byte_pairs.write_words(out, dict(sorted(words.items())), captions.concept_groups(described), MERGES, captions.SPELLING)


def seen_concepts(read: dict) -> dict:
    """Count the concepts that are tested, by whether their names were in captions of drawings."""
    index, names = pictograms.index(), {one.name for found in read.values() for one in found.described}
    tested = dict(kinds=[concept for parts in index['kinds'].values() for concept in parts['test']], things=list(index['things']))
    return {
        task: dict(
            concepts=len(concepts), seen=sum(captions.plain(index['concepts'][concept]['name']) in names for concept in concepts)
        )
        for task, concepts in tested.items()
    }


def score(folder: Path) -> dict:
    """Zero-shot accuracies, in percent, of the model as it was saved."""
    import open_clip

    model = open_clip.create_model(f'local-dir:{folder}', require_pretrained=True).eval()
    found = scoring.score(model, mini_clip.tokenizer(folder))
    validation = scoring.score(model, mini_clip.tokenizer(folder), 'val')
    return dict(logit_scale=round(model.logit_scale.exp().item(), 3), test=found, validation=validation)


def card(args: argparse.Namespace, parts: list, read: dict, progress: pretraining.Progress, scores: dict) -> dict:
    """Everything a reader needs to judge or repeat the run."""
    sheets = {
        **pictograms.read_index(args.pictograms)['sheets'],
        **pictograms.read_index(args.pictograms / drawings.ICONS_FOLDER)['sheets'],
    }
    known = mini_clip.vocabulary(args.out)
    return dict(
        data=DATA,
        styles={
            style: dict(drawings=len(sheet['concepts']), artist=sheet['artist'], licence=sheet['licence'])
            for style, sheet in sheets.items()
        },
        never_seen=sorted(pictograms.index()['sheets']),
        tested_concepts=seen_concepts(read),
        names=sum(len(names) for group, names in known['concepts'].items() if group != 'kinds'),
        kinds=len(known['concepts']['kinds']),
        words=len(known['words']),
        recipe=parts[-1],
        recipes_of_earlier_parts=parts[:-1],
        images_seen=images_seen(parts, progress.steps),
        zero_shot_percent=scores,
        choices=CHOICES,
        **pretraining.about_run(progress, args.threads, args.out, PACKAGES, args.device),
    )


def images_seen(parts: list, steps: int) -> int:
    """Return how many pictures all parts of a run had, of which the last one ended after ``steps``."""
    ends = [part['from_step'] for part in parts[1:]] + [steps]
    return sum(
        (end - part['from_step']) * (part['pictograms'] + part['icons_of_kinds'] + part['icons'])
        for part, end in zip(parts, ends)
    )


def keep_recipe(checkpoint: Path, recipe: PictogramRecipe, device: str) -> list:
    """Note beside the checkpoint with which recipe a part of the run is made; returns what all parts were made with."""
    made = dict(device=pretraining.name_of_device(device), **recipe._asdict())
    if checkpoint is None:
        return [dict(from_step=0, **made)]
    path = checkpoint.with_suffix('.recipes.json')
    parts = json.loads(path.read_text(encoding='utf-8')) if path.exists() else []
    begun = torch.load(checkpoint, map_location='cpu', weights_only=True)['progress']['steps'] if checkpoint.exists() else 0
    # What was begun and lost before its first checkpoint is no part.
    parts = [part for part in parts if part['from_step'] < begun] + [dict(from_step=begun, **made)]
    path.write_text(json.dumps(parts, indent=1) + '\n', encoding='utf-8')
    return parts


def main() -> None:
    """Run the tool."""
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    torch.set_num_threads(args.threads)
    recipe = PictogramRecipe(
        steps=args.steps,
        learning_rate=args.learning_rate,
        seed=args.seed,
        patch_dropout=args.patch_dropout,
        changed=args.changed,
        pictograms=args.batch_scale * PictogramRecipe().pictograms,
        icons_of_kinds=args.batch_scale * PictogramRecipe().icons_of_kinds,
        icons=args.batch_scale * args.icons,
    )
    if args.quick:
        recipe = recipe._replace(**QUICK)
    args.out.mkdir(parents=True, exist_ok=True)
    read = drawings.read_all(args.pictograms)
    config = model_config(write_vocabulary(args.out, read))
    from open_clip.tokenizer import SimpleTokenizer

    tokenize = SimpleTokenizer(
        bpe_path=str(args.out / 'bpe_merges.txt.gz'), context_length=config['model_cfg']['text_cfg']['context_length']
    )
    batches = PictogramBatches(recipe, read, device=args.device, workers=args.workers, tokenize=tokenize)
    parts = keep_recipe(args.checkpoint, recipe, args.device)
    logger.info('drawings %s, %d token ids', batches.counts(), config['model_cfg']['text_cfg']['vocab_size'])
    trained = json.loads(json.dumps(config))
    trained['model_cfg']['vision_cfg']['patch_dropout'] = recipe.patch_dropout  # while it is pre-trained only
    model = pretraining.build_model(trained, recipe.seed).to(args.device)
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
    pretraining.save_model(model.cpu().eval(), config, args.out)
    content = card(args, parts, read, progress, {} if args.quick else score(args.out))
    pretraining.write_card(args.card or args.out / 'card.json', content)
    logger.info('zero-shot %s', json.dumps(content['zero_shot_percent'].get('test')))


if __name__ == '__main__':
    main()
