"""The towers of CLIP without any short cut, as released code runs them: whole contexts, all tokens, all classes, every time.

They take the place of the towers in a classifier and give the same numbers at the released code's cost; that is what the
methods of this project are compared with.
"""

import contextlib

import torch
import torch.nn.functional as F

from mmpretrain_mps.models.backbones.plain_vit import embed_patches, project
from mmpretrain_mps.models.backbones.promptable_vit import VisionFeatures
from mmpretrain_mps.models.backbones.value_path import cls_attention_row, project_qkv


def run_plain_block(block, tokens, mask=None):
    """Run a block of open_clip with its own modules on all tokens; low-rank updates are added where there are some."""
    attention = block.attn
    if getattr(attention, 'low_rank', None) is None:
        return block(tokens, attn_mask=mask)
    heads = attention.num_heads
    queries, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in project_qkv(attention, block.ln_1(tokens)))
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask).transpose(1, 2).flatten(2)
    tokens = tokens + block.ls_1(F.linear(attended, attention.out_proj.weight, attention.out_proj.bias))
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def plain_text(tower):
    """Return a forward pass of a text tower over the whole context of every class.

    Args:
        tower (TextTower): Gives the weights.

    Returns:
        Callable: With the arguments of ``TextTower.forward``; ``shared`` is not made use of.
    """

    def forward(embeddings, ends, shared=0, deep=None):
        text, (classes, length, _) = tower.text, embeddings.shape
        padding = tower.embed(torch.zeros(classes, tower.context_length - length, dtype=torch.int64))
        tokens = torch.cat([embeddings, padding.to(embeddings)], 1) + text.positional_embedding
        for index, block in enumerate(tower.blocks):
            if index in (deep or {}):
                start, vectors = deep[index]
                vectors = vectors.expand(classes, -1, -1)
                tokens = torch.cat([tokens[:, :start], vectors, tokens[:, start + vectors.shape[1] :]], 1)
            tokens = run_plain_block(block, tokens, text.attn_mask)
        return text.ln_final(tokens)[torch.arange(classes), torch.as_tensor(ends)] @ text.text_projection

    return forward


def plain_vision(tower):
    """Return a forward pass of a vision tower over all tokens in all blocks.

    Args:
        tower (PromptableViT): Gives the weights.

    Returns:
        Callable: With the arguments of ``PromptableViT.forward``.
    """

    def forward(images, prompts=(), hidden_from_patches=0, tokens=False, attention=False):
        visual, prompts = tower.zero_shot, tuple(prompts)
        states = embed_patches(visual, images, prompts[0] if prompts else None)
        mask = tower._mask(states.shape[1], len(prompts[0]), hidden_from_patches) if hidden_from_patches else None
        # To be added: open_clip's modules turn a mask of truth values into numbers.
        hidden = None if mask is None else torch.zeros(mask.shape).masked_fill(~mask, float('-inf'))
        row = None
        for index, block in enumerate(tower.all_blocks()):
            if 0 < index < len(prompts):
                states = torch.cat([states[:, : -len(prompts[0])], prompts[index].expand(len(states), -1, -1)], 1)
            if attention and index == len(tower.all_blocks()) - 1:
                row = cls_attention_row(block, states)
            states = run_plain_block(block, states, hidden)
        features = project(states if tokens else states[:, :1], visual.ln_post, visual.proj)
        return VisionFeatures(features[:, 0], features if tokens else None, row)

    return forward


@contextlib.contextmanager
def without_short_cuts(model):
    """Let a classifier run plain towers, and encode all of its texts for every batch of a prediction.

    Args:
        model (CLIPClassifier): Changed for a while.
    """
    changes = [(model.backbone, 'forward', plain_vision(model.backbone)), (model, 'cached_class_features', model.class_features)]
    if getattr(model, 'text_tower', None) is not None:
        changes.append((model.text_tower, 'forward', plain_text(model.text_tower)))
    for owner, name, replacement in changes:
        setattr(owner, name, replacement)
    try:
        yield model
    finally:
        for owner, name, _ in changes:
            delattr(owner, name)
