"""Comparison with recorded numbers of the released code of CLIP-LoRA.

A file holds a small CLIP (``clip.*``), a batch and masks of the dropout (``in.*``), the updates (``param.*``), and
what the code computes from them with the masks and without: features, losses, gradients, weights with the updates
merged, and trajectories of its optimizer, which is that of the method's base file.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, cast

import torch
from mmpretrain.registry import PARAM_SCHEDULERS
from mmpretrain.structures import DataSample

from ...models import CLIPLoRAClassifier
from ...utils.methods import read_method
from .golden import clip_folder, compared, find_heads
from .recipes import recipe_optimizer

if TYPE_CHECKING:
    from torch import nn

    from ...models.low_rank import LowRankAttention
    from .golden import GoldenFile, Row

# The rates of the trajectory that is no recipe are given.
INPUTS = r'(clip|in|param)\..*|traj_large\.lr'
NEEDED = ('in.images', 'in.labels', 'in.token_ids', 'in.lora', 'out.zero_shot_text', 'out.image_features_test')
METHOD = 'clip_lora'
PARAMETER = re.compile(r'(visual\.)?transformer\.resblocks\.(\d+)\.attn\.([qkvo])_proj\.w_lora_([AB])')
DROPOUT = 0.25
# Rates are exact, but for the rounding of float32.
RATE_TOLERANCE = 1e-10


def recognises(names: Collection[str]) -> bool:
    """Whether array names are those of a file of this method."""
    return 'in.lora' in names and 'out.zero_shot_text' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Yield a row for every result in the file."""
    golden.require(NEEDED)
    with tempfile.TemporaryDirectory() as folder:
        build = _Builder(golden, folder)
        for suffix, dropout in (('', DROPOUT), ('.nodropout', 0.0)):
            yield from _compare_training(golden, build(dropout), suffix)
            yield from _compare_states(golden, build(dropout), suffix)
        yield from _compare_test(golden, build(DROPOUT))
        yield from _compare_vision_only(golden, build(DROPOUT, towers=('vision',)))
        for match in golden.matches(r'(traj(_nodropout|_large)?)\.total'):
            yield from _compare_trajectory(golden, build(0.0 if match[2] == '_nodropout' else DROPOUT), match[1])


class _Builder:
    """Builds the classifier with the recorded updates and masks.

    The numbers of attention heads leave no trace in the shapes of weights; recorded features tell them.
    """

    def __init__(self, golden: GoldenFile, folder: str):
        self.golden, self.folder = golden, folder
        self.heads: tuple[int, ...] = (1, 1)
        self._find_heads(1, 'clip.positional_embedding', 'out.zero_shot_text', lambda model: model.unit_prototypes())
        self._find_heads(
            0,
            'clip.visual.positional_embedding',
            'out.image_features_test',
            lambda model: model.eval().extract_feat(golden.tensor('in.images'))[0],
        )

    def __call__(self, dropout, towers=('text', 'vision')):
        golden = self.golden
        rank, alpha = golden.arrays['in.lora'].tolist()
        architecture = clip_folder(golden, self.folder, self.heads)
        model = CLIPLoRAClassifier(
            architecture, None, rank=rank, alpha=alpha, dropout=dropout, towers=towers, cache_prototypes=False, **golden.options
        ).to(golden.device)
        token_ids = golden.tensor('in.token_ids').int()
        with torch.no_grad(), model.frozen_towers():
            clip = model._clip_of_texts().model
            texts = dict(text_prototypes=clip.encode_text(token_ids.long()), token_ids=token_ids)
        model.take_classes(texts, [f'class {label}' for label in range(len(token_ids))])
        with torch.no_grad():
            for name, parameter in parameters_of(golden, model).items():
                parameter.copy_(golden.tensor(f'param.{name}'))
        if dropout:
            _give_masks(golden, model, None)
        return model

    def _find_heads(self, tower, positions, name, features):
        """Find the number of heads of one tower, 0 vision and 1 text."""

        def agrees(count: int) -> torch.Tensor:
            """Whether the tower gives the recorded features with so many heads."""
            self.heads = (*self.heads[:tower], count, *self.heads[tower + 1 :])
            return (features(self(0.0)) - self.golden.tensor(name)).abs().max() < 1e-4

        find_heads(self.golden, self.golden.arrays[positions].shape[-1], name, agrees)


def parameters_of(golden: GoldenFile, model: CLIPLoRAClassifier) -> dict[str, nn.Parameter]:
    """dict[str, Parameter]: The trained tensors by their recorded names."""
    found = {}
    for name in golden.tensors('param.'):
        visual, block, part, matrix = cast(re.Match, PARAMETER.fullmatch(name)).groups()
        updates = model.vision_updates if visual else model.text_updates
        if updates is not None:
            found[name] = getattr(updates.blocks[block], matrix)[part]
    return found


