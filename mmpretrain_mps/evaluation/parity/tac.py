"""Comparison with recorded numbers of the released trainer of TAC.

A file holds a small CLIP (``clip.*``), a batch of views with masks of the dropout (``in.*``), the trained tensors
(``param.*``), and what the trainer computes from them with the masks and without (``.nodropout``): features, losses,
gradients, a trajectory (``traj.*``) and the average over epochs (``avg.*``). ``kmeans2.*`` is a clustering by itself.
Optimizer and schedule are those of the method's base file; weights of the losses too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import nn

from ...engine.hooks.epoch_average_hook import EpochAverage, epoch_weights
from ...models import TACClassifier
from ...models.text.clustering import cosine_kmeans
from ...models.text.sentences import TokenizedSentences, mean_sentence_features
from ...utils.methods import read_method
from .golden import clip_folder, compared, find_heads
from .recipes import recipe_optimizer, recipe_rates

if TYPE_CHECKING:
    from .golden import GoldenFile, Row

METHOD = 'tac'
INPUTS = r'(clip|in|param)\..*|kmeans2?\.(init_index|X)'
NEEDED = (
    'in.images',
    'in.images_original',
    'in.labels',
    'in.token_ids',
    'in.ctx_token_ids',
    'in.dropout_keep.image',
    'in.dropout_keep.zero_shot',
    'in.description_token_ids',
    'in.description_class',
    'kmeans.init_index',
    'param.prompt_learner.ctx',
    'out.fixed_text',
    'out.zero_shot_features_train.nodropout',
)
TERMS = {'ce': 'loss_ce', 'text': 'loss_text', 'image': 'loss_image'}
# One sequence of each: the first picture of the first view, the second class.
RECORDED_CLASS = 1


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.description_token_ids' in names and 'param.VPT_topk_t.weight' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(NEEDED)
    with tempfile.TemporaryDirectory() as folder:
        build = _Builder(golden, folder)
        yield from _compare_clusters(golden, build())
        for suffix, masked in (('', True), ('.nodropout', False)):
            yield from _compare_training(golden, build(masked), suffix)
            yield from _compare_gradients(golden, build(masked), suffix)
        yield from _compare_states(golden, build())
        yield from _compare_test(golden, build())
        yield from _compare_trajectory(golden, build(True))
        yield from _compare_average(golden, build(True))


class GivenMasks(nn.Module):
    """Takes the place of dropout and applies recorded masks, that of the views first, then that of the plain pictures.

    Args:
        golden (GoldenFile): With masks ``(steps, N, D)``, 1 for what is kept.
        share (float): Of the dimensions that are dropped.
    """

    def __init__(self, golden: GoldenFile, share: float):
        super().__init__()
        self.share, self.step = share, 0
        self._masks = golden.tensor('in.dropout_keep.image'), golden.tensor('in.dropout_keep.zero_shot')
        self._next = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Drop dimensions of features ``(N, D)`` as recorded for the current step."""
        keep = self._masks[self._next][self.step]
        self._next = 1 - self._next
        return features * keep / (1 - self.share)


