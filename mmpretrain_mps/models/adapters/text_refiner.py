"""The parts of TextRefiner: a memory of local picture features, what fills it, and what texts take from it."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn


class LocalCache(nn.Module):
    r"""A small memory of local features that texts read by attention and pictures write with momentum.

    `TextRefiner <https://arxiv.org/abs/2412.08176>`_, as released. Nothing of it is trained: it is state, a buffer.
    Reading has no temperature, so that what is read lies near the mean of the entries. Writing adds up the features of
    an entry and does not average them, so that many of them replace it practically in one step.

    Args:
        size (int): ``M`` entries.
        embed_dims (int): ``D``.
        momentum (float): :math:`\mu`, share of the old entry, 0 to 1.

    Attributes:
        entries (Tensor): ``(M, D)``, float32, unit norm; they start as normalised uniform numbers of [0, 1).

    Raises:
        ValueError: If the size or the momentum lies outside its range.
    """

    def __init__(self, size: int, embed_dims: int, momentum: float = 0.8):
        super().__init__()
        if size < 1 or not 0 <= momentum <= 1:
            raise ValueError(f'a local cache needs 1 or more entries and a momentum from 0 to 1, but got {size=}, {momentum=}')
        self.momentum = momentum
        self.register_buffer('entries', F.normalize(torch.rand(size, embed_dims), dim=-1))

    def read(self, texts: torch.Tensor) -> torch.Tensor:
        r"""Return what texts find here.

        .. math:: r_c = \sum_m \mathrm{softmax}_m(\langle t_c, A_m \rangle)\, A_m

        Args:
            texts (Tensor): Unit norm ``(C, D)``; the gradient flows to them.

        Returns:
            Tensor: ``(C, D)``, float32.
        """
        # The way back needs the entries as they were read; a copy of so few lets them be written before it.
        entries = self.entries.clone()
        with torch.autocast(texts.device.type, enabled=False):
            return (texts.float() @ entries.mT).softmax(-1) @ entries

    def assign(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Say which entry each feature goes to, and with what weight.

        .. math:: m(n) = \mathrm{argmax}_m s_{nm}, \qquad w_n = \exp(s_{nm(n)} - \max_{n'} s_{n'm(n)}), \qquad s_{nm} =
            \langle g_n, A_m \rangle

        The largest similarity of an entry is that over all features, also over those that go elsewhere.

        Args:
            features (Tensor): Unit norm ``(R, D)``.

        Returns:
            tuple[Tensor, Tensor]: Entries ``(R,)``, int64, and weights ``(R,)``.
        """
        similarities = features @ self.entries.mT
        nearest = similarities.argmax(1)
        weights = (similarities - similarities.amax(0)).exp()
        return nearest, weights.gather(1, nearest[:, None])[:, 0]

    @torch.no_grad()
    def write(self, features: torch.Tensor) -> None:
        r"""Let every feature move the entry that is most similar to it.

        .. math:: A_m \leftarrow \mathrm{unit}(\mu A_m + (1 - \mu) \sum_{n: m(n) = m} w_n g_n)

        with :meth:`assign`. An entry to which none goes stays.

        Args:
            features (Tensor): ``(R, D)``, of any norm: all those of a step, of all processes.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = F.normalize(features.float(), dim=-1)
            nearest, weights = self.assign(features)
            one_hot = features.new_zeros(len(features), len(self.entries))
            one_hot.scatter_(1, nearest[:, None], weights[:, None])
            moved = self.momentum * self.entries + (1 - self.momentum) * one_hot.mT @ features
            is_hit = one_hot.any(0)[:, None]
            self.entries.copy_(F.normalize(torch.where(is_hit, moved, self.entries), dim=-1))


class TokenAligner(nn.Module):
    """Carry local features of pictures to where texts are; used in training alone.

    ``Linear(ReLU(BatchNorm(Linear(x))))`` on every token. In training the batch norm takes its statistics over all
    tokens of the batch given.

    Args:
        embed_dims (int): ``D``.
    """

    def __init__(self, embed_dims: int):
        super().__init__()
        self.first = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.BatchNorm1d(embed_dims)
        self.second = nn.Linear(embed_dims, embed_dims)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Align tokens ``(B, L, D)``; returns the same shape, float32, not of unit norm."""
        hidden = self.norm(self.first(tokens).flatten(0, 1))
        return self.second(F.relu(hidden)).float().unflatten(0, tokens.shape[:2])


class TextRefiner(BaseModule):
    r"""Correct text features by what the cache holds for them.

    .. math:: t' = t + \alpha\, W [t; r(t)]

    `TextRefiner <https://arxiv.org/abs/2412.08176>`_. :math:`t'` is not of unit norm, as in the released code. ``W``
    does not start at zero, so that refined texts differ from the beginning.

    Args:
        embed_dims (int): ``D``.
        cache_size (int): Entries of the cache.
        momentum (float): Of the cache, see :class:`LocalCache`.
        alpha (float): :math:`\alpha`, weight of the correction, at least 0.

    Raises:
        ValueError: If an argument lies outside its range.
    """

    def __init__(self, embed_dims: int, cache_size: int = 25, momentum: float = 0.8, alpha: float = 0.2):
        super().__init__()
        if not alpha >= 0:
            raise ValueError(f'alpha, the weight of the correction of texts, must be at least 0, but is {alpha}')
        self.alpha = alpha
        self.cache = LocalCache(cache_size, embed_dims, momentum)
        self.aligner = TokenAligner(embed_dims)
        self.extractor = nn.Linear(2 * embed_dims, embed_dims, bias=False)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """Refine unit-norm texts ``(C, D)``; returns the same shape, float32, not of unit norm."""
        return texts + self.alpha * self.extractor(torch.cat([texts, self.cache.read(texts)], -1)).float()


def find_top_patches(attention: torch.Tensor, count: int) -> torch.Tensor:
    """Find the patches that [CLS] attends to most.

    Args:
        attention (Tensor): Of [CLS] to all tokens, itself first, ``(B, L)``.
        count (int): ``K``, at most ``L - 1``.

    Returns:
        Tensor: Positions among all tokens, 1 to ``L - 1``, most attended first, ``(B, K)``, int64.
    """
    return 1 + attention[:, 1:].topk(count).indices


def select_local(tokens: torch.Tensor, top_patches: torch.Tensor) -> torch.Tensor:
    """Take of every picture [CLS], its most attended patches, and the mean of all tokens.

    Args:
        tokens (Tensor): ``(B, L, D)``, [CLS] first.
        top_patches (Tensor): Positions among all tokens ``(B, K)``.

    Returns:
        Tensor: ``(B, K + 2, D)``.
    """
    patches = tokens.gather(1, top_patches[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :1], patches, tokens.mean(1, keepdim=True)], 1)