def _give_masks(golden, model, text_length):
    """Put the recorded masks in the place of random ones.

    Args:
        text_length (int | None): Tokens of each text that are run; None for all up to its end token.
    """
    ends = golden.tensor('in.token_ids').argmax(1).tolist()
    lengths = [end + 1 if text_length is None else text_length for end in ends]
    for prefix, updates in (('visual.', model.vision_updates), ('', model.text_updates)):
        for index, update in ({} if updates is None else updates.blocks).items():
            masks = {
                part: golden.tensor(f'in.dropout_keep.{prefix}transformer.resblocks.{index}.attn.{part}_proj')
                for part in update.parts
            }
            if not prefix:  # the text tower lays the tokens of all classes in one row
                masks = {part: torch.cat([row[:length] for row, length in zip(mask, lengths)]) for part, mask in masks.items()}
            update.drop = _Mask(masks, update)


class _Mask:
    """Takes the place of the dropout of an update."""

    def __init__(self, masks: torch.Tensor, update: LowRankAttention):
        self.masks, self.update = masks, update

    def __call__(self, part, inputs):
        if not self.update.training:
            return inputs
        mask = self.masks[part]
        # In the last block of the vision tower, [CLS] alone asks.
        mask = mask[:, 0] if mask.ndim > inputs.ndim else mask
        return inputs * mask / (1 - DROPOUT)


def _compare_training(golden, model, suffix):
    """Compare a training step: features, logits, loss and all gradients."""
    model.train()
    pictures, texts = model.extract_feat(golden.tensor('in.images'))[0], model.class_features()
    total = _loss(golden, model)
    total.backward()
    ours = {
        'out.image_features_train': pictures,
        'out.text_features_train': texts,
        'out.logits_train': model.cosine_logits(pictures, texts),
        'loss.total': total,
    }
    for name, value in ours.items():
        yield compared(golden, name + suffix, value)
    for name, parameter in parameters_of(golden, model).items():
        yield compared(golden, f'grad{suffix}.{name}', parameter.grad)


@torch.no_grad()
def _compare_states(golden, model, suffix):
    """Compare outputs of the first and the last block; of texts also behind the end tokens, which are left out else."""
    model.train()
    token_ids = golden.tensor('in.token_ids')
    length = token_ids.shape[1]
    if not suffix:
        _give_masks(golden, model, length)
    tower = model.text_tower
    _, *vision = model.backbone.block_outputs(golden.tensor('in.images'))
    text = list(tower.block_outputs(tower.embed(token_ids), [length - 1] * len(token_ids), 0))
    for kind, states in (('vision', vision), ('text', text)):
        for place, state in (('block0', states[0]), ('last', states[-1])):
            name = f'mid.{kind}_{place}{suffix}'
            yield compared(golden, name, state[: len(golden.arrays[name])])


@torch.no_grad()
def _compare_test(golden, model):
    """Compare testing with the updates merged into the weights, as released, and the merged weights."""
    yield compared(golden, 'out.zero_shot_text', model.unit_prototypes())
    model.eval().merge()
    pictures, texts = model.extract_feat(golden.tensor('in.images'))[0], model.class_features()
    ours = {'out.image_features_test': pictures, 'out.text_features_test': texts, 'out.cosine_test': pictures @ texts.mT}
    for name, value in ours.items():
        yield compared(golden, name, value)
    for match in golden.matches(r'merged\.(visual\.)?transformer\.resblocks\.(\d+)\.attn\.([qkv])_proj\.weight'):
        blocks = model.backbone.all_blocks() if match[1] else model.text_tower.blocks
        weights = blocks[int(match[2])].attn.in_proj_weight.chunk(3)
        yield compared(golden, match[0], weights['qkv'.index(match[3])])


def _compare_vision_only(golden, model):
    model.train()
    (pictures,) = model.extract_feat(golden.tensor('in.images'))
    yield compared(golden, 'vision_only.logits_train', model.cosine_logits(pictures, model.class_features()))
    total = _loss(golden, model)
    total.backward()
    yield compared(golden, 'vision_only.loss.total', total)
    parameters = parameters_of(golden, model)
    for match in golden.matches(r'vision_only\.grad\.(.*)'):
        yield compared(golden, match[0], parameters[match[1]].grad if match[1] in parameters else None)


def _compare_trajectory(golden, model, name):
    parameters, steps = parameters_of(golden, model), len(golden.arrays[f'{name}.total'])
    if name == 'traj_large':
        rate = golden.arrays[f'{name}.lr'][0].item()
        optimizer = recipe_optimizer(METHOD, parameters.values(), lr=rate, weight_decay=0.1)
        schedulers = []
    else:
        optimizer = recipe_optimizer(METHOD, parameters.values())
        schedulers = [
            PARAM_SCHEDULERS.build({**section, 'T_max': steps, 'end': steps, 'optimizer': optimizer})
            for section in read_method(METHOD).param_scheduler
        ]
    totals, rates = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]['lr'])
        total = _loss(golden, model.train())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.detach())
        for scheduler in schedulers:
            scheduler.step()
    yield compared(golden, f'{name}.total', torch.stack(totals))
    if schedulers:
        yield compared(golden, f'{name}.lr', torch.tensor(rates), RATE_TOLERANCE)
    for match in golden.matches(rf'{name}\.after{steps}\.(.*)'):
        yield compared(golden, match[0], parameters.get(match[1]))
    with torch.no_grad():
        cosines = model.eval()(golden.tensor('in.images'), mode='tensor') / 100
        yield compared(golden, f'{name}.cosine_test_after{steps}', cosines)


def _loss(golden, model):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels')]
    return model([golden.tensor('in.images')], samples, mode='loss')['loss_ce']