class _Builder:
    """Builds the classifier with the recorded vectors and classes.

    The numbers of attention heads leave no trace in the shapes of weights; recorded features tell them.
    """

    def __init__(self, golden: GoldenFile, folder: str):
        self.golden, self.folder = golden, folder
        self.heads: tuple[int, ...] = (1, 1)
        self._find_heads(0, 'clip.visual.class_embedding', 'out.zero_shot_features_train.nodropout', _frozen_pictures)
        self._find_heads(1, 'clip.positional_embedding', 'out.fixed_text', _sentence_features)

    def __call__(self, masked=False):
        golden, content = self.golden, read_method(METHOD).model
        recipe = {name: content[name] for name in ('dropout', 'text_weight', 'image_weight')}
        model = TACClassifier(
            clip_folder(golden, self.folder, self.heads),
            None,
            **recipe,
            context_init=None,
            cache_prototypes=False,
            num_prompts=len(golden.arrays['param.prompt_learner.ctx']),
            num_clusters=len(golden.arrays['kmeans.init_index']),
            **golden.options,
        ).to(golden.device)
        token_ids = golden.tensor('in.token_ids').int()
        # The zero-shot branch, of which nothing is recorded, has no texts.
        texts = dict(token_ids=token_ids, text_prototypes=torch.zeros(len(token_ids), model.backbone.embed_dims))
        model.take_classes(texts, [f'class {label}' for label in range(len(token_ids))])
        model.sentence_features = _sentence_features(golden, model)
        clusters = cosine_kmeans(model.sentence_features, golden.tensor('kmeans.init_index'))
        model.cluster_centers = F.normalize(clusters.centers, dim=-1)
        with torch.no_grad():
            for name, parameter in parameters_of(golden, model).items():
                parameter.copy_(golden.tensor(f'param.{name}'))
        model.dropout = GivenMasks(golden, recipe['dropout']) if masked else nn.Identity()
        return model.train()

    def _find_heads(self, tower, sized, name, features):
        """Find the number of heads of one tower, 0 vision and 1 text."""

        def agrees(count: int) -> bool:
            """Whether the tower gives the recorded features with so many heads."""
            self.heads = (*self.heads[:tower], count, *self.heads[tower + 1 :])
            return compared(self.golden, name, features(self.golden, self())).passed

        find_heads(self.golden, self.golden.arrays[sized].shape[-1], name, agrees)


def parameters_of(golden: GoldenFile, model: TACClassifier) -> dict[str, nn.Parameter]:
    """dict[str, Parameter]: The trained tensors by their recorded names."""
    found = {'prompt_learner.ctx': model.text_prompts[0], 'image_encoder.VPT': model.vision_prompts[0]}
    for tower, prompts in (('text', model.text_prompts), ('image', model.vision_prompts)):
        found.update(
            {
                f'{tower}_encoder.transformer.resblocks.{block}.VPT_shallow': vectors
                for block, vectors in enumerate(prompts)
                if block
            }
        )
    for letter, layer in (('t', model.text_map), ('v', model.vision_map)):
        found.update({f'VPT_topk_{letter}.weight': layer.weight, f'VPT_topk_{letter}.bias': layer.bias})
    return found


def _sentence_features(golden, model):
    labels = golden.tensor('in.description_class')
    order = labels.argsort(stable=True)
    sentences = TokenizedSentences(golden.tensor('in.description_token_ids')[order], labels[order])
    return mean_sentence_features(model.text_tower, sentences)


@torch.no_grad()
def _frozen_pictures(golden, model):
    features = F.normalize(model.backbone(golden.tensor('in.images_original')).cls, dim=-1)
    return features.repeat(len(golden.arrays['in.images']), 1)


@torch.no_grad()
def _compare_clusters(golden, model):
    for prefix, points in (('kmeans', model.sentence_features), ('kmeans2', golden.tensors('kmeans2.').get('X'))):
        if points is not None:
            clusters = cosine_kmeans(points, golden.tensor(f'{prefix}.init_index'))
            ours = dict(
                centers_raw=clusters.centers, assignment=clusters.assignment, centers=F.normalize(clusters.centers, dim=-1)
            )
            for name, value in ours.items():
                if f'{prefix}.{name}' in golden.arrays:
                    yield compared(golden, f'{prefix}.{name}', value)
    centers = model.centers()
    ours = {
        'init.ctx': model.first_words(golden.tensor('in.ctx_token_ids')[None]),
        'out.fixed_text': model.fixed_texts(),
        'out.cluster_centers': centers,
        'out.topk_text': model.text_map(centers),
        'out.topk_vision': model.vision_map(centers),
    }
    for name, value in ours.items():
        yield compared(golden, name, value)


