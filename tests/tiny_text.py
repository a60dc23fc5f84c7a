"""Small random CLIPs for tests of prompts, and the plain execution of their text towers."""

import open_clip
import torch

PROMPT_WORDS = ('face', 'water lily', 'Boeing 737-800', 'pug')


def make_clip(text=None, dtype=torch.float64, seed=0, custom=False, quick_gelu=True):
    """Build a random CLIP whose text tower has 3 blocks of width 16; norms and biases are not at their start values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(
            embed_dim=6,
            quick_gelu=quick_gelu,
            vision_cfg=dict(image_size=16, layers=1, width=8, head_width=8, patch_size=8),
            text_cfg={**dict(context_length=77, vocab_size=49408, width=16, heads=2, layers=3), **(text or {})},
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def run_plainly(model, embeddings, ends, deep=None):
    """Run open_clip's own modules over all positions of all classes, without any short cut.

    Args:
        model (nn.Module): Of open_clip.
        embeddings (Tensor): ``(C, L, W)`` without positions.
        ends (Sequence[int]): Position of the end tokens.
        deep (dict, optional): As :class:`TextTower` takes it.

    Returns:
        tuple[Tensor, list[Tensor]]: Features ``(C, D)`` and the outputs of the blocks ``(C, L, W)``.
    """
    text = getattr(model, 'text', model)
    length = embeddings.shape[1]
    tokens, outputs = embeddings + text.positional_embedding[:length], []
    for index, block in enumerate(text.transformer.resblocks):
        if index in (deep or {}):
            start, vectors = deep[index]
            vectors = vectors.expand(len(tokens), *vectors.shape[-2:])
            tokens = torch.cat([tokens[:, :start], vectors, tokens[:, start + vectors.shape[1] :]], 1)
        tokens = block(tokens, attn_mask=text.attn_mask[:length, :length])
        outputs.append(tokens)
    features = text.ln_final(tokens)[torch.arange(len(tokens)), torch.as_tensor(ends)]
    projection = text.text_projection
    return projection(features) if isinstance(projection, torch.nn.Linear) else features @ projection, outputs
