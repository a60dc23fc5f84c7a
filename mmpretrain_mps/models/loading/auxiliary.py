"""A second frozen network beside CLIP, for pictures that are prepared for CLIP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmpretrain.registry import MODELS
from torch import nn

from ... import mini_clip
from ...utils.foreign_weights import read_weights
from ..caches.fingerprint import fingerprint
from . import clip_loader

# OpenMMLab's own training of MoCo v3 over 800 epochs; `mim` knows the same file.
MOCO_V3 = dict(
    checkpoint='https://download.openmmlab.com/mmselfsup/1.x/mocov3/mocov3_resnet50_8xb512-amp-coslr-800e_in1k/'
    'mocov3_resnet50_8xb512-amp-coslr-800e_in1k_20220927-e043f51a.pth',
    prefix='backbone',
)
EMBEDDED = 'embedded'
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ChannelStatistics(NamedTuple):
    """Normalisation of RGB pictures on a scale of 0 to 1."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


class AuxiliaryNetwork(nn.Module):
    """A frozen backbone of mmpretrain with pooled features, always in evaluation mode.

    It sees the pixels that CLIP sees, normalised as it was trained: one affine map per channel leads from the one to
    the other.

    Args:
        network (dict): Config of a backbone of mmpretrain, such as ``dict(type='ResNet', depth=50)``.
        weights (dict | None): ``checkpoint``, a local file, a URL or ``'embedded'``, which are the weights of
            :mod:`mmpretrain_mps.mini_clip.self_supervision`, and ``prefix`` of the backbone's keys in it; None for
            random weights.
        given (ChannelStatistics): How the pictures come.
        wanted (ChannelStatistics): How the network wants them.
        image_size (tuple[int, int]): Height and width of the pictures.

    Attributes:
        dims (int): Number of features, ``A``.

    Raises:
        FileNotFoundError: If weights are neither on disk nor to be had.
        ValueError: If they do not fit the network.
    """

    def __init__(
        self, network: dict, weights: dict | None, given: ChannelStatistics, wanted: ChannelStatistics, image_size: tuple
    ):
        super().__init__()
        self.network = MODELS.build(dict(network))
        # mmengine initialises every module when a training starts, and this one must stay what it is.
        self.network.init_weights = _keep_weights
        if weights is not None:
            _load(self.network, **weights)
        given_mean, given_std, mean, std = (torch.tensor(values).view(3, 1, 1) for values in (*given, *wanted))
        self.register_buffer('scale', given_std / std, persistent=False)
        self.register_buffer('shift', (given_mean - mean) / std, persistent=False)
        self.requires_grad_(False)
        self.eval()
        self.dims = self(torch.zeros(1, 3, *image_size)).shape[1]
        self._fingerprint = None

    def train(self, mode: bool = True) -> AuxiliaryNetwork:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return pooled features ``(N, A)``, float32, of pictures ``(N, 3, H, W)`` as CLIP sees them."""
        features = self.network(images * self.scale + self.shift)
        features = features[-1] if isinstance(features, (tuple, list)) else features
        return (features.mean((2, 3)) if features.ndim == 4 else features).float()

    def sha256(self) -> str:
        """Return the SHA-256 of the weights and the running statistics."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(
                {name: value for name, value in self.network.state_dict().items() if not name.endswith('num_batches_tracked')}
            )
        return self._fingerprint


def require_auxiliary(weights: dict | None) -> None:
    """Raise an error at once if the weights are not to be had.

    Args:
        weights (dict | None): As in :class:`AuxiliaryNetwork`.

    Raises:
        FileNotFoundError: Names what is missing, where it was looked for and how to point to it.
    """
    if weights is None:
        return
    checkpoint = str(weights['checkpoint'])
    path, remedy = (
        _path_of(checkpoint),
        (
            'set model.auxiliary_weights.checkpoint to a file with them, and '
            'model.auxiliary_weights.prefix to what its names start with'
        ),
    )
    if path.is_file():
        return
    if not _is_url(checkpoint):
        raise FileNotFoundError(f'the weights file {path.absolute()} of the auxiliary network does not exist; {remedy}')
    host = urlparse(checkpoint).hostname
    if not clip_loader.reachable(host):
        raise FileNotFoundError(
            f'the weights of the auxiliary network are missing: looked for {path}, and {host} cannot be reached to '
            f'fetch {checkpoint}. Run once where it can be, copy the file there, or {remedy}'
        )


def _load(network, checkpoint, prefix=''):
    require_auxiliary(dict(checkpoint=checkpoint))
    state = read_weights(_fetch(str(checkpoint)))
    prefix = f'{prefix}.' if prefix and not prefix.endswith('.') else prefix
    own = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    needed = network.state_dict()
    missing = [name for name in needed if name not in own and not name.endswith('num_batches_tracked')]
    others = [name for name in needed if name in own and own[name].shape != needed[name].shape]
    if missing or others:
        what = (
            f'lack {missing[0]!r}'
            if missing
            else (f'have {others[0]!r} of shape {tuple(own[others[0]].shape)} instead of {tuple(needed[others[0]].shape)}')
        )
        raise ValueError(
            f'the weights {checkpoint} with the prefix {prefix!r} do not fit the auxiliary network '
            f'{type(network).__name__}: they {what}; names in the file are {list(state)[:3]}'
        )
    network.load_state_dict({name: own.get(name, value) for name, value in needed.items()})


def _fetch(checkpoint):
    path = _path_of(checkpoint)
    if _is_url(checkpoint):
        if get_local_rank() == 0 and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(checkpoint, str(path), progress=os.isatty(2))
        barrier()
    return path


def _is_url(checkpoint):
    return urlparse(checkpoint).scheme in ('http', 'https')


def _path_of(checkpoint):
    """Return where a file lies, or will lie once it is fetched: where mmengine puts downloads, too."""
    if _is_url(checkpoint):
        return Path(torch.hub.get_dir(), 'checkpoints', urlparse(checkpoint).path.rpartition('/')[2])
    if checkpoint == EMBEDDED:
        return mini_clip.auxiliary_weights()
    return Path(checkpoint).expanduser()


def _keep_weights():
    """Initialise nothing."""
