"""Class prototypes: class names through prompt templates through the frozen text tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import nn


def fill_templates(class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Put class names into prompt templates.

    Args:
        class_names (Sequence[str]): ``C`` readable names; two classes may share one.
        templates (Sequence[str]): ``T`` format strings with one ``{}`` each.

    Returns:
        list[str]: ``C * T`` texts, all templates of the first class first.

    Raises:
        ValueError: As :func:`check_texts`.
    """
    check_texts(class_names, templates)
    return _fill(class_names, templates)


def check_texts(class_names: Sequence[str], templates: Sequence[str]) -> None:
    """Refuse class names and templates that make no texts.

    Args:
        class_names (Sequence[str]): Readable names.
        templates (Sequence[str]): Format strings.

    Raises:
        ValueError: If there is no name or template, a name is empty, or a template has not exactly one ``{}``.
    """
    if isinstance(class_names, str) or isinstance(templates, str):
        raise ValueError(
            'class names and templates must be lists, but a single string was given: '
            f'{class_names if isinstance(class_names, str) else templates!r}'
        )
    if not class_names or not templates:
        raise ValueError(
            f'needed are at least one class name and one template, but there are {len(class_names)} names '
            f'and {len(templates)} templates'
        )
    for template in templates:
        if template.count('{}') != 1:
            raise ValueError(f"a prompt template needs exactly one '{{}}' for the class name, but got {template!r}")
    for label, name in enumerate(class_names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'the name of class {label} is {name!r}; expected a text')


def _fill(class_names, templates):
    return [template.replace('{}', name) for name in class_names for template in templates]


@torch.no_grad()
def encode_prototypes(
    model: nn.Module,
    tokenizer: Callable[..., torch.Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
    normalize_templates: bool = True,
    batch_size: int = 256,
) -> torch.Tensor:
    """Compute one prototype per class: the mean of its texts' features over the templates.

    Args:
        model (nn.Module): CLIP model of open_clip; its text tower is used.
        tokenizer (Callable): Turns a list of texts into token ids.
        class_names (Sequence[str]): ``C`` names.
        templates (Sequence[str]): ``T`` prompt templates.
        normalize_templates (bool): Scale each text's feature to unit norm before the mean. The released code does not.
        batch_size (int): Texts that are there, and encoded, at a time; bounds the memory. At least ``T`` are.

    Returns:
        Tensor: ``(C, D)``, float32, on the model's device; not of unit norm.

    Raises:
        ValueError: As :func:`check_texts`.
    """
    check_texts(class_names, templates)
    class_names = list(class_names)
    device = next(model.parameters()).device
    # Whole classes at a time, so that only their means are kept.
    step = max(1, batch_size // len(templates))
    prototypes = []
    for start in range(0, len(class_names), step):
        texts = _fill(class_names[start : start + step], templates)
        features = model.encode_text(tokenizer(texts).to(device)).float()
        if normalize_templates:
            features = F.normalize(features, dim=-1)
        prototypes.append(features.unflatten(0, (-1, len(templates))).mean(1))
    return torch.cat(prototypes)