@torch.no_grad()
def _compare_training(golden, model, suffix):
    labels = golden.tensor('in.labels').long()
    pictures, texts = model.dropped(model.picture_batch(_views(golden), labels)), model.class_features()
    losses = _losses(golden, model)
    ours = {
        'out.image_features_train': pictures.tuned,
        'out.zero_shot_features_train': pictures.zero_shot,
        'out.logits_train': model.cosine_logits(pictures.tuned, texts),
        'loss.total': _total(losses),
        **{f'loss.{name}': losses[key] for name, key in TERMS.items()},
    }
    for name, value in ours.items():
        yield compared(golden, name + suffix, value)


def _compare_gradients(golden, model, suffix):
    _total(_losses(golden, model)).backward()
    for name, parameter in parameters_of(golden, model).items():
        yield compared(golden, f'grad{suffix}.{name}', parameter.grad)


@torch.no_grad()
def _compare_states(golden, model):
    pictures = golden.tensor('in.images')[0]
    vision = model.backbone.block_outputs(pictures, model.vision_vectors(), model.num_clusters)
    states = {'vision': [states[0] for states in vision]}
    embeddings, _, shared, deep = model.text_inputs()
    # Also behind the end tokens, which the tower leaves out otherwise.
    length = model.text_tower.context_length
    rest = model.token_ids[:, embeddings.shape[1] - model.num_clusters - model.num_prompts :]
    embeddings = torch.cat([embeddings, model.text_tower.embed(rest)], 1)[:, :length]
    text = model.text_tower.block_outputs(embeddings, [length - 1] * len(embeddings), shared, deep)
    states['text'] = [
        (embeddings + model.text_tower.text.positional_embedding)[RECORDED_CLASS],
        *(states[RECORDED_CLASS] for states in text),
    ]
    for tower, (first, *blocks) in states.items():
        ours = {
            f'mid.{tower}_in': first,
            f'mid.{tower}_last': blocks[-1],
            **{match[0]: blocks[int(match[1])] for match in golden.matches(rf'mid\.{tower}_block(\d+)')},
        }
        for name, value in ours.items():
            if name in golden.arrays:
                yield compared(golden, name, value)


@torch.no_grad()
def _compare_test(golden, model):
    model, pictures = model.eval(), golden.tensor('in.images_original')
    ours = {
        'out.text_features': model.class_features(),
        'out.image_features_test': model.extract_feat(pictures)[0],
        'out.logits_test': model(pictures, mode='tensor'),
    }
    for name, value in ours.items():
        yield compared(golden, name, value)


def _compare_trajectory(golden, model):
    parameters, totals = parameters_of(golden, model), []
    optimizer = recipe_optimizer(METHOD, parameters.values())
    for step in range(len(golden.arrays['traj.total'])):
        totals.append(_step(golden, model, optimizer, step))
    yield compared(golden, 'traj.total', torch.stack(totals))
    for name, parameter in parameters.items():
        yield compared(golden, f'traj.after{len(totals)}.{name}', parameter)


def _compare_average(golden, model):
    """Compare epochs of one step each, whose average takes the place of the trained tensors."""
    epochs = len(golden.arrays['avg.lr'])
    rates, parameters, totals = recipe_rates(METHOD, epochs), parameters_of(golden, model), []
    optimizer, average = recipe_optimizer(METHOD, parameters.values()), EpochAverage(epoch_weights('uniform', epochs))
    for step, rate in enumerate(rates.tolist()):
        optimizer.param_groups[0]['lr'] = rate
        totals.append(_step(golden, model, optimizer, step))
        average.add(parameters.items())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(average.sums[name])
            yield compared(golden, f'avg.{name}', parameter)
    yield compared(golden, 'avg.lr', rates)
    yield compared(golden, 'avg.total', torch.stack(totals))
    logits = model.eval()(golden.tensor('in.images_original'), mode='tensor')
    yield compared(golden, 'out.logits_test.averaged', logits)


def _step(golden, model, optimizer, step):
    model.dropout.step = step
    total = _total(_losses(golden, model))
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.detach()


def _views(golden):
    return [*golden.tensor('in.images'), golden.tensor('in.images_original')]


def _losses(golden, model):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels')]
    return model.train()(_views(golden), samples, mode='loss')


def _total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)
