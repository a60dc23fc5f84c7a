"""Names of CLIP models and of their weights, as configs write them and as open_clip does."""

import re
import zipfile
from functools import cache
from pathlib import Path

import open_clip
from open_clip.factory import parse_model_name

from mmpretrain_mps import mini_clip, pictogram_clip

from ...utils.trust import PROGRAM

EMBEDDED_ARCHITECTURE = 'mps-mini'
# Of glyphs, and of pictograms.
EMBEDDED_MODELS = {EMBEDDED_ARCHITECTURE: mini_clip.folder, 'mps-mini-pictograms': pictogram_clip.folder}
EMBEDDED_WEIGHTS = 'embedded'
# Before a file: reading a TorchScript archive runs it, as importing a module does.
TORCHSCRIPT = PROGRAM


def resolve_names(architecture, pretrained):
    """Translate the names of a config into those of open_clip.

    Returns:
        tuple[str, str | None]: Model name and ``pretrained`` for ``open_clip.create_model``.

    Raises:
        ValueError: If an embedded architecture and the embedded weights are not asked for together.
    """
    if architecture in EMBEDDED_MODELS and pretrained in (EMBEDDED_WEIGHTS, None):
        return f'local-dir:{EMBEDDED_MODELS[architecture]()}', None
    if architecture in EMBEDDED_MODELS:
        raise ValueError(
            f'{architecture!r} has the weights {EMBEDDED_WEIGHTS!r} alone, not {pretrained!r}; '
            "an own model of this form is named 'local-dir:FOLDER'"
        )
    if pretrained == EMBEDDED_WEIGHTS:
        raise ValueError(
            f"pretrained='{EMBEDDED_WEIGHTS}' belongs to the architectures {' and '.join(map(repr, EMBEDDED_MODELS))}, "
            f'not to {architecture!r}'
        )
    if pretrained is not None and pretrained.startswith(TORCHSCRIPT):
        pretrained = pretrained[len(TORCHSCRIPT) :]
    scheme, _ = parse_model_name(architecture)
    return (architecture, None) if scheme else (_spelled(architecture), pretrained)


def _spelled(architecture):
    """Return the name as open_clip writes it: ``vit-b-16`` and ``ViT-B/16`` are its ``ViT-B-16``."""
    name = architecture.replace('/', '-')
    return name if name in open_clip.list_models() else _by_letters().get(_letters_of(name), name)


@cache
def _by_letters():
    return {_letters_of(name): name for name in reversed(open_clip.list_models())}


def _letters_of(name):
    return re.sub('[^a-z0-9]', '', name.lower())


def trained_with_quick_gelu(name, weights):
    """Tell whether weights were trained with QuickGELU.

    Args:
        name (str): Model name of open_clip.
        weights (str | None): Tag or local file.

    Returns:
        bool: From open_clip's table for a tag; for a file, whether it is OpenAI's: a TorchScript archive, or one whose
        name (or whose folder in the cache of downloads) says so.
    """
    if weights is None:
        return False
    tag = open_clip.get_pretrained_cfg(name, weights)
    if tag:
        return bool(tag.get('quick_gelu', False))
    path = Path(weights)
    named = [path.name, *(part for part in path.resolve().parts if part.startswith('models--'))]
    return is_torchscript(weights) or any('openai' in part.lower() for part in named)


def is_torchscript(path):
    """Whether a file is a TorchScript archive, the form in which OpenAI published its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any('/code/' in f'/{entry}' for entry in archive.namelist())
