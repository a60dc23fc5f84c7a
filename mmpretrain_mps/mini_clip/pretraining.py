"""Contrastive pre-training of the mini CLIP on rendered pictures."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from . import rendering
from .batches import Batch, BatchMaker, Recipe

if TYPE_CHECKING:
    import open_clip
    from torch import nn

CONTEXT_LENGTH = 24


def model_config(vocab_size: int) -> dict:
    """open_clip configuration of the mini CLIP.

    Args:
        vocab_size (int): Number of token ids.

    Returns:
        dict: Content of ``open_clip_config.json``.
    """
    return {
        'model_cfg': {
            'embed_dim': 64,
            'quick_gelu': True,
            'vision_cfg': {
                'image_size': rendering.IMAGE_SIZE,
                'layers': 12,
                'width': 96,
                'head_width': 32,
                'patch_size': 8,
            },
            'text_cfg': {
                'context_length': CONTEXT_LENGTH,
                'vocab_size': vocab_size,
                'width': 64,
                'heads': 2,
                'layers': 3,
            },
        },
        'preprocess_cfg': {
            'mean': [0.5, 0.5, 0.5],
            'std': [0.5, 0.5, 0.5],
            'interpolation': 'bicubic',
            'resize_mode': 'shortest',
        },
    }


def contrastive_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor, positives: Tensor) -> Tensor:
    r"""Symmetric contrastive loss with several positives.

    .. math:: L = -\tfrac12 \Big(\mathrm{mean}_i \sum_j p_{ij} \log q_{ij}
        + \mathrm{mean}_j \sum_i p'_{ij} \log q'_{ij}\Big)

    with :math:`q` (:math:`q'`) the softmax of the scaled cosines over texts
    (pictures) and :math:`p` (:math:`p'`) uniform over the positives.

    Args:
        image_features (Tensor): Unit-norm ``(B, D)``.
        text_features (Tensor): Unit-norm ``(T, D)``.
        logit_scale (Tensor): Scalar factor on cosines.
        positives (Tensor): ``(B, T)`` bool; every row and column has one.

    Returns:
        Tensor: Scalar.
    """
    logits = logit_scale * image_features @ text_features.T
    target = positives.float()
    over_texts = target / target.sum(1, keepdim=True)
    over_images = target / target.sum(0, keepdim=True)
    image_loss = -(over_texts * logits.log_softmax(1)).sum(1).mean()
    text_loss = -(over_images * logits.log_softmax(0)).sum(0).mean()
    return (image_loss + text_loss) / 2


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to zero.

    Args:
        step (int): 0-based step.
        recipe (Recipe): Peak, warm-up and length.

    Returns:
        float: Learning rate of the step.
    """
    warmup = min(recipe.warmup, recipe.steps // 4)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices but no gains, biases or embeddings.

    Args:
        model (nn.Module): The CLIP model.
        recipe (Recipe): Learning rate and weight decay.

    Returns:
        torch.optim.Optimizer: Over all parameters.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and 'embedding' not in name
        (decayed if matrix else plain).append(parameter)
    return torch.optim.AdamW(
        [{'params': decayed, 'weight_decay': recipe.weight_decay}, {'params': plain, 'weight_decay': 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )


def build_model(config: dict, seed: int) -> open_clip.CLIP:
    """A fresh open_clip CLIP from a configuration.

    Args:
        config (dict): Result of :func:`model_config`.
        seed (int): Seed of the initial weights.

    Returns:
        open_clip.CLIP: In training mode.
    """
    from open_clip.model import CLIP

    # open_clip draws initial weights from the global generator; fork it so
    # that the caller's stays untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIP(**config['model_cfg'])


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        steps (int): Optimiser steps done.
        seconds (float): Wall time spent on them.
        data_seconds (float): Part of it spent on preparing batches.
        rejoined (list): ``[step, steps of the schedule]`` of every resume.
    """

    steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    rejoined: list[list[int]] = []


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write a resumable checkpoint; a crash leaves the old one whole.

    Args:
        path (Path): File to write.
        model (nn.Module): The CLIP model.
        optimizer (torch.optim.Optimizer): Its optimiser.
        progress (Progress): What has been done.
    """
    part = path.with_suffix('.part')
    torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'progress': progress._asdict()}, part)
    part.replace(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Progress:
    """Restore a run.

    Args:
        path (Path): File that :func:`save_checkpoint` wrote.
        model (nn.Module): Filled in place.
        optimizer (torch.optim.Optimizer): Filled in place.
        steps (int): Length of the schedule from here on, for the record.

    Returns:
        Progress: Where to go on.
    """
    state = torch.load(path, map_location='cpu', weights_only=True)
    model.load_state_dict(state['model'])
    optimizer.load_state_dict(state['optimizer'])
    progress = Progress(**state['progress'])
    return progress._replace(rejoined=progress.rejoined + [[progress.steps, steps]])


def train(
    model: open_clip.CLIP,
    tokenize: Callable,
    batches: BatchMaker,
    recipe: Recipe,
    report: Callable[[int, float, float], None],
    checkpoint: Path | None = None,
    stop: int | None = None,
    use_compile: bool = True,
) -> Progress:
    """Run the pre-training, resuming from a checkpoint where there is one.

    Args:
        model (open_clip.CLIP): Trained in place, where it lies; the pictures come from there.
        tokenize (callable): Texts to token ids.
        batches (BatchMaker): Source of batches; moved to the resumed step.
        recipe (Recipe): Hyper-parameters.
        report (callable): Called after every step with the number of steps
            done, the loss and the seconds left.
        checkpoint (Path, optional): Written every 250 steps and at the end.
        stop (int, optional): Step to end at although the schedule of
            ``recipe.steps`` goes on, in order to resume later.
        use_compile (bool): Whether to compile the image tower.

    Returns:
        Progress: Of the whole run, earlier parts included.
    """
    optimizer = build_optimizer(model, recipe)
    earlier = Progress(rejoined=[])
    if checkpoint is not None and checkpoint.exists():
        earlier = load_checkpoint(checkpoint, model, optimizer, recipe.steps)
    batches.step = earlier.steps
    encode = torch.compile(model.encode_image) if use_compile else model.encode_image
    end = recipe.steps if stop is None else min(stop, recipe.steps)
    began, data_seconds, now = time.perf_counter(), 0.0, earlier
    for step in range(earlier.steps, end):
        before = time.perf_counter()
        batch = batches.next()
        data_seconds += time.perf_counter() - before
        with torch.random.fork_rng(devices=[]):
            # Patches that are left out depend on seed and step alone, too.
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            loss = _step(model, encode, tokenize, optimizer, batch, learning_rate(step, recipe))
        spent = time.perf_counter() - began
        now = Progress(step + 1, earlier.seconds + spent, earlier.data_seconds + data_seconds, earlier.rejoined)
        report(now.steps, loss, spent / (now.steps - earlier.steps) * (end - now.steps))
        if checkpoint is not None and (now.steps % 250 == 0 or now.steps == end):
            save_checkpoint(checkpoint, model, optimizer, now)
    return now


def _loss_of_blocks(image: Tensor, text: Tensor, logit_scale: Tensor, batch: Batch) -> Tensor:
    """Mean loss of the blocks, each over the pictures it has captions for."""
    sizes = batch.blocks or (len(batch.captions),)
    losses = []
    for part, positives in zip(text.split(sizes), batch.positives.split(sizes, 1)):
        rows = positives.any(1)
        losses.append(contrastive_loss(image[rows], part, logit_scale, positives[rows]))
    return cast(Tensor, sum(losses)) / len(losses)


def _step(model, encode, tokenize, optimizer, batch: Batch, rate: float) -> float:
    """One optimiser step; returns the loss."""
    for group in optimizer.param_groups:
        group['lr'] = rate
    device = batch.pictures.device
    tokens = tokenize(batch.captions) if batch.tokens is None else batch.tokens
    image = F.normalize(encode(batch.pictures), dim=-1)
    text = F.normalize(model.encode_text(tokens.to(device)), dim=-1)
    batch = batch._replace(positives=batch.positives.to(device))
    loss = _loss_of_blocks(image, text, model.logit_scale.exp(), batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        # As in CLIP: a factor above 100 makes training unstable.
        model.logit_scale.clamp_(0, math.log(100))
    return float(loss.detach())


def save_model(model: open_clip.CLIP, config: dict, folder: Path) -> None:
    """Write configuration and fp16 weights in open_clip's layout.

    Args:
        model (open_clip.CLIP): Trained model.
        config (dict): Its configuration.
        folder (Path): Model folder; must exist.
    """
    from safetensors.torch import save_file

    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, str(folder / 'open_clip_model.safetensors'))
    (folder / 'open_clip_config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')


def add_run_arguments(parser: argparse.ArgumentParser, default: Recipe) -> None:
    """Add what a tool of pre-training needs to know.

    Args:
        parser (ArgumentParser): Changed.
        default (Recipe): With ``seed``, ``steps`` and ``learning_rate``.
    """
    parser.add_argument('--out', type=Path, required=True, help='model folder to write')
    parser.add_argument('--card', type=Path, help='model card to write (default: OUT/card.json)')
    parser.add_argument('--seed', type=int, default=default.seed)
    parser.add_argument('--steps', type=int, default=default.steps)
    parser.add_argument('--learning-rate', type=float, default=default.learning_rate)
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of torch')
    parser.add_argument('--no-compile', action='store_true', help='do not compile the image tower')
    parser.add_argument('--checkpoint', type=Path, help='resume from and write to this file')
    parser.add_argument(
        '--stop',
        type=int,
        default=None,
        help='end at this step of the schedule, write the checkpoint and leave; resume without --stop',
    )
    parser.add_argument('--quick', action='store_true', help='smoke test: a few small steps, under a minute')


def parse_run(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line of a tool of pre-training."""
    args = parser.parse_args()
    if args.stop is not None and args.checkpoint is None:
        parser.error('--stop needs --checkpoint, or the work would be lost')
    return args


def log_progress(steps: int, logger: logging.Logger) -> Callable:
    """Callback that logs the loss and the time left now and then."""
    every = max(1, steps // 100)

    def report(done: int, loss: float, seconds_left: float) -> None:
        """Log a step, if it is its turn."""
        if done % every == 0 or done == steps:
            logger.info('step %d/%d  loss %.3f  about %.1f min left', done, steps, loss, seconds_left / 60)

    return report


def about_run(progress: Progress, threads: int, folder: Path, packages: Sequence[str], device: str = 'cpu') -> dict:
    """What every model card says of its run.

    Args:
        progress (Progress): Of the whole run.
        threads (int): CPU threads.
        folder (Path): Of the model.
        packages (Sequence[str]): Whose versions matter.
        device (str): Where it was trained.

    Returns:
        dict: Times, machine, versions, sizes of the files in bytes.
    """
    return {
        'seconds_training': round(progress.seconds, 1),
        'seconds_of_those_on_data': round(progress.data_seconds, 1),
        'machine': {
            'processor': platform.machine(),
            'logical_cores': os.cpu_count(),
            'threads': threads,
            'device': name_of_device(device),
        },
        'versions': {name: version(name) for name in packages},
        'files_bytes': {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
        'finished_utc': time.strftime('%Y-%m-%d %H:%M', time.gmtime()),
    }


def name_of_device(device: str) -> str:
    """Return the name of a GPU; ``'cpu'`` for the CPU."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == 'cuda' else 'cpu'


def write_card(path: Path, content: dict) -> None:
    """Write a model card, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
