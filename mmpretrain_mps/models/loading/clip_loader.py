"""CLIP models of open_clip: what a name stands for, where its weights are, and how its pictures are prepared."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import socket
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

import open_clip
import torch
from huggingface_hub import constants as hub
from huggingface_hub import try_to_load_from_cache
from mmengine.logging import MMLogger
from open_clip.factory import _get_hf_config, merge_preprocess_dict, parse_model_name
from open_clip.pretrained import _PRETRAINED, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.transform import PreprocessCfg
from safetensors import SafetensorError

from mmpretrain_mps import mini_clip

from ...utils.checkpoint import reason_of
from ...utils.files import open_regular, read_json
from ..backbones.plain_vit import SUPPORTED_TOWERS
from ..text.prototypes import fill_templates
from .names import EMBEDDED_MODELS, TORCHSCRIPT, is_torchscript, resolve_names, trained_with_quick_gelu

if TYPE_CHECKING:
    from torch import nn

# What OpenAI's own archives hold beside the weights.
OPENAI_EXTRAS = ('input_resolution', 'context_length', 'vocab_size')
REACH_SECONDS = 5.0
UNREADABLE = (
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    pickle.UnpicklingError,
    SafetensorError,
)


class ClipPreprocess(NamedTuple):
    """How a CLIP model wants its pictures."""

    image_size: tuple
    """Height and width in pixels."""
    mean: tuple
    """Mean per RGB channel, on a scale of 0 to 1."""
    std: tuple
    """Standard deviation per RGB channel, on a scale of 0 to 1."""
    interpolation: str
    """``'bicubic'`` or ``'bilinear'``."""
    resize_mode: str
    """``'shortest'`` (short edge, then centre crop), ``'longest'`` or ``'squash'``."""


class ClipModel(NamedTuple):
    """A CLIP model with its weights, and what is needed to use it."""

    model: torch.nn.Module
    make_tokenizer: Callable
    """Returns the tokenizer, built at the first call: reading its vocabulary takes time that not every use needs."""
    preprocess: ClipPreprocess
    quick_gelu: bool


def clip_preprocess(architecture: str, pretrained: str | None = None) -> ClipPreprocess:
    """Look up how a model wants its pictures; needs no weights.

    Args:
        architecture (str): Name in open_clip (``'ViT-B-16'`` or ``'ViT-B/16'``), ``'local-dir:PATH'``,
            ``'hf-hub:ORG/REPO'``, ``'mps-mini'`` or ``'mps-mini-pictograms'``.
        pretrained (str, optional): Tag or path of a weights file.

    Returns:
        ClipPreprocess: Size, normalisation and resizing.

    Raises:
        ValueError: If the architecture is unknown.
    """
    config, overrides = _read_config(architecture, pretrained)
    preprocess = PreprocessCfg(**merge_preprocess_dict(asdict(PreprocessCfg()), overrides))
    # The size of the tower counts, whatever the weights were first meant for.
    size = config['vision_cfg']['image_size']
    return ClipPreprocess(
        image_size=(size, size) if isinstance(size, int) else tuple(size),
        mean=tuple(preprocess.mean),
        std=tuple(preprocess.std),
        interpolation=preprocess.interpolation,
        resize_mode=preprocess.resize_mode,
    )


def model_config(architecture: str, pretrained: str | None = None) -> dict[str, Any]:
    """Return the towers of a model as open_clip's configs describe them; needs no weights.

    Args:
        architecture (str): As in :func:`clip_preprocess`.
        pretrained (str, optional): Tag or path of a weights file.

    Returns:
        dict: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and more, a copy.

    Raises:
        ValueError: If the architecture is unknown.
    """
    return copy.deepcopy(_read_config(architecture, pretrained)[0])


def load_clip(architecture: str, pretrained: str | None, quick_gelu: bool | None = None) -> ClipModel:
    """Build a CLIP model and load its weights, on the CPU in float32.

    Args:
        architecture (str): As in :func:`clip_preprocess`.
        pretrained (str | None): A tag such as ``'openai'``, a local file in any format that open_clip reads (state
            dict, safetensors, training checkpoint, OpenAI's archive), or None for random weights. TorchScript archives
            other than OpenAI's, which are known by their hash, are programs: ``'torchscript:FILE'`` runs one.
        quick_gelu (bool, optional): Activation of the blocks. Defaults to what the tag or file was trained with:
            OpenAI's weights need QuickGELU and silently lose accuracy without it.

    Returns:
        ClipModel: The model in evaluation mode.

    Raises:
        FileNotFoundError: If weights are neither on disk nor to be had.
        ValueError: If a name is unknown or a file does not fit the architecture.
    """
    name, weights = resolve_names(architecture, pretrained)
    require_weights(architecture, pretrained)
    config, _ = _read_config(architecture, pretrained)
    # A local file says nothing of its activation; a tag, and a folder of open_clip, do.
    is_guess = quick_gelu is None and weights is not None and os.path.isfile(weights) and 'quick_gelu' not in config
    if quick_gelu is None:
        quick_gelu = bool(config.get('quick_gelu')) or trained_with_quick_gelu(name, weights)
    archive = weights is not None and is_torchscript(weights)
    if archive:
        _refuse_programs(pretrained, weights)
    is_random = pretrained is None and (architecture in EMBEDDED_MODELS or parse_model_name(name)[0] is None)
    try:
        model = open_clip.create_model(
            name, pretrained=None if archive else weights, load_weights=not is_random, force_quick_gelu=quick_gelu
        )
        if archive:
            _load_openai_archive(model, weights)
    except UNREADABLE as error:
        # torch's advice is to read it without the protection.
        reason = textwrap.shorten(
            f'it is not plain data, and reading it could run code. {reason_of(error)}'
            if isinstance(error, pickle.UnpicklingError)
            else str(error),
            400,
        )
        raise ValueError(f'the weights {pretrained!r} could not be loaded into {architecture!r}: {reason}') from error
    logger = MMLogger.get_current_instance()
    if is_random:
        logger.warning(f'{architecture} has random weights, since `pretrained` is None: good for tests only')
    if is_guess and not quick_gelu:
        logger.warning(
            f'nothing says with which activation the weights {pretrained} were trained; GELU is taken. If they '
            "come from OpenAI's, set model.quick_gelu=True: with the other one they silently lose accuracy"
        )
    logger.info(f'CLIP {architecture} ({pretrained}), activation {"QuickGELU" if quick_gelu else "GELU"}')
    folder = mini_folder(architecture)
    make_tokenizer = partial(mini_clip.tokenizer, folder) if folder else cache(partial(open_clip.get_tokenizer, name))
    return ClipModel(model.eval(), make_tokenizer, clip_preprocess(architecture, pretrained), quick_gelu)


def mini_folder(architecture: str) -> Path | None:
    """Return the folder of a mini CLIP, which has a vocabulary of its own: an embedded one, or one made in the same way.

    Args:
        architecture (str): As in :func:`clip_preprocess`.

    Returns:
        Path | None: None for all other models.
    """
    if architecture in EMBEDDED_MODELS:
        return EMBEDDED_MODELS[architecture]()
    scheme, identifier = parse_model_name(str(architecture))
    found = Path(identifier) if scheme == 'local-dir' else None
    return found if found is not None and mini_clip.is_model_folder(found) else None


def check_words(architecture: str, class_names: Sequence[str], templates: Sequence[str] = ('{}',)) -> None:
    """Refuse texts that a mini CLIP has no words for; other models know every word.

    Args:
        architecture (str): As in :func:`clip_preprocess`.
        class_names (Sequence[str]): Names.
        templates (Sequence[str]): Prompt templates that they are put into.

    Raises:
        ValueError: Names the words.
    """
    folder = mini_folder(architecture)
    if folder is not None:
        mini_clip.check_vocabulary(fill_templates(class_names, templates), folder)


def vision_tower_without_weights(architecture: str, pretrained: str | None = None) -> nn.Module:
    """Build the vision tower of a model on PyTorch's meta device: its structure, but no numbers and no memory for them.

    Args:
        architecture (str): As in :func:`clip_preprocess`.
        pretrained (str, optional): Tag or path of a weights file, which is not read.

    Returns:
        torch.nn.Module: The tower.

    Raises:
        ValueError: If the architecture is unknown.
    """
    config, _ = _read_config(architecture, pretrained)
    with torch.device('meta'):
        # Some text tower must be there; nobody looks at this one.
        return open_clip.CLIP(config['embed_dim'], config['vision_cfg'], dict(layers=1)).visual


def require_weights(architecture: str, pretrained: str | None) -> None:
    """Raise an error at once if the weights of a model are not to be had, instead of after minutes of retries.

    Args:
        architecture (str): As in :func:`clip_preprocess`.
        pretrained (str | None): Tag, path or None.

    Raises:
        FileNotFoundError: Names what is missing, where it was looked for and how to point to it.
        ValueError: If the architecture or the tag is unknown, or the vision tower is no plain ViT.
    """
    name, weights = resolve_names(architecture, pretrained)
    config, _ = _read_config(architecture, pretrained)
    _require_plain_vit(architecture, config['vision_cfg'])
    if weights is None or os.path.isfile(weights):
        return
    tag = open_clip.get_pretrained_cfg(name, weights)
    if not tag:
        looks_like_path = os.sep in weights or Path(weights).suffix in ('.pt', '.pth', '.bin', '.safetensors', '.npz')
        if looks_like_path:
            raise FileNotFoundError(
                f'the weights file {os.path.abspath(weights)} of {architecture} does not exist; '
                'set `pretrained` to a file that open_clip reads, or to a tag'
            )
        raise ValueError(
            f'{weights!r} is neither a file nor a tag of {architecture}; its tags are '
            f'{open_clip.list_pretrained_tags_by_model(name)}'
        )
    looked = _cached_weights(tag)
    if isinstance(looked, str):
        return
    host = _host_of(tag)
    if not reachable(host):
        places = ' and '.join(looked)
        raise FileNotFoundError(
            f'the weights {weights!r} of {architecture} are missing: looked for {places}, and {host} cannot be reached '
            'to fetch them. Run once where it can be, copy that cache folder, or give a local weights file: '
            "--cfg-options pretrained=/path/to/weights.safetensors (with model.quick_gelu=True if they are OpenAI's)"
        )


def _require_plain_vit(architecture, vision):
    """Refuse by its config what the backbones would refuse once it is built, and its weights are fetched."""
    found = next((name for name in ('timm_model_name', 'attentional_pool') if vision.get(name)), None)
    if isinstance(vision.get('layers'), (list, tuple)):
        found = 'layers'
    if found:
        raise ValueError(f'{SUPPORTED_TOWERS}, but that of {architecture} has {found}={vision[found]!r}')


def _read_config(architecture, pretrained):
    """Return open_clip's model config and what the weights say about preprocessing."""
    name, weights = resolve_names(architecture, pretrained)
    scheme, identifier = parse_model_name(name)
    if scheme == 'hf-hub':
        whole = _get_hf_config(identifier)
        return whole['model_cfg'], whole.get('preprocess_cfg', {})
    if scheme == 'local-dir':
        file = Path(identifier) / 'open_clip_config.json'
        if not file.is_file():
            raise ValueError(f'{file} does not exist; local-dir: needs a folder saved by open_clip')
        whole = read_json(file)
        if not isinstance(whole, dict) or not isinstance(whole.get('model_cfg'), dict):
            raise ValueError(f'{file} describes no model; local-dir: needs a folder saved by open_clip')
        return whole['model_cfg'], whole.get('preprocess_cfg', {})
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f'unknown architecture {architecture!r}; open_clip knows, among others, '
            f'{[known for known in open_clip.list_models() if known.startswith("ViT-")][:12]}, and '
            f'this project {" and ".join(map(repr, EMBEDDED_MODELS))}'
        )
    tag = open_clip.get_pretrained_cfg(name, weights) if weights else {}
    return config, tag


