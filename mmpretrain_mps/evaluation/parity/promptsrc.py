"""Comparison with recorded numbers of the released trainer of PromptSRC.

A file holds a small CLIP (``clip.*``), a batch (``in.*``), the teacher's texts and pictures (``teacher.*``), several
layouts of prompts, each a case (``meta.CASE``: vectors in text and vision, blocks in text and vision), and what the
trainer computes from them; ``gpa.*`` is the average over epochs. Optimizer and schedule are those of the method's base
file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch
from mmpretrain.registry import PARAM_SCHEDULERS
from mmpretrain.structures import DataSample

from ...engine.hooks.epoch_average_hook import EpochAverage, epoch_weights
from ...models import PromptSRCClassifier
from .golden import clip_folder, compared
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from torch import nn

    from .golden import GoldenFile, Row

INPUTS = r'(clip|in|table|meta)\..*|gpa\.epochs_mean_std|\w+\.(token_ids|prompts\..*)'
NEEDED = ('in.images', 'in.labels', 'in.template_token_ids', 'meta.heads', 'gpa.epochs_mean_std')
METHOD = 'promptsrc'
TOLERANCE = 5e-5
# After some steps of an optimizer; rates and weights of a schedule are exact.
TRAJECTORY_TOLERANCE = 1e-4
SCHEDULE_TOLERANCE = 1e-8
TERMS = dict(ce='loss_ce', scl_text='loss_scl_text', scl_image='loss_scl_image', scl_logits='loss_scl_logits')


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.template_token_ids' in names and 'gpa.epochs_mean_std' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(NEEDED)
    with tempfile.TemporaryDirectory() as folder:
        build = _Builder(golden, clip_folder(golden, folder))
        cases = [match[1] for match in golden.matches(r'meta\.(\w+)') if match[1] != 'heads']
        yield from _compare_teacher(golden, build(cases[0]))
        for case in cases:
            yield from _compare_outputs(golden, case, build(case))
            yield from _compare_losses(golden, case, build(case))
            yield from _compare_states(golden, case, build(case))
            yield from _compare_trajectory(golden, case, build(case), 'traj', {})
            for match in golden.matches(rf'{case}\.(wd([\d.e+-]+))\.traj_loss'):
                changes = dict(weight_decay=float(match[2]))
                yield from _compare_trajectory(golden, case, build(case), f'{match[1]}.traj', changes)
        yield from _compare_average(golden, build('main'))
    for match in golden.matches(r'gpa\.recipe\.E(\d+)\.mean([\d.e+-]+)\.std([\d.e+-]+)'):
        weights = epoch_weights(dict(mean=float(match[2]), std=float(match[3])), int(match[1]))
        yield compared(golden, match[0], torch.tensor(weights), SCHEDULE_TOLERANCE)
    for match in golden.matches(r'sched\.lr([\d.e+-]+)\.E(\d+)'):
        yield compared(golden, match[0], recipe_rates(METHOD, int(match[2]), float(match[1])), SCHEDULE_TOLERANCE)


class _Builder:
    """Builds the classifier of a case, with the recorded prompts, tokens and teacher."""

    def __init__(self, golden: GoldenFile, architecture: str):
        self.golden, self.architecture = golden, architecture

    def __call__(self, case):
        golden = self.golden
        num_text, num_vision, text_depth, vision_depth = golden.arrays[f'meta.{case}'].tolist()
        # The table of tokens has none for words that do not occur: the prompts, which are recorded, start at random.
        model = PromptSRCClassifier(
            self.architecture,
            None,
            num_text_prompts=num_text,
            num_vision_prompts=max(1, num_vision),
            text_depth=text_depth,
            vision_depth=vision_depth,
            context_init=None,
            cache_prototypes=False,
            **golden.options,
        )
        model = model.to(golden.device)
        token_ids = golden.tensor(f'{case}.token_ids').int()
        # The zero-shot branch, of which nothing is recorded, has no texts.
        texts = dict(token_ids=token_ids, text_prototypes=torch.zeros(len(token_ids), model.backbone.embed_dims))
        model.take_classes(texts, [f'class {label}' for label in range(len(token_ids))])
        with torch.no_grad():
            for name, prompt in prompts_of(model).items():
                prompt.copy_(golden.tensor(f'{case}.prompts.{name}'))
            model.set_teacher(_teacher_texts(golden, model).mean(0))
        return model


def prompts_of(model: PromptSRCClassifier) -> dict[str, nn.Parameter]:
    """dict[str, Parameter]: The trained tensors by their recorded names."""
    return {
        f'{tower}.{index}': prompt
        for tower in ('text', 'vision')
        for index, prompt in enumerate(getattr(model, f'{tower}_prompts'))
    }


def _teacher_texts(golden, model):
    """Encode the texts of all templates ``(templates, C, D)``."""
    token_ids = golden.tensor('in.template_token_ids')
    return model.text_tower.encode_text(token_ids.flatten(0, 1)).unflatten(0, token_ids.shape[:2])


@torch.no_grad()
def _compare_teacher(golden, model):
    raw, image = _teacher_texts(golden, model), model.frozen_cls(golden.tensor('in.images'))
    ours = dict(
        text_all_raw=raw,
        text_mean_raw=raw.mean(0),
        text=model.teacher_features(),
        image=image,
        logits=model.cosine_logits(image, model.teacher_features()),
    )
    for name, value in ours.items():
        yield compared(golden, f'teacher.{name}', value, TOLERANCE)


@torch.no_grad()
def _compare_outputs(golden, case, model):
    texts, (pictures,) = model.class_features(), model.extract_feat(golden.tensor('in.images'))
    zero_shot = model.frozen_cls(golden.tensor('in.images'))
    test_logits = model.eval()(golden.tensor('in.images'), mode='tensor')
    first = slice(1, 1 + model.num_text_prompts)
    ours = dict(
        ctx_words=model.text_tower.embed(model.token_ids[:1, first])[0],
        text_features=texts,
        image_features=pictures,
        logits=model.cosine_logits(pictures, texts),
        test_logits=test_logits,
        min_abs_diff=torch.stack([(texts - model.teacher_features()).abs().min(), (pictures - zero_shot).abs().min()]),
    )
    for name, value in ours.items():
        yield compared(golden, f'{case}.{name}', value, TOLERANCE)


def _compare_losses(golden, case, model):
    losses = _losses(golden, model)
    terms = {**{name: losses[key] for name, key in TERMS.items()}, 'total': _total(losses)}
    prompts = prompts_of(model)
    for name, value in terms.items():
        yield compared(golden, f'{case}.loss.{name}', value, TOLERANCE)
        gradients = [None] * len(prompts)
        if value.requires_grad:  # without vision prompts, the term of the pictures is constant
            gradients = torch.autograd.grad(value, list(prompts.values()), retain_graph=True, allow_unused=True)
        for (prompt, parameter), gradient in zip(prompts.items(), gradients):
            if f'{case}.grad.{name}.{prompt}' in golden.arrays:
                # A term that does not reach a tower has a gradient of zero there.
                gradient = torch.zeros_like(parameter) if gradient is None else gradient
                yield compared(golden, f'{case}.grad.{name}.{prompt}', gradient, TOLERANCE)


@torch.no_grad()
def _compare_states(golden, case, model):
    names = list(golden.matches(rf'{case}\.mid\.(vision|text)_block(\d+)'))
    if not names:
        return
    _, *vision = model.backbone.block_outputs(golden.tensor('in.images'), model.vision_prompts)
    for match in names:
        if match[1] == 'vision':
            yield compared(golden, match[0], vision[int(match[2])], TOLERANCE)
            continue
        # Also behind the end tokens, which the tower leaves out otherwise.
        length = golden.arrays[match[0]].shape[1]
        embeddings, (first, *deep) = model.text_tower.embed(model.token_ids[:, :length]), model.text_prompts
        embeddings[:, 1 : 1 + len(first)] = first
        ends = [length - 1] * len(embeddings)
        states = model.text_tower.block_outputs(
            embeddings, ends, 1 + len(first), {index: (1, vectors) for index, vectors in enumerate(deep, 1)}
        )
        yield compared(golden, match[0], list(states)[int(match[2])], TOLERANCE)


def _compare_trajectory(golden, case, model, name, changes):
    totals, prompts = [], prompts_of(model)
    optimizer = recipe_optimizer(METHOD, prompts.values(), **changes)
    for _ in range(len(golden.arrays[f'{case}.{name}_loss'])):
        totals.append(_step(golden, model, optimizer))
    yield compared(golden, f'{case}.{name}_loss', torch.stack(totals), TRAJECTORY_TOLERANCE)
    for match in golden.matches(rf'{case}\.{name}_prompts\.(.*)'):
        yield compared(golden, match[0], prompts.get(match[1]), TRAJECTORY_TOLERANCE)


def _compare_average(golden, model):
    """Compare epochs of one step each, whose average takes the place of the prompts."""
    epochs, mean, std = golden.arrays['gpa.epochs_mean_std'].tolist()
    weights, prompts = epoch_weights(dict(mean=mean, std=std), int(epochs)), prompts_of(model)
    optimizer = recipe_optimizer(METHOD, prompts.values())
    scheduler = PARAM_SCHEDULERS.build(dict(type='CosineAnnealingLR', T_max=len(weights), optimizer=optimizer))
    average, rates, totals = EpochAverage(weights), [], []
    history = {name: [] for name in prompts}
    for _ in weights:
        rates.append(optimizer.param_groups[0]['lr'])
        totals.append(_step(golden, model, optimizer))
        average.add(prompts.items())
        for name, prompt in prompts.items():
            history[name].append(prompt.detach().clone())
        scheduler.step()
    ours = {'weights': torch.tensor(weights), 'lr': torch.tensor(rates), 'loss': torch.stack(totals)}
    with torch.no_grad():
        for name, prompt in prompts.items():
            prompt.copy_(average.sums[name])
            ours.update({f'history.{name}': torch.stack(history[name]), f'final.{name}': average.sums[name]})
        ours['test_logits'] = model.eval()(golden.tensor('in.images'), mode='tensor')
    for name, value in ours.items():
        yield compared(golden, f'gpa.{name}', value, TRAJECTORY_TOLERANCE)


def _step(golden, model, optimizer):
    total = _total(_losses(golden, model))
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.detach()


def _losses(golden, model):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels')]
    return model.train()([golden.tensor('in.images')], samples, mode='loss')


def _total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)
