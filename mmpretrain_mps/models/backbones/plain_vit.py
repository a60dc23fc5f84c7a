"""What lies before and behind the blocks of a vision transformer of CLIP, and which ones these are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

from .layer_norm import normalize
from .linear import linear

SUPPORTED_TOWERS = (
    'supported are plain vision transformers of open_clip with class-token pooling, such as ViT-B-32, ViT-B-16 and ViT-L-14'
)

if TYPE_CHECKING:
    from torch import nn


def embed_patches(stem: nn.Module, images: torch.Tensor, prompts: torch.Tensor | None = None) -> torch.Tensor:
    """Turn pictures into the input of the first block.

    Args:
        stem (nn.Module): With ``conv1``, ``class_embedding``, ``positional_embedding`` and ``ln_pre``.
        images (Tensor): ``(N, 3, H, W)``.
        prompts (Tensor, optional): ``(V, W)``, put behind the patches of every picture. They have no position, but go
            through ``ln_pre``.

    Returns:
        Tensor: ``(N, 1 + M + V, W)``, [CLS] first. Nothing is dropped at random.
    """
    # The patch convolution runs in the weights' own type; autocast casts it where it is switched on.
    patches = stem.conv1(images).flatten(2).mT
    cls_token = stem.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
    tokens = torch.cat([cls_token, patches], 1)
    tokens = tokens + stem.positional_embedding.to(tokens.dtype)
    if prompts is not None:
        tokens = torch.cat([tokens, prompts.to(tokens.dtype).expand(tokens.shape[0], -1, -1)], 1)
    return normalize(stem.ln_pre, tokens)


def project(tokens: torch.Tensor, ln_post: nn.Module, proj: torch.Tensor) -> torch.Tensor:
    """Project tokens into the joint space, in float32 at least.

    Args:
        tokens (Tensor): ``(..., W)``.
        ln_post (nn.Module): The last layer norm.
        proj (Tensor): ``(W, D)``.

    Returns:
        Tensor: ``(..., D)``, not of unit norm; float32, or float64 where the tokens are.
    """
    # What follows (norms, Gram differences near zero) would lose its digits in half precision.
    features = linear(normalize(ln_post, tokens), proj.t())
    return features if features.dtype == torch.float64 else features.float()


def embed(tokens: torch.Tensor, ln_post: nn.Module, proj: torch.Tensor) -> torch.Tensor:
    """Project tokens as :func:`project`, and scale them to unit norm.

    Returns:
        Tensor: ``(..., D)``, unit norm.
    """
    features = project(tokens, ln_post, proj)
    return features / features.norm(dim=-1, keepdim=True)


def check_plain_vit(visual: nn.Module) -> None:
    """Raise ValueError unless the tower is a plain ViT of open_clip with class-token pooling.

    Args:
        visual (nn.Module): Vision tower of a CLIP model.

    Raises:
        ValueError: Says what was found and what is supported.
    """
    if not isinstance(visual, VisionTransformer):
        raise ValueError(f'{SUPPORTED_TOWERS}, but this vision tower is a {type(visual).__name__}')
    if visual.attn_pool is not None or visual.pool_type != 'tok' or visual.final_ln_after_pool:
        pooling = 'attention' if visual.attn_pool is not None else repr(visual.pool_type)
        raise ValueError(
            f'{SUPPORTED_TOWERS}, but this one pools by {pooling} (final_ln_after_pool={visual.final_ln_after_pool})'
        )
    if visual.proj is None:
        raise ValueError(f'{SUPPORTED_TOWERS}, but this one has no output projection')
    for index, block in enumerate(visual.transformer.resblocks):
        if type(block) is not ResidualAttentionBlock:
            raise ValueError(f'{SUPPORTED_TOWERS}, but block {index} is a {type(block).__name__}')
