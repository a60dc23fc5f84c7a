"""CLIP's vision transformer with frozen weights, which prompt vectors and low-rank updates may steer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch.utils.checkpoint import checkpoint

from .plain_vit import check_plain_vit, embed_patches, project
from .value_path import cls_attention_row, run_block

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer


class VisionFeatures(NamedTuple):
    """Features of ``N`` pictures, not of unit norm; ``L = 1 + M + V`` tokens, ``D`` embedding dimensions."""

    cls: torch.Tensor
    """[CLS] after the last norm and the projection, ``(N, D)``, float32."""
    tokens: torch.Tensor | None = None
    """The same of all tokens, ``(N, L, D)``: [CLS], ``M`` patches, ``V`` prompts. None if not asked for."""
    attention: torch.Tensor | None = None
    """Attention of [CLS] to all tokens in the last block, mean over heads, ``(N, L)``. None if not asked for."""


@MODELS.register_module()
class PromptableViT(BaseModule):
    """A frozen vision transformer of CLIP. Without prompts it gives CLIP's own features.

    Prompts are vectors that take the place of tokens. Those of block 0 are put behind the patches, without a position,
    before ``ln_pre``; those of a later block overwrite them at the input of that block; after the last block that has
    some, they flow on. `Visual Prompt Tuning <https://arxiv.org/abs/2203.12119>`_ (deep), as
    `PromptSRC <https://arxiv.org/abs/2307.06948>`_ uses it. What a block makes of tokens that are then overwritten is
    lost, but for its effect on the others.

    Low-rank updates of the attention (:class:`LowRankUpdates`) work by themselves once they are attached.

    Where neither prompts nor updates are trained, no gradient is recorded.

    Args:
        visual (VisionTransformer): The vision tower of open_clip.
        checkpointing (bool): In training, keep only the inputs of the blocks, and run them again on the way back: less
            memory for about a third more time, the same gradients.

    Attributes:
        zero_shot (VisionTransformer): The frozen tower.

    Raises:
        ValueError: If the tower is not a plain ViT with class-token pooling.
    """

    def __init__(self, visual: VisionTransformer, checkpointing: bool = False, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        check_plain_vit(visual)
        self.checkpointing = checkpointing
        self.zero_shot = visual.requires_grad_(False)
        self.train(self.training)

    @property
    def out_indices(self) -> tuple:
        """tuple[int]: Number of the block whose output becomes features, the last; mmpretrain's tools name files by it."""
        return (len(self.zero_shot.transformer.resblocks) - 1,)

    @property
    def embed_dims(self) -> int:
        """int: Dimension of the joint image and text space."""
        return self.zero_shot.proj.shape[1]

    @property
    def width(self) -> int:
        """int: Dimension of tokens and prompts."""
        return self.zero_shot.class_embedding.shape[0]

    def all_blocks(self) -> list:
        """list[nn.Module]: The transformer blocks, first to last."""
        return list(self.zero_shot.transformer.resblocks)

    def train(self, mode: bool = True) -> PromptableViT:
        """Stay in evaluation mode."""
        super().train(mode)
        self.zero_shot.eval()
        return self

    def forward(
        self,
        images: torch.Tensor,
        prompts: Sequence[torch.Tensor] = (),
        hidden_from_patches: int = 0,
        tokens: bool = False,
        attention: bool = False,
    ) -> VisionFeatures:
        """Extract the features that the caller needs, and compute nothing else.

        Args:
            images (Tensor): Normalised pictures, ``(N, 3, H, W)``.
            prompts (Sequence[Tensor]): For each of the first blocks, ``(V, W)``.
            hidden_from_patches (int): Patches do not attend to so many of the prompts, the first ones, in any block;
                [CLS] and prompts attend to everything.
            tokens (bool): Return the features of all tokens.
            attention (bool): Return the attention of [CLS] in the last block.

        Returns:
            VisionFeatures: Not of unit norm.

        Raises:
            ValueError: If the prompts do not fit the tower, or fewer of them are given than shall be hidden.
        """
        prompts = tuple(prompts)
        self._check(prompts, hidden_from_patches)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._is_trained(prompts)):
            return self._extract(images, prompts, hidden_from_patches, tokens, attention)

    def block_outputs(
        self, images: torch.Tensor, prompts: Sequence[torch.Tensor] = (), hidden_from_patches: int = 0
    ) -> Iterator[torch.Tensor]:
        """Run the same as :meth:`forward` and return the states between, to look at them.

        Args:
            images (Tensor): As in :meth:`forward`, like the others.

        Yields:
            Tensor: Input of the first block, then the output of each, ``(N, L, W)``.
        """
        prompts = tuple(prompts)
        self._check(prompts, hidden_from_patches)
        states, mask = self._start(images, prompts, hidden_from_patches)
        yield states
        for index, block in enumerate(self.all_blocks()):
            states = run_block(block, _with_prompts(states, index, prompts), mask=mask)
            yield states

    def _start(self, images, prompts, hidden):
        states = embed_patches(self.zero_shot, images, prompts[0] if prompts else None)
        return states, self._mask(states.shape[1], len(prompts[0]), hidden) if hidden else None

    def _extract(self, images, prompts, hidden_from_patches, tokens, attention):
        visual, blocks = self.zero_shot, self.all_blocks()
        states, mask = self._start(images, prompts, hidden_from_patches)
        row = None
        for index, block in enumerate(blocks):
            states = _with_prompts(states, index, prompts)
            is_last = index == len(blocks) - 1
            if is_last and attention:
                row = cls_attention_row(block, states)
            states = self._run(block, states, is_last and not tokens, mask)
        features = project(states, visual.ln_post, visual.proj)
        return VisionFeatures(features[:, 0], features if tokens else None, row)

    def _run(self, *arguments):
        if self.checkpointing and torch.is_grad_enabled():
            # With the random state: updates may drop inputs at random.
            return checkpoint(run_block, *arguments, use_reentrant=False)
        return run_block(*arguments)

    def _mask(self, length, num_prompts, hidden):
        first = length - num_prompts
        mask = torch.ones(length, length, dtype=torch.bool, device=self.zero_shot.proj.device)
        mask[1:first, first : first + hidden] = False
        return mask

    def _is_trained(self, prompts):
        updates = (getattr(block.attn, 'low_rank', None) for block in self.all_blocks())
        parameters = (p for update in updates if update is not None for p in update.parameters())
        return any(tensor.requires_grad for tensor in (*prompts, *parameters))

    def _check(self, prompts, hidden_from_patches):
        shapes = [tuple(vectors.shape) for vectors in prompts]
        depth = len(self.zero_shot.transformer.resblocks)
        if len(shapes) > depth:
            raise ValueError(f'the vision tower has {depth} blocks, but prompts for {len(shapes)} were given')
        if len(set(shapes)) > 1 or any(len(shape) != 2 or shape[1] != self.width for shape in shapes):
            raise ValueError(
                f'prompts must all have one shape (number, {self.width}), the width of the vision tower, but got {shapes}'
            )
        available = shapes[0][0] if shapes else 0
        if not 0 <= hidden_from_patches <= available:
            raise ValueError(f'hidden_from_patches={hidden_from_patches} was asked for, but there are {available} prompt vectors')


def _with_prompts(states, index, prompts):
    """Overwrite the last tokens by the prompts of a block, if it has some of its own."""
    if not 0 < index < len(prompts):
        return states
    vectors = prompts[index].to(states.dtype).expand(states.shape[0], -1, -1)
    return torch.cat([states[:, : states.shape[1] - vectors.shape[1]], vectors], 1)
