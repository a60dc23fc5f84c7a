"""CLIP's vision transformer with a frozen and a tuned branch on a shared trunk."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.checkpoint import checkpoint

from .layer_groups import check_partition, set_trainable, split_depth
from .linear import linear
from .plain_vit import check_plain_vit, embed, embed_patches
from .value_path import pseudo_forward, run_block, run_blocks

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer

# What lies before the blocks of a tower of open_clip.
STEM_PARAMETERS = ('class_embedding', 'positional_embedding')
STEM_MODULES = ('conv1', 'ln_pre')


class FrozenFeatures(NamedTuple):
    """What the frozen part of the network makes of pictures and no update changes; without gradient.

    ``N`` pictures, ``L`` tokens ([CLS] first), ``W`` the width of a block, ``D`` embedding dimensions.
    """

    stem: torch.Tensor | None
    """Output of the trunk ``(N, L, W)``, which the first adapter reads; None without adapters."""
    shared: torch.Tensor | None
    """Where the branches part ``(N, L, W)``: output of the first adapted block, or of all shared ones; None where nothing is
    shared."""
    zero_shot: torch.Tensor | None
    """Unit-norm ``(N, L, D)`` of the frozen branch, float32; ``L`` is 1 for [CLS] alone. None if not asked for."""
    zero_shot_intermediate: tuple | None = None
    """[CLS] of its intermediate layers through the pseudo-forward, each ``(N, D)``."""


class BranchFeatures(NamedTuple):
    """Unit-norm features of a batch, float32.

    ``N`` pictures, ``L`` tokens ([CLS] first; ``L`` is 1 where only [CLS] was asked for), ``D`` embedding dimensions.
    """

    tuned: torch.Tensor
    """``(N, L, D)`` of the tuned branch."""
    zero_shot: torch.Tensor | None
    """``(N, L, D)`` of the frozen branch, without gradient; None if it was not asked for."""
    intermediate: tuple
    """[CLS] of tuned intermediate layers through the pseudo-forward, each ``(N, D)``, in the order asked for."""
    zero_shot_intermediate: tuple = ()
    """The same of the frozen branch through frozen weights; empty unless asked for."""


@MODELS.register_module()
class DualBranchViT(BaseModule):
    """A vision transformer of CLIP whose zero-shot and tuned branches share their first blocks.

    `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3. Blocks are counted from 0. With
    ``group_depths=(T, A, S)``:

    - blocks ``0 .. T-1`` form the trunk: frozen, run once for both branches, without gradients;
    - blocks ``T .. T+A-1`` are frozen; in the tuned branch each has a parallel adapter, a bias-free linear map of the
      block's input that starts at zero: ``x <- block(x) + adapter(x)``;
    - the last ``S`` blocks, ``ln_post`` and ``proj`` exist twice: frozen, and as trainable copies.

    Both branches are equal until the first update. Block ``T`` sees the same input in both, so it is run once.

    ``group_depths=(0, 0, depth)`` tunes all blocks; with ``tune_stem`` also what lies before them, so that nothing of
    the tuned branch is frozen: full fine-tuning.

    Args:
        visual (VisionTransformer): The vision tower of open_clip; weights must be loaded, since blocks are copied.
        group_depths (Sequence[int], optional): ``(T, A, S)``. Defaults to thirds of the depth.
        adapters (bool): Whether the ``A`` blocks have adapters. Without, they are shared like the trunk.
        tune_stem (bool): Give the tuned branch trainable copies of the patch convolution, the class and positional
            embeddings and ``ln_pre``, too. Only where all blocks are tuned: no frozen block must follow.
        checkpointing (bool): Keep only the inputs of the blocks that a gradient crosses, and run them again on the way
            back: less memory for about a third more time, the same gradients.

    Raises:
        ValueError: If the tower is not a plain ViT with class-token pooling, the depths do not fit it, or they do not
            go with ``tune_stem``.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        group_depths: Sequence[int] | None = None,
        adapters: bool = True,
        checkpointing: bool = False,
        tune_stem: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        check_plain_vit(visual)
        blocks = visual.transformer.resblocks
        self.group_depths = split_depth(len(blocks), group_depths)
        trunk_depth, adapted_depth, tuned_depth = self.group_depths
        if tune_stem and trunk_depth + adapted_depth:
            raise ValueError(f'tune_stem needs group_depths=(0, 0, {len(blocks)}), all blocks tuned, but got {self.group_depths}')
        self.checkpointing, self.tune_stem = checkpointing, tune_stem
        self.zero_shot = visual
        self.tuned = _TunedPart(visual, adapted_depth if adapters else 0, tuned_depth, tune_stem)
        if not adapters:
            trunk_depth, adapted_depth = trunk_depth + adapted_depth, 0
        self._trunk_depth, self._adapted_depth = trunk_depth, adapted_depth
        check_partition(self.named_parameters(), self.parameter_groups())
        set_trainable(self.parameter_groups(), ('adapters', 'tuned'))
        self.train(self.training)

    @property
    def out_indices(self) -> tuple[int]:
        """tuple[int]: Number of the block whose output becomes features, the last; mmpretrain's tools name files by it."""
        return (len(self.zero_shot.transformer.resblocks) - 1,)

    @property
    def embed_dims(self) -> int:
        """int: Dimension of the joint image and text space."""
        return self.zero_shot.proj.shape[1]

    @property
    def num_tuned_blocks(self) -> int:
        """int: Number of trainable blocks, the deepest start that the pseudo-forward can have."""
        return len(self.tuned.blocks)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Partition the parameters.

        Returns:
            dict[str, list[Parameter]]: ``trunk`` (the stem included) and ``zero_shot`` are frozen, ``adapters`` and
            ``tuned`` are trained.
        """
        visual, tuned = self.zero_shot, self.tuned
        blocks = visual.transformer.resblocks
        split = self._trunk_depth
        return dict(
            trunk=[
                *(getattr(visual, name) for name in STEM_PARAMETERS),
                *(p for name in STEM_MODULES for p in getattr(visual, name).parameters()),
                *blocks[:split].parameters(),
            ],
            zero_shot=[*blocks[split:].parameters(), *visual.ln_post.parameters(), visual.proj],
            adapters=list(tuned.adapters.parameters()),
            tuned=[
                *([] if tuned.stem is None else tuned.stem.parameters()),
                *tuned.blocks.parameters(),
                *tuned.ln_post.parameters(),
                tuned.proj,
            ],
        )

    def tuned_tower(self) -> dict[str, torch.Tensor]:
        """Return the state of a plain tower of open_clip that computes what the tuned branch does.

        Returns:
            dict[str, Tensor]: By the names of ``VisionTransformer``; the tensors are those of the branches.

        Raises:
            ValueError: If adapters run beside blocks, for which a plain tower has no place.
        """
        if self._adapted_depth:
            first, last = self._trunk_depth, self._trunk_depth + self._adapted_depth - 1
            raise ValueError(
                f'its adapters run beside the blocks {first} to {last} of the vision tower. Tuned with '
                f'model.backbone.group_depths={(last + 1, 0, self.num_tuned_blocks)} it has none'
            )
        tuned = {self._name_in_tower(name): parameter.detach() for name, parameter in self.tuned.named_parameters()}
        return {**self.zero_shot.state_dict(), **tuned}

    def _name_in_tower(self, name):
        """Return the name that a tuned parameter, no adapter's, has in a tower of open_clip."""
        part, _, rest = name.partition('.')
        if part == 'blocks':
            index, _, rest = rest.partition('.')
            first = len(self.zero_shot.transformer.resblocks) - self.num_tuned_blocks
            return f'transformer.resblocks.{first + int(index)}.{rest}'
        return rest if part == 'stem' else name

    def frozen_counterparts(self) -> dict[str, tuple[nn.Parameter, torch.Tensor]]:
        """Pair the tuned part with what it was copied from.

        Returns:
            dict[str, tuple[Parameter, Tensor]]: For each trainable parameter, by its name in this module: itself, and
            the value with which the tuned branch equals the zero-shot branch; zero for adapters.
        """
        sources, pairs = dict(self.zero_shot.named_parameters()), {}
        for name, parameter in self.tuned.named_parameters():
            is_adapter = name.startswith('adapters.')
            frozen = torch.zeros_like(parameter) if is_adapter else sources[self._name_in_tower(name)].detach()
            pairs[f'tuned.{name}'] = parameter, frozen
        return pairs

    @contextlib.contextmanager
    def interpolated(self, share: float) -> Iterator[dict[str, torch.Tensor]]:
        r"""Put the tuned weights between the frozen and the tuned ones for a while.

        .. math:: w = (1 - s)\, w_{frozen} + s\, w_{tuned}

        `Robust fine-tuning of zero-shot models <https://arxiv.org/abs/2109.01903>`_ (WiSE-FT). The tuned weights come
        back at the end to the last bit, also after an error.

        Args:
            share (float): :math:`s`, 0 to 1; the ends give exactly the frozen and exactly the tuned weights.

        Yields:
            dict[str, Tensor]: The tuned weights, by their names in this module.
        """
        pairs = self.frozen_counterparts()
        own = {name: parameter.detach().clone() for name, (parameter, _) in pairs.items()}
        try:
            with torch.no_grad():
                for name, (parameter, frozen) in pairs.items():
                    parameter.copy_(torch.lerp(frozen, own[name], share))
            yield own
        finally:
            with torch.no_grad():
                for name, (parameter, _) in pairs.items():
                    parameter.copy_(own[name])

    def all_blocks(self) -> list[nn.Module]:
        """list[nn.Module]: The transformer blocks of both branches, frozen ones first."""
        return [*self.zero_shot.transformer.resblocks, *self.tuned.blocks]

    def train(self, mode: bool = True) -> DualBranchViT:
        """Set the mode of the tuned part; the frozen part always stays in evaluation mode."""
        super().train(mode)
        self.zero_shot.eval()
        return self

    def forward(
        self,
        images: torch.Tensor | FrozenFeatures,
        patch_tokens: bool = False,
        zero_shot: bool = True,
        intermediate_starts: Sequence[int] = (),
        zero_shot_starts: Sequence[int] = (),
    ) -> BranchFeatures:
        """Extract the features that the caller needs, and compute nothing else.

        Args:
            images (Tensor | FrozenFeatures): Normalised pictures, ``(N, 3, H, W)``, or what :meth:`frozen_features`
                made of them with the same ``patch_tokens`` and ``zero_shot``; the tuned part alone is run then.
            patch_tokens (bool): Return all tokens instead of [CLS] alone.
            zero_shot (bool): Return the frozen branch too.
            intermediate_starts (Sequence[int]): For each intermediate feature, how many blocks before the end its
                pseudo-forward starts: 1 is the input of the last block, i.e. the second-to-last layer's output.
            zero_shot_starts (Sequence[int]): The same of the frozen branch; needs ``zero_shot``.

        Returns:
            BranchFeatures: Unit-norm features.

        Raises:
            ValueError: If a start lies before the first tuned block.
        """
        depth = self.num_tuned_blocks
        for starts in (intermediate_starts, zero_shot_starts):
            if any(not 1 <= start <= depth for start in starts):
                raise ValueError(
                    f'a pseudo-forward can start 1 to {depth} blocks before the end (the tuned blocks), but got {tuple(starts)}'
                )
        cls_only = not patch_tokens
        if isinstance(images, FrozenFeatures):
            if self.tune_stem:
                raise ValueError('with tune_stem nothing of the tuned branch is frozen: there are no features to give to it')
            frozen = images
        elif zero_shot or not self.tune_stem:
            frozen = self.frozen_features(images, patch_tokens, zero_shot, zero_shot_starts)
        else:
            frozen = FrozenFeatures(None, None, None)
        if self.tune_stem:
            hidden = embed_patches(self.tuned.stem, images)
        else:
            hidden = self._run_adapted(frozen.stem, frozen.shared)
        tuned, inputs = self._run_tuned(hidden, cls_only, {depth - start for start in intermediate_starts})
        chains = pseudo_forward(self.tuned.blocks, inputs)
        return BranchFeatures(
            tuned=embed(tuned, self.tuned.ln_post, self.tuned.proj),
            zero_shot=frozen.zero_shot,
            intermediate=tuple(
                embed(chains[depth - start], self.tuned.ln_post, self.tuned.proj) for start in intermediate_starts
            ),
            zero_shot_intermediate=frozen.zero_shot_intermediate or (),
        )

    @torch.no_grad()
    def frozen_features(
        self, images: torch.Tensor, patch_tokens: bool = False, zero_shot: bool = True, zero_shot_starts: Sequence[int] = ()
    ) -> FrozenFeatures:
        """Run what both branches share, and the frozen branch.

        Args:
            images (Tensor): Normalised pictures, ``(N, 3, H, W)``.
            patch_tokens (bool): Features of all tokens of the frozen branch instead of [CLS] alone.
            zero_shot (bool): Run the frozen branch beyond what is shared.
            zero_shot_starts (Sequence[int]): As in :meth:`forward`.

        Returns:
            FrozenFeatures: For :meth:`forward`, now or later.
        """
        stem = self._run_trunk(images)
        shared = self._run_first_adapted_block(stem)
        frozen, layers = self._run_zero_shot(shared, not patch_tokens, zero_shot_starts) if zero_shot else (None, None)
        return FrozenFeatures(stem if self._adapted_depth else None, shared, frozen, layers or None)

    def _run_trunk(self, images):
        tokens = embed_patches(self.zero_shot, images)
        for block in self.zero_shot.transformer.resblocks[: self._trunk_depth]:
            tokens = run_block(block, tokens)
        return tokens

    def _run_first_adapted_block(self, stem):
        """Run the first adapted block on the trunk's output, for both branches; without adapters there is none."""
        if not self._adapted_depth:
            return stem
        return run_block(self.zero_shot.transformer.resblocks[self._trunk_depth], stem)

    def _run_zero_shot(self, shared, cls_only, starts=()):
        """Return the features of the frozen branch, and those of its intermediate layers."""
        visual = self.zero_shot
        blocks = visual.transformer.resblocks[self._trunk_depth + (1 if self._adapted_depth else 0) :]
        depth = len(blocks)
        tokens, inputs = run_blocks(blocks, shared, cls_only, {depth - start for start in starts})
        chains = pseudo_forward(blocks, inputs)
        return embed(tokens, visual.ln_post, visual.proj), tuple(
            embed(chains[depth - start], visual.ln_post, visual.proj) for start in starts
        )

    def _run_adapted(self, stem, shared):
        if not self._adapted_depth:
            return shared
        first = self._trunk_depth
        adapters = self.tuned.adapters
        tokens = shared + linear(stem, adapters[0].weight)
        for offset in range(1, self._adapted_depth):
            block = self.zero_shot.transformer.resblocks[first + offset]
            tokens = self._run_with_gradient(block, tokens) + linear(tokens, adapters[offset].weight)
        return tokens

    def _run_tuned(self, tokens, cls_only, positions):
        """Run the tuned blocks; also return [CLS] at the input of the blocks at ``positions``."""
        inputs = {}
        last = len(self.tuned.blocks) - 1
        for position, block in enumerate(self.tuned.blocks):
            if position in positions:
                inputs[position] = tokens[:, 0]
            tokens = self._run_with_gradient(block, tokens, cls_only and position == last)
        return tokens, inputs

    def _run_with_gradient(self, block, tokens, cls_only=False):
        if self.checkpointing and torch.is_grad_enabled():
            # Nothing in a block is random, so that there is no random state to restore.
            return checkpoint(run_block, block, tokens, cls_only, use_reentrant=False, preserve_rng_state=False)
        return run_block(block, tokens, cls_only)


class _TunedPart(nn.Module):
    """The trainable parameters: zero-initialised adapters, copies of last blocks, output layers, maybe of the stem."""

    def __init__(self, visual: VisionTransformer, adapted_depth: int, tuned_depth: int, tune_stem: bool):
        super().__init__()
        blocks = visual.transformer.resblocks
        width = visual.ln_post.normalized_shape[0]
        self.adapters = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(adapted_depth))
        for adapter in self.adapters:
            nn.init.zeros_(adapter.weight)
        self.stem = _TunedStem(visual) if tune_stem else None
        self.blocks = copy.deepcopy(blocks[len(blocks) - tuned_depth :])
        self.ln_post = copy.deepcopy(visual.ln_post)
        self.proj = nn.Parameter(visual.proj.detach().clone())


class _TunedStem(nn.Module):
    """Trainable copies of what lies before the blocks, under the names that they have in open_clip's tower."""

    def __init__(self, visual: VisionTransformer):
        super().__init__()
        for name in STEM_PARAMETERS:
            setattr(self, name, nn.Parameter(getattr(visual, name).detach().clone()))
        for name in STEM_MODULES:
            setattr(self, name, copy.deepcopy(getattr(visual, name)))
