"""Comparison with recorded numbers of the released trainer of TextRefiner on CoOp.

A file holds a small CLIP (``clip.*``), settings (``hp.*``), a batch, the tokens of its prompts, the cache and the
trained tensors at the start (``in.*``), and what the trainer computes from them. Sizes are read from the arrays;
optimizer and schedule are those of the method's base file.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from ...models import TextRefinerClassifier
from ...models.adapters.text_refiner import select_local
from .golden import clip_folder, compared
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

INPUTS = r'(clip|in|hp)\..*'
SETTINGS = (
    'n_ctx',
    'cache_size',
    'alpha',
    'momentum',
    'top_k',
    'semantic_divisor',
    'regularisation_weight',
    'vision_heads',
    'text_heads',
)
NEEDED = ('in.images', 'in.labels', 'in.token_ids', 'in.new_token_ids', 'in.cache', *(f'hp.{setting}' for setting in SETTINGS))
TOLERANCE = 1e-5
RATE_TOLERANCE = 1e-8
# Below every difference of two indices.
INDEX_TOLERANCE = 1e-9
# Names of the losses in the file and here, in the order of recorded terms.
TERMS = {'global': 'loss_ce', 'semantic': 'loss_local', 'regularisation': 'loss_distill'}


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.cache' in names and 'in.param.extractor.weight' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(NEEDED)
    settings = {name: golden.arrays[f'hp.{name}'].item() for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        architecture = clip_folder(golden, folder, (settings['vision_heads'], settings['text_heads']))
        build = functools.partial(_build, golden, architecture, settings)
        yield from _compare_features(golden, build())
        yield from _compare_step(golden, build())
        yield from _compare_predictions(golden, build().eval())
        yield from _compare_gradients(golden, build)
        for match in golden.matches(r'(traj(?:_wd([\d.e+-]+))?)\.total'):
            decay = {} if match[2] is None else dict(weight_decay=float(match[2]))
            yield from _compare_trajectory(golden, match[1], build(), decay)
    for match in golden.matches(r'sched\.lr\.E(\d+)'):
        yield compared(golden, match[0], recipe_rates('textrefiner', int(match[1])), RATE_TOLERANCE)


def _build(golden, architecture, settings):
    """Build the classifier with the recorded prompts, cache and trained tensors, in training mode."""
    model = TextRefinerClassifier(
        architecture,
        None,
        num_context=settings['n_ctx'],
        context_init=None,
        cache_size=settings['cache_size'],
        momentum=settings['momentum'],
        alpha=settings['alpha'],
        num_patches=settings['top_k'],
        local_weight=1 / settings['semantic_divisor'],
        distill_weight=settings['regularisation_weight'],
        cache_prototypes=False,
        **golden.options,
    ).to(golden.device)
    model.take_classes(*_classes(golden, model, ''))
    with torch.no_grad():
        model.refiner.cache.entries.copy_(golden.tensor('in.cache'))
        for name, parameter in _trained(model).items():
            parameter.copy_(golden.tensor(f'in.param.{name}').view_as(parameter))
    return model.train()


def _classes(golden, model, kind):
    """Take recorded tokens for those of class names; ``kind`` is empty, or ``'new_'`` for other classes."""
    token_ids = golden.tensor(f'in.{kind}token_ids').int()
    names = [f'{kind}class {label}' for label in range(len(token_ids))]
    # Neither the lengths of names nor the zero-shot branch matter: the name stands behind the context.
    texts = dict(
        token_ids=token_ids,
        name_lengths=torch.ones_like(token_ids[:, 0]),
        text_prototypes=model.text_tower.encode_text(token_ids),
    )
    return texts, names


def _trained(model):
    """Return the trained tensors by their recorded names; a convolution over single tokens is a linear layer here."""
    refiner = model.refiner
    parts = {
        'align.conv1': refiner.aligner.first,
        'align.bn': refiner.aligner.norm,
        'align.conv2': refiner.aligner.second,
        'extractor': refiner.extractor,
    }
    return {
        'ctx': model.context,
        **{f'{part}.{name}': value for part, layer in parts.items() for name, value in layer.named_parameters()},
    }


def _inputs(golden):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels').long()]
    return [golden.tensor('in.images')], samples


@torch.no_grad()
def _compare_features(golden, model):
    images, labels = golden.tensor('in.images'), golden.tensor('in.labels').long()
    refiner, batch = model.refiner, model.picture_batch([images], labels)
    aligned, texts = refiner.aligner(batch.tokens), model.learned_texts()
    refined, features = refiner(texts), F.normalize(batch.cls, dim=-1)
    entries, _ = refiner.cache.assign(F.normalize(aligned.flatten(0, 1), dim=-1))
    local_logits, _ = model.local_logits(batch, aligned, texts)
    ours = {
        'in.eot': torch.tensor(model.prompt_ends()),
        'out.top_patches': batch.top_patches - 1,
        'out.assignment': entries.unflatten(0, aligned.shape[:2]),
    }
    yield from _recorded(golden, ours, INDEX_TOLERANCE)
    ours = {
        'out.image_raw': batch.cls,
        'out.image': features,
        'out.local_tokens': batch.tokens,
        'out.cls_attention': model.backbone(images, attention=True).attention[:, 1:],
        'out.aligned_tokens': aligned,
        'out.top_local': select_local(aligned, batch.top_patches),
        'out.text': texts,
        'out.cache_read': refiner.cache.read(texts),
        'out.text_refined': refined,
        'out.logits': model.cosine_logits(features, refined),
        'out.local_logits': local_logits.unflatten(0, (len(images), -1)),
    }
    yield from _recorded(golden, ours)


@torch.no_grad()
def _compare_step(golden, model):
    """Compare the losses of one step, and the state after it."""
    losses = model(*_inputs(golden), mode='loss')
    ours = {f'loss.{term}': value for term, value in _unweighted(losses, model).items()}
    norm = model.refiner.aligner.norm
    ours.update(
        {
            'loss.total': _total(losses),
            'out.cache_after_write': model.refiner.cache.entries,
            'out.bn_running_mean': norm.running_mean,
            'out.bn_running_var': norm.running_var,
        }
    )
    yield from _recorded(golden, ours)


@torch.no_grad()
def _compare_predictions(golden, model):
    images = golden.tensor('in.images')
    ours = {'out.test_text_refined': model.cached_class_features(), 'out.test_logits': model(images, mode='tensor')}
    with model.with_classes(*_classes(golden, model, 'new_')):
        ours['out.new_test_logits'] = model(images, mode='tensor')
    yield from _recorded(golden, ours)


def _compare_gradients(golden, build):
    for term, prefix in (('total', 'grad'), *((term, f'grad_{term}') for term in TERMS)):
        model = build()
        losses = model(*_inputs(golden), mode='loss')
        {'total': _total(losses), **_unweighted(losses, model)}[term].backward()
        yield from _recorded(golden, {f'{prefix}.{name}': value.grad for name, value in _trained(model).items()})


def _compare_trajectory(golden, prefix, model, changes):
    """Train on the same batch; every step writes the cache. A total more than there are steps is the one after them."""
    optimizer = recipe_optimizer('textrefiner', _trained(model).values(), **changes)
    totals, terms, caches, recorded = [], [], [], len(golden.arrays[f'{prefix}.total'])
    steps = len(golden.arrays.get(f'{prefix}.cache_after_step', golden.arrays[f'{prefix}.total']))
    for _ in range(steps):
        _note_losses(golden, model, totals, terms)
        optimizer.zero_grad()
        totals[-1].backward()
        optimizer.step()
        caches.append(model.refiner.cache.entries.clone())
    ours = {f'final.{name}': parameter.detach().clone() for name, parameter in _trained(model).items()}
    ours.update(cache_after_step=torch.stack(caches), test_logits_after=model.eval()(golden.tensor('in.images'), mode='tensor'))
    model.train()
    for _ in range(recorded - steps):
        _note_losses(golden, model, totals, terms)
    ours.update(total=torch.stack(totals), weighted_terms=torch.stack(terms))
    yield from _recorded(golden, {f'{prefix}.{name}': value for name, value in ours.items()})


def _note_losses(golden, model, totals, terms):
    losses = model(*_inputs(golden), mode='loss')
    totals.append(_total(losses))
    terms.append(torch.stack([losses[name] for name in TERMS.values()]))


def _recorded(golden, ours, tolerance=TOLERANCE):
    """Compare what is in the file. A linear layer's weights there are those of a convolution over single tokens."""
    for name, value in ours.items():
        if name in golden.arrays:
            recorded = golden.arrays[name].shape
            is_convolution = value is not None and recorded == (*value.shape, 1, 1)
            yield compared(golden, name, value.view(recorded) if is_convolution else value, tolerance)


def _unweighted(losses, model):
    weights = (1, model.local_weight, model.distill_loss.loss_weight)
    return {term: losses[name] / weight for (term, name), weight in zip(TERMS.items(), weights)}


def _total(losses):
    return sum(losses[name] for name in TERMS.values())
