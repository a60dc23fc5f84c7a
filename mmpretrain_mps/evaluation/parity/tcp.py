"""Comparison with recorded numbers of the released trainer of TCP.

A file holds a small CLIP (``clip.*``), settings (``hp.*``), a batch, the tokens of its prompts and the trained tensors
at the start (``in.*``), and what the trainer computes from them. Sizes are read from the arrays; optimizer and schedule
are those of the method's base file.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch
from mmpretrain.structures import DataSample

from ...models import TCPClassifier
from ...models.text import insert_context
from ...models.text.prototypes import encode_prototypes
from .golden import clip_folder, compared
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

INPUTS = r'(clip|in|hp)\..*'
NEEDED = (
    'in.images',
    'in.labels',
    'in.token_ids',
    'in.zero_shot_token_ids',
    'hp.n_ctx',
    'hp.inject_block',
    'hp.kg_weight',
    'hp.vision_heads',
    'hp.text_heads',
)
TOLERANCE = 2e-5
RATE_TOLERANCE = 1e-8


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.param.ctx' in names and 'in.param.meta_net.linear1.weight' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(NEEDED)
    with tempfile.TemporaryDirectory() as folder:
        heads = int(golden.arrays['hp.vision_heads']), int(golden.arrays['hp.text_heads'])
        architecture = clip_folder(golden, folder, heads)
        build = functools.partial(_build, golden, architecture)
        yield from _compare_outputs(golden, build())
        yield from _compare_losses(golden, build())
        yield from _compare_gradients(golden, build)
        yield from _compare_trajectories(golden, build)
    for match in golden.matches(r'sched\.lr\.E(\d+)'):
        yield compared(golden, match[0], recipe_rates('tcp', int(match[1])), RATE_TOLERANCE)


def _build(golden, architecture):
    """Build the classifier with the recorded prompts and trained tensors."""
    model = TCPClassifier(
        architecture,
        None,
        num_context=int(golden.arrays['hp.n_ctx']),
        cache_prototypes=False,
        class_aware_block=int(golden.arrays['hp.inject_block']),
        knowledge_weight=float(golden.arrays['hp.kg_weight']),
        **golden.options,
    ).to(golden.device)
    model.take_classes(*_classes(golden, model, ''))
    with torch.no_grad():
        for name, parameter in _trained(model).items():
            parameter.copy_(golden.tensor(f'in.param.{name}'))
    return model


def _classes(golden, model, kind):
    """Encode recorded tokens as class names are encoded; ``kind`` is empty, or ``'new_'`` for other classes."""
    token_ids = golden.tensor(f'in.{kind}token_ids').int()
    names = [f'{kind}class {label}' for label in range(len(token_ids))]
    recorded = golden.tensor(f'in.{kind}zero_shot_token_ids')
    prototypes = encode_prototypes(model.text_tower.model, lambda texts: recorded, names, ['{}'])
    return dict(token_ids=token_ids, text_prototypes=prototypes), names


def _trained(model):
    return {'ctx': model.context, **{f'meta_net.{name}': value for name, value in model.meta_net.named_parameters()}}


@torch.no_grad()
def _compare_outputs(golden, model):
    images = golden.tensor('in.images')
    texts = model.class_features()
    ours = {
        'in.eot': torch.tensor(model.prompt_ends()),
        'out.zero_shot_text': model.unit_prototypes(),
        'out.class_prompts': model.class_prompts(),
        'out.text_raw': model.text_features(),
        'out.text': texts,
        'out.image_raw': model.backbone(images).cls,
        'out.image': model.extract_feat(images)[0],
        'out.logits': model.cosine_logits(*model.extract_feat(images), texts),
        'out.test_logits': model(images, mode='tensor'),
    }
    ours.update(_states(golden, model))
    classes, names = _classes(golden, model, 'new_')
    with model.with_classes(classes, names):
        ours.update(
            {
                'out.new_text': model.class_features(),
                'out.new_zero_shot_text': model.unit_prototypes(),
                'out.new_test_logits': model(images, mode='tensor'),
            }
        )
    for name, value in ours.items():
        if name in golden.arrays:
            yield compared(golden, name, value, TOLERANCE)


def _states(golden, model):
    """Return the embeddings of the prompts and the outputs of text blocks, as many positions as are recorded."""
    length = golden.arrays['mid.prompt_embeddings'].shape[1]
    embeddings = insert_context(model.text_tower.embed(model.token_ids[:, :length]), None, model.context)
    deep = {model.class_aware_block: (1, model.class_prompts())}
    # Behind the end token, too: recorded states go to the same position in all classes.
    ends = [length - 1] * len(embeddings)
    outputs = list(model.text_tower.block_outputs(embeddings, ends, 1 + model.num_context, deep))
    states = {f'mid.text_block{index}': output for index, output in enumerate(outputs)}
    return {'mid.prompt_embeddings': embeddings, 'mid.text_last': outputs[-1], **states}


def _terms(golden, model):
    """Return cross-entropy, the distance from the frozen texts without its weight, and the sum of the losses."""
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels').long()]
    losses = model([golden.tensor('in.images')], samples, mode='loss')
    total = losses['loss_ce'] + losses['loss_knowledge']
    return dict(ce=losses['loss_ce'], kg=losses['loss_knowledge'] / model.knowledge_weight, total=total)


@torch.no_grad()
def _compare_losses(golden, model):
    for name, value in _terms(golden, model).items():
        yield compared(golden, f'loss.{name}', value, TOLERANCE)


def _compare_gradients(golden, build):
    for term, prefix in (('total', 'grad'), ('ce', 'grad_ce'), ('kg', 'grad_kg')):
        model = build()
        _terms(golden, model)[term].backward()
        for name, parameter in _trained(model).items():
            if f'{prefix}.{name}' in golden.arrays:
                yield compared(golden, f'{prefix}.{name}', parameter.grad, TOLERANCE)


def _compare_trajectories(golden, build):
    for match in golden.matches(r'traj\.total\.(adam_eps([\d.e+-]+))'):
        model = build()
        optimizer = recipe_optimizer('tcp', _trained(model).values(), eps=float(match[2]))
        totals = []
        for step in range(len(golden.arrays[match[0]])):
            if step:
                optimizer.zero_grad()
                totals[-1].backward()
                optimizer.step()
            totals.append(_terms(golden, model)['total'])
        yield compared(golden, match[0], torch.stack(totals), TOLERANCE)
        for name, parameter in _trained(model).items():
            if f'traj.final.{match[1]}.{name}' in golden.arrays:
                yield compared(golden, f'traj.final.{match[1]}.{name}', parameter, TOLERANCE)
