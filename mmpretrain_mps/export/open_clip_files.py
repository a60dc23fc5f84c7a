"""A tuned model as plain weights of open_clip and one linear layer, for programs that know nothing of this project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ..models.loading.clip_loader import model_config


def write_open_clip(classifier: Any, about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write weights for ``open_clip.create_model(NAME, pretrained=path)``, NAME's config, and the layer of the classes.

    Where both branches see the same features, the layer makes the fused logits. Else the file holds the tuned tower, and the
    logits are those of the tuned branch; they are the fused ones where ``alpha`` is 1.

    Args:
        classifier (FewShotClassifier): Fitted.
        about (dict): Of :func:`describe_export`.
        path (Path): File of the weights. ``STEM-clip.json`` and ``STEM-classes.safetensors`` are written beside it.

    Returns:
        dict: ``open_clip``: model name, names of the files, and what the logits are.

    Raises:
        ValueError: If the method computes what a plain tower and a linear layer do not; says what, and what to do.
    """
    model = classifier.model_
    try:
        with torch.no_grad():
            weight, bias = _layer(model)
            state = model.plain_clip()
    except ValueError as error:
        raise ValueError(
            f'{classifier.method} cannot be written as a plain CLIP: {error}. The formats onnx and torch_export take it as it is'
        ) from error
    name, classes = f'{path.stem}-clip', f'{path.stem}-classes.safetensors'
    save_file(state, path)
    save_file(dict(weight=weight.cpu().contiguous(), bias=bias.cpu().contiguous()), path.with_name(classes))
    config = {**model_config(model.architecture, model.pretrained), 'quick_gelu': model.quick_gelu}
    path.with_name(f'{name}.json').write_text(json.dumps(config, indent=1) + '\n', encoding='utf-8')
    return dict(open_clip=dict(model=name, config=f'{name}.json', weights=path.name, classes=classes, logits=_branch(model)))


def run_open_clip(path: Path, about: dict[str, Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """Predict with open_clip alone.

    Args:
        path (Path): File of the weights.
        about (dict): With ``open_clip``.
        images (ndarray): Normalised, float32 ``(N, 3, H, W)``.

    Returns:
        dict[str, ndarray]: The logits ``(N, C)``, by what they are: ``'fused'`` or ``'tuned'``.
    """
    files = about['open_clip']
    open_clip.add_model_config(path.with_name(files['config']))
    model = open_clip.create_model(files['model'], pretrained=str(path)).eval()
    layer = load_file(path.with_name(files['classes']))
    with torch.no_grad():
        features = F.normalize(model.encode_image(torch.from_numpy(images)), dim=-1)
        return {files['logits']: F.linear(features, layer['weight'], layer['bias']).numpy()}


def _branch(model):
    return 'tuned' if model.has_two_towers and model.head.alpha != 1 else 'fused'


def _layer(model) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of what :func:`_branch` names."""
    weight, bias = model.plain_layer()
    if model.has_two_towers:
        return weight, bias
    # Both branches are linear in the same features, and so is any fusion of them.
    return model.head.fuse(weight, model.logit_scale * model.unit_prototypes()), model.head.fuse(bias, torch.zeros_like(bias))
