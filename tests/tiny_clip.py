"""A CLIP model of open_clip, small enough for tests, in the folder form that open_clip saves and loads."""

import json

import open_clip
import torch
from safetensors.torch import save_file

TINY_CONFIG = dict(
    embed_dim=8,
    quick_gelu=True,
    vision_cfg=dict(image_size=16, layers=6, width=16, head_width=8, patch_size=8),
    text_cfg=dict(context_length=77, vocab_size=49408, width=8, heads=1, layers=1),
)

NAMES = ('cat', 'dog', 'sparrow')


def save_tiny_clip(folder, seed=0, text=None, **vision):
    """Save a random tiny CLIP and return the name under which open_clip finds it.

    All weights get noise, so that biases and norms are not at their trivial start values. ``text`` and further arguments
    are changes of the towers.
    """
    config = {
        **TINY_CONFIG,
        'vision_cfg': {**TINY_CONFIG['vision_cfg'], **vision},
        'text_cfg': {**TINY_CONFIG['text_cfg'], **(text or {})},
    }
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = open_clip.CLIP(**config).state_dict()
    for value in state.values():
        if value.is_floating_point() and value.ndim:
            value += 0.05 * torch.randn(value.shape, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'open_clip_config.json').write_text(json.dumps(dict(model_cfg=config, preprocess_cfg={})))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / 'open_clip_model.safetensors')
    return f'local-dir:{folder}'


@torch.no_grad()
def shake(model, seed=0, scale=0.05):
    """Move the trainable weights away from their start, so that both branches differ."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model
