"""Comparison with recorded numbers of the released trainer of CoOp.

A file holds a small CLIP (``clip.*``), a batch (``in.*``) and several kinds of context, each a case: its settings
(``meta.CASE``), the context and the tokens of the prompts, and what the trainer computes from them. Sizes are read from
the arrays; optimizer and schedule are those of the method's base file.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from ...models import CoOpClassifier
from ...models.text import POSITIONS, insert_context, word_embeddings
from .golden import clip_folder, compared
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

INPUTS = r'(clip|in|table|meta)\..*|\w+\.(ctx|token_ids|name_lens)'
TOLERANCE = 5e-5
# After some steps of an optimizer; rates of a schedule are exact.
TRAJECTORY_TOLERANCE = 1e-4
RATE_TOLERANCE = 1e-8


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'table.vocab_ids' in names and any(name.endswith('.grad_ctx') for name in names)


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(['in.images', 'in.labels', 'meta.heads', 'table.vocab_ids'])
    with tempfile.TemporaryDirectory() as folder:
        architecture = clip_folder(golden, folder)
        cases = [match[1] for match in golden.matches(r'meta\.(\w+)') if match[1] != 'heads']
        for case in cases:
            yield from _compare_case(golden, case, functools.partial(_build, golden, architecture, case))
        model = _build(golden, architecture, cases[0])
        features = model.frozen_features(golden.tensor('in.images')).cls
        yield compared(golden, 'image_features_raw', features, TOLERANCE)
        yield compared(golden, 'image_features', F.normalize(features, dim=-1), TOLERANCE)
    for match in golden.matches(r'sched\.lr([\d.e+-]+)\.E(\d+)'):
        yield compared(golden, match[0], recipe_rates('coop', int(match[2]), float(match[1])), RATE_TOLERANCE)


def _build(golden, architecture, case):
    """Build the classifier of a case, with the recorded context and prompts."""
    num_context, class_specific, position = golden.arrays[f'meta.{case}'].tolist()
    model = CoOpClassifier(
        architecture,
        None,
        num_context=num_context,
        class_position=POSITIONS[position],
        class_specific=bool(class_specific),
        cache_prototypes=False,
        **golden.options,
    )
    token_ids = golden.tensor(f'{case}.token_ids')
    # The zero-shot branch, of which nothing is recorded, has no texts.
    texts = dict(
        token_ids=token_ids.int(),
        name_lengths=golden.tensor(f'{case}.name_lens').int(),
        text_prototypes=torch.zeros(len(token_ids), model.backbone.embed_dims),
    )
    model.take_classes(texts, [f'class {label}' for label in range(len(token_ids))])
    with torch.no_grad():
        model.context.copy_(golden.tensor(f'{case}.ctx'))
    return model.to(golden.device)


def _compare_case(golden, case, build):
    model, images = build(), golden.tensor('in.images')
    tower = model.text_tower
    with torch.no_grad():
        raw, texts = model.text_features(), model.class_features()
        ours = dict(
            prompt_embeddings=insert_context(
                tower.embed(model.token_ids), model.name_lengths, model.context, model.class_position
            ),
            text_features_raw=raw,
            text_features=texts,
            logits=model.cosine_logits(*model.extract_feat(images), texts),
            test_logits=model(images, mode='tensor'),
        )
    if f'{case}.ctx_words' in golden.arrays:
        ours['ctx_words'] = _embed_recorded_words(golden, case, tower, model.num_context)
    loss = _loss(golden, model)
    loss.backward()
    ours.update(loss=loss, grad_ctx=model.context.grad)
    for name, value in ours.items():
        yield compared(golden, f'{case}.{name}', value, TOLERANCE)
    for match in golden.matches(rf'{case}\.(?:wd([\d.e+-]+)\.)?traj_loss'):
        decay = {} if match[1] is None else dict(weight_decay=float(match[1]))
        yield from _compare_trajectory(golden, match[0].removesuffix('loss'), build(), decay)


def _compare_trajectory(golden, prefix, model, changes):
    optimizer = recipe_optimizer('coop', [model.context], **changes)
    losses = []
    for _ in golden.arrays[f'{prefix}loss']:
        optimizer.zero_grad()
        losses.append(_loss(golden, model))
        losses[-1].backward()
        optimizer.step()
    ours = dict(loss=torch.stack(losses), ctx=model.context, test_logits=model(golden.tensor('in.images'), mode='tensor'))
    for name, value in ours.items():
        if prefix + name in golden.arrays:
            yield compared(golden, prefix + name, value, TRAJECTORY_TOLERANCE)


def _loss(golden, model):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels').long()]
    return model([golden.tensor('in.images')], samples, mode='loss')['loss_ce']


def _embed_recorded_words(golden, case, tower, count):
    """Look up the words that recorded token ids stand for, as a config's words are looked up."""
    rows_of, tokenizer = golden.arrays['table.vocab_ids'], open_clip.SimpleTokenizer()
    words = tokenizer.decode(rows_of[golden.arrays[f'{case}.token_ids'][0, 1 : 1 + count]].tolist())

    def tokenize(texts: list[str], context_length: int | None = None) -> torch.Tensor:
        """Return tokens as rows of the recorded table of words."""
        token_ids = tokenizer(texts, context_length=context_length).numpy()
        return torch.from_numpy(np.searchsorted(rows_of, token_ids))

    return word_embeddings(tower, tokenize, words)