def _refuse_programs(pretrained, path):
    """Let only those TorchScript archives be read that OpenAI published, or that the user asked for as such."""
    if pretrained.startswith(TORCHSCRIPT):
        return
    published = {
        part
        for known in _PRETRAINED.values()
        for tag in known.values()
        for part in tag.get('url', '').split('/')
        if len(part) == 64
    }
    with open_regular(path) as file:
        digest = hashlib.sha256()
        for chunk in iter(partial(file.read, 1 << 20), b''):
            digest.update(chunk)
    if digest.hexdigest() not in published:
        raise ValueError(
            f'the weights {pretrained!r} are a TorchScript archive, which is a program that runs when it is read, '
            f'and none that OpenAI published; if you trust it, say so with pretrained={TORCHSCRIPT}{path}'
        )


def _load_openai_archive(model, path):
    state = torch.jit.load(path, map_location='cpu').state_dict()
    state = {name: value.float() for name, value in state.items() if name not in OPENAI_EXTRAS}
    model.load_state_dict(state, strict=True)


def _cached_weights(tag):
    """Return the path of a tag's weights in the cache of downloads, or the list of places where they are not."""
    looked = []
    repository, _, file = tag.get('hf_hub', '').rpartition('/')
    if repository:
        for candidate in (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME):
            found = try_to_load_from_cache(repository, candidate)
            if isinstance(found, str):
                return found
        looked.append(f'{repository} in {hub.HF_HUB_CACHE}')
    elif tag.get('url'):
        path = Path('~/.cache/clip').expanduser() / tag['url'].rpartition('/')[2]
        if path.is_file():
            return str(path)
        looked.append(str(path))
    return looked


def _host_of(tag):
    """Return the host from which open_clip would fetch a tag; it prefers the hub where a model has both."""
    return urlparse(hub.ENDPOINT if tag.get('hf_hub') else tag.get('url', '')).hostname


def reachable(host: str) -> bool:
    """Whether a connection to a host can be opened; with a proxy set, only the download itself can tell."""
    if hub.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(variable) for variable in ('HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy')):
        return True
    reached = threading.Event()

    def connect() -> None:
        """Note that the host answers, if it does."""
        try:
            socket.create_connection((host, 443), timeout=REACH_SECONDS).close()
            reached.set()
        except OSError:
            pass

    # Resolving a name has no time limit of its own, hence the thread.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(REACH_SECONDS)
    return reached.is_set()
