"""Comparison with recorded numbers of the released trainer of MPS-Tuning.

The numbers are arrays in one ``.npz`` file: a small CLIP vision tower (``frozen.*``), tuned weights (``tuned.*``), two
views of a batch (``in.*``), and what the released trainer computes from them: features and logits (``out.*``,
``mid.*``), losses (``loss.*``), gradients (``grad.*``), a training trajectory (``traj.*``) and temperature schedules
(``sched.*``). Sizes, depths, layers, temperatures and weights are read from the arrays and their names.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from safetensors.torch import save_file

from ...models import MPSCLIPClassifier
from ...models.losses import sculpt_loss
from ...models.losses.schedules import CosineValue
from .golden import GoldenFile, compared, find_heads

if TYPE_CHECKING:
    from .golden import Row

SCULPT_WEIGHT = 0.1
ALPHA = 0.3
NEEDED = (
    'in.images_v1',
    'in.images_v2',
    'in.labels',
    'in.text_features',
    'in.logit_scale_log',
    'frozen.conv1.weight',
    'frozen.proj',
    'frozen.positional_embedding',
    'tuned.proj',
    'out.frozen_cls.v1',
)
INPUTS = r'(frozen|tuned|in)\..*'
UNUSED = r'loss\.\w+_unused'


class MPSFile(GoldenFile):
    """Recorded arrays of MPS-Tuning, and what their names and shapes say.

    Args:
        path (str | Path): The ``.npz`` file.
        options (dict, optional): Arguments of the classifier that promise equal numbers.
        device (torch.device | str): Where to compute.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not readable, or arrays that everything hangs on are missing.
    """

    def __init__(self, path: str | Path, options: dict[str, Any] | None = None, device: torch.device | str = 'cpu'):
        super().__init__(path, options, device)
        self.require(NEEDED)
        self.heads: int | None = None

    @property
    def depth(self) -> int:
        """int: Number of blocks."""
        return 1 + max(int(m[1]) for m in self.matches(r'frozen\.transformer\.resblocks\.(\d+)\.ln_1\.weight'))

    @property
    def group_depths(self) -> tuple[int, int, int]:
        """tuple[int, int, int]: Blocks of trunk, adapted and tuned part."""
        tuned = len(list(self.matches(r'tuned\.transformer\.resblocks\.(\d+)\.ln_1\.weight')))
        adapted = len(list(self.matches(r'tuned\.cross_adapters\.(\d+)\.weight')))
        return self.depth - adapted - tuned, adapted, tuned

    @property
    def views(self) -> list[torch.Tensor]:
        """list[Tensor]: The views of the batch, ``(B, 3, H, W)`` each."""
        return [self.tensor(name) for name in sorted(m[0] for m in self.matches(r'in\.images_v\d+'))]

    @property
    def layers(self) -> dict[str, int]:
        """dict[str, int]: Names of the intermediate layers and the blocks before the end at which they start.

        The number in a name is the block where the pseudo-forward starts; the largest is the last block.
        """
        numbers = {m[1]: int(m[2]) for m in self.matches(r'out\.cls_(layer(\d+)\w*)\.v1')}
        return {name: start for start, name in enumerate(sorted(numbers, key=lambda name: numbers[name], reverse=True), 1)}

    def sculpt_temperatures(self) -> dict[str, float]:
        """Return the temperature of every layer, the output (``'final'``) first, that the summed losses use.

        Only the summed loss's temperatures are recorded for the intermediate layers, in their names; the output has
        that of the first intermediate layer.
        """
        temperatures = {}
        for layer in self.layers:
            values = [float(m[1]) for m in self.matches(rf'loss\.supcon_{layer}\.tau([\d.e+-]+)\.rawtext')]
            if values:
                temperatures[layer] = values[0]
        first = next(iter(temperatures.values()), None)
        return {'final': first, **temperatures} if first is not None else {}


def recognises(names: Collection[str]) -> bool:
    """Whether arrays of these names are numbers of MPS-Tuning."""
    return 'frozen.conv1.weight' in names and 'tuned.proj' in names


def rows(golden: GoldenFile) -> Iterator[Row]:
    """Compare everything that was recorded; see :func:`compare`."""
    golden = MPSFile(golden.path, golden.options, golden.device)
    views = golden.views
    model = build_model(golden)
    yield from _compare_outputs(golden, model, views)
    yield from _compare_losses(golden, model, views)
    yield from _compare_gradients(golden, views)
    yield from _compare_trajectories(golden, views)
    for match in golden.matches(r'sched\.tau\.([\d.e+-]+)to([\d.e+-]+)\.E(\d+)'):
        schedule, epochs = CosineValue(float(match[1]), float(match[2])), int(match[3])
        yield compared(golden, match[0], torch.tensor([schedule.at(epoch, epochs) for epoch in range(epochs + 1)]))


def build_model(golden: MPSFile, gram_weight: float = 0.5, normalize_text: bool = False) -> MPSCLIPClassifier:
    """Build the classifier of the recorded model, through a saved open_clip folder like any other base model.

    Args:
        golden (MPSFile): The recorded arrays.
        gram_weight (float): :math:`\\lambda_1`.
        normalize_text (bool): Whether sculpting sees texts of unit norm.

    Returns:
        MPSCLIPClassifier: With the recorded tuned weights and prototypes.

    Raises:
        ValueError: If no number of heads reproduces the recorded features of the frozen tower.
    """
    heads = golden.heads or _find_heads(golden)
    return _build_classifier(golden, heads, gram_weight, normalize_text)


def _find_heads(golden):
    """Find the number of attention heads, once for all models of a file."""
    width = golden.tensor('frozen.proj').shape[0]
    images, recorded = golden.tensor('in.images_v1'), golden.tensor('out.frozen_cls.v1')

    def agrees(heads: int) -> torch.Tensor:
        """Whether the features are the recorded ones with so many heads."""
        features = _build_classifier(golden, heads, 0.5, False).backbone(images).zero_shot[:, 0]
        return (features - recorded).abs().max() < 1e-3

    golden.heads = find_heads(golden, width, 'out.frozen_cls.v1', agrees)
    return golden.heads


def _build_classifier(golden, heads, gram_weight, normalize_text):
    temperatures = list(golden.sculpt_temperatures().values())
    layer_weights = [1.0] + [0.5**index for index in range(len(temperatures) - 1)]
    with tempfile.TemporaryDirectory() as folder:
        _save_open_clip_folder(golden, heads, Path(folder))
        model = MPSCLIPClassifier(
            architecture=f'local-dir:{folder}',
            pretrained=None,
            **{**golden.options, 'backbone': dict(golden.options.get('backbone', {}), group_depths=golden.group_depths)},
            head=dict(alpha=ALPHA),
            gram_loss=dict(loss_weight=gram_weight),
            sculpt_loss=dict(
                loss_weight=SCULPT_WEIGHT,
                layer_weights=layer_weights,
                temperature=temperatures[0],
                temperature_factors=[value / temperatures[0] for value in temperatures],
                normalize_text=normalize_text,
            )
            if temperatures
            else None,
        )
    model.text_prototypes = golden.tensor('in.text_features')
    model.class_names = tuple(f'class {label}' for label in range(len(model.text_prototypes)))
    with torch.no_grad():
        for name, parameter in _tuned_parameters(golden, model).items():
            parameter.copy_(golden.tensor(f'tuned.{name}'))
    return model.to(golden.device)


def _save_open_clip_folder(golden, heads, folder):
    """Write the recorded tower as open_clip saves a model, with a text tower that nothing here uses."""
    vision = golden.tensors('frozen.')
    width, patch = vision['conv1.weight'].shape[0], vision['conv1.weight'].shape[-1]
    config = dict(
        embed_dim=vision['proj'].shape[1],
        quick_gelu=True,
        vision_cfg=dict(
            image_size=tuple(golden.views[0].shape[-2:]),
            layers=golden.depth,
            width=width,
            head_width=width // heads,
            patch_size=patch,
            mlp_ratio=vision['transformer.resblocks.0.mlp.c_fc.weight'].shape[0] / width,
        ),
        text_cfg=dict(context_length=8, vocab_size=64, width=8, heads=1, layers=1),
    )
    with torch.random.fork_rng(devices=[]):
        state = open_clip.CLIP(**config).state_dict()
    state.update({f'visual.{name}': value for name, value in vision.items()})
    state['logit_scale'] = golden.tensor('in.logit_scale_log')
    (folder / 'open_clip_config.json').write_text(json.dumps(dict(model_cfg=config, preprocess_cfg={})))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / 'open_clip_model.safetensors')


def _tuned_parameters(golden, model):
    """Return the recorded names of the trainable parameters with ours."""
    tuned = model.backbone.tuned
    first = golden.depth - golden.group_depths[2]
    parameters = {f'cross_adapters.{i}.weight': adapter.weight for i, adapter in enumerate(tuned.adapters)}
    for index, block in enumerate(tuned.blocks):
        parameters.update(
            {f'transformer.resblocks.{first + index}.{name}': parameter for name, parameter in block.named_parameters()}
        )
    parameters.update({'ln_post.weight': tuned.ln_post.weight, 'ln_post.bias': tuned.ln_post.bias, 'proj': tuned.proj})
    return parameters


@torch.no_grad()
def _compare_outputs(golden, model, views):
    starts = tuple(golden.layers.values())
    ours, branches = {}, []
    for view, images in enumerate(views, 1):
        features = model.backbone(images, patch_tokens=True, intermediate_starts=starts)
        branches.append((features.tuned[:, 0], features.zero_shot[:, 0]))
        logits = model.head(*branches[-1], model.unit_prototypes(), model.logit_scale)
        ours.update(
            {
                f'out.frozen_cls.v{view}': features.zero_shot[:, 0],
                f'out.cls.v{view}': features.tuned[:, 0],
                f'out.tokens.v{view}': features.tuned,
                f'out.frozen_tokens.v{view}': features.zero_shot,
                f'out.raw_logits.v{view}': logits.zero_shot,
                f'out.logits_ft.v{view}': logits.tuned,
            }
        )
        for layer, feature in zip(golden.layers, features.intermediate):
            ours[f'out.cls_{layer}.v{view}'] = feature
        stem = model.backbone._run_trunk(images)
        hidden = model.backbone._run_adapted(stem, model.backbone._run_first_adapted_block(stem))
        # The recorded states are the ends of the trunk and of the adapted blocks, whatever their numbers.
        ours.update({m[0]: stem for m in golden.matches(rf'mid\.frozen_block\d+\.v{view}')})
        ours.update({m[0]: hidden for m in golden.matches(rf'mid\.tuned_block\d+\.v{view}')})
    tuned, frozen = (torch.stack(branch) for branch in zip(*branches))
    ours['out.logits'] = model.head(tuned, frozen, model.unit_prototypes(), model.logit_scale).fused.mean(0)
    # Prediction computes [CLS] alone in the last blocks; this row checks that short cut too.
    ours['out.test_logits'] = model(views[0], mode='tensor')
    for name in golden.arrays:
        if name.startswith(('out.', 'mid.')):
            yield compared(golden, name, ours.get(name))


@torch.no_grad()
def _compare_losses(golden, model, views):
    ours = {}
    features = model._training_features(views, len(views[0]))
    for name, normalize_text in (('rawtext', False), ('normtext', True)):
        for match in golden.matches(rf'loss\.total\.{name}\.con([\d.e+-]+)'):
            losses = _losses(golden, build_model(golden, float(match[1]), normalize_text), views)
            ours[match[0]] = _total(losses)
            ours['loss.ce'] = losses['loss_ce']
            ours['loss.mar_global'] = losses['loss_gram_global'] / float(match[1])
            ours['loss.mar_local'] = losses['loss_gram_local'] / float(match[1])
            sculpt = [value for key, value in losses.items() if key.startswith('loss_sculpt')]
            ours[f'loss.supcon_sum.{name}'] = sum(sculpt) / SCULPT_WEIGHT
    labels, text = golden.tensor('in.labels').long(), golden.tensor('in.text_features')
    texts = dict(rawtext=text, normtext=F.normalize(text, dim=-1), notext=None)
    layers = {'final': features.tuned[:, :, 0], **dict(zip(golden.layers, features.intermediate))}
    for match in golden.matches(r'loss\.supcon_(\w+)\.tau([\d.e+-]+)\.(rawtext|normtext)'):
        if match[1] in layers:
            ours[match[0]] = sculpt_loss(layers[match[1]], labels, texts[match[3]], float(match[2]))
    for match in golden.matches(r'loss\.supcon_edge\.(one|two)view_(rawtext|normtext|notext)\.tau([\d.e+-]+)'):
        views_used = layers['final'][:1] if match[1] == 'one' else layers['final']
        ours[match[0]] = sculpt_loss(views_used, labels, texts[match[2]], float(match[3]))
    for name in golden.arrays:
        if name.startswith('loss.') and not name.endswith('_unused'):
            yield compared(golden, name, ours.get(name))


def _compare_gradients(golden, views):
    for (text, weight), names in _grouped(golden, r'grad\.total\.(rawtext|normtext)\.con([\d.e+-]+)\.(\D.*)'):
        model = build_model(golden, float(weight), text == 'normtext')
        _total(_losses(golden, model, views)).backward()
        parameters = _tuned_parameters(golden, model)
        for match in names:
            gradient = parameters[match[3]].grad if match[3] in parameters else None
            yield compared(golden, match[0], gradient)


def _compare_trajectories(golden, views):
    pattern = r'traj\.total\.sgd_lr([\d.e+-]+)_m([\d.e+-]+)_wd([\d.e+-]+)\.(rawtext|normtext)\.con([\d.e+-]+)'
    for match in golden.matches(pattern):
        model = build_model(golden, float(match[5]), match[4] == 'normtext')
        optimizer = torch.optim.SGD(
            _tuned_parameters(golden, model).values(), lr=float(match[1]), momentum=float(match[2]), weight_decay=float(match[3])
        )
        totals = []
        for _ in range(len(golden.arrays[match[0]])):
            optimizer.zero_grad()
            total = _total(_losses(golden, model, views))
            total.backward()
            optimizer.step()
            totals.append(total.detach())
        yield compared(golden, match[0], torch.stack(totals))


def _losses(golden, model, views):
    samples = [DataSample().set_gt_label(label) for label in golden.tensor('in.labels').long()]
    return model(views, samples, mode='loss')


def _total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


def _grouped(golden, pattern):
    groups = {}
    for match in golden.matches(pattern):
        groups.setdefault((match[1], match[2]), []).append(match)
    return groups.items()
