"""CLIP's text tower, frozen, for prompts whose vectors are learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..backbones.layer_norm import normalize
from ..backbones.linear import linear
from .causal_blocks import run_own, run_shared
from .packing import packing_of


class TextTower(nn.Module):
    """The text tower of a CLIP model: token embeddings in, text features out, with gradients for the embeddings.

    Nothing is computed that cannot matter. Sequences stop at their end token, from which the feature is read: the mask
    is causal, so that nothing behind it counts. A common start of all sequences is run once. In the last block only end
    tokens are computed. All of that is exact.

    Args:
        model (CLIP | CustomTextCLIP): Of open_clip, with its weights. It keeps its vision tower; :attr:`model` here is
            the same without it, on the same weights.
        chunk_size (int, optional): Classes that are run at a time. In training the activations of all chunks but the
            last are computed again on the way back: up to half more time, and memory for one chunk instead of all
            classes. Defaults to all classes at once.

    Raises:
        ValueError: If the text tower is no causal transformer that reads its feature from the end token.
    """

    def __init__(self, model: CLIP | CustomTextCLIP, chunk_size: int | None = None):
        super().__init__()
        text = _check_tower(model)
        self.chunk_size = chunk_size
        # The end token is the largest id, unless the tower says which one it is.
        self._end_id = _end_id(model, text) if _pool_type(model, text) == 'eos' else None
        self.model = _without_vision(model).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> TextTower:
        """Stay in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    @property
    def chunk_size(self) -> int | None:
        """int | None: Classes that are run at a time."""
        return self._chunk_size

    @chunk_size.setter
    def chunk_size(self, classes: int | None) -> None:
        """Set how many classes are run at a time, None for all at once; ValueError below 1."""
        if classes is not None and classes < 1:
            raise ValueError(f'chunk_size must be 1 or more classes, or None for all at once, but is {classes}')
        self._chunk_size = classes

    @property
    def text(self) -> nn.Module:
        """nn.Module: Owner of the text tower's parts in :attr:`model`."""
        return getattr(self.model, 'text', self.model)

    @property
    def blocks(self) -> nn.ModuleList:
        """nn.ModuleList: The transformer blocks."""
        return self.text.transformer.resblocks

    @property
    def depth(self) -> int:
        """int: Number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """int: Dimension of a token."""
        return self.text.positional_embedding.shape[1]

    @property
    def context_length(self) -> int:
        """int: Tokens that a text can have, start and end included."""
        return self.text.positional_embedding.shape[0]

    @property
    def embed_dims(self) -> int:
        """int: Dimension of the joint image and text space."""
        projection = self.text.text_projection
        return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the weights."""
        return self.text.positional_embedding.dtype

    @property
    def device(self) -> torch.device:
        """torch.device: Of the weights."""
        return self.text.positional_embedding.device

    def embed(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Look up token embeddings, without positions.

        Args:
            token_ids (Tensor): ``(C, L)``, integer.

        Returns:
            Tensor: ``(C, L, W)``.
        """
        return self.text.token_embedding(token_ids.to(self.device))

    def find_ends(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Find the end tokens, from which features are read.

        Args:
            token_ids (Tensor): ``(C, L)``, integer.

        Returns:
            Tensor: Position of each, ``(C,)``, int64.
        """
        if self._end_id is None:
            return token_ids.argmax(1)
        return (token_ids == self._end_id).int().argmax(1)

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Encode texts as they are; equal to open_clip's ``encode_text``, without what comes behind the end tokens.

        Args:
            token_ids (Tensor): ``(C, L)``, integer.

        Returns:
            Tensor: ``(C, D)``, not of unit norm.
        """
        ends = self.find_ends(token_ids).tolist()
        differs = (token_ids != token_ids[:1]).any(0).tolist()
        shared = min(differs.index(True) if True in differs else len(differs), *ends)
        return self(self.embed(token_ids[:, : max(ends) + 1]), ends, shared)

    def forward(
        self,
        embeddings: torch.Tensor,
        ends: Sequence[int] | torch.Tensor,
        shared: int = 0,
        deep: Mapping[int, tuple[int, torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """Encode sequences of embeddings.

        Args:
            embeddings (Tensor): ``(C, L, W)``, without positions, ``L`` at most :attr:`context_length`.
            ends (Sequence[int] | Tensor): Position of each end token, ``(C,)``. The host needs them: a tensor on a GPU
                makes it wait.
            shared (int): Leading positions that are equal for all classes, as the caller promises; they are taken from
                the first class. At most the first end's position.
            deep (Mapping[int, tuple[int, Tensor]], optional): For a block the position ``p`` and vectors ``(M, W)``, or
                ``(C, M, W)``, that take the place of positions ``p .. p + M - 1`` at its input; no positional embedding
                is added to them. Vectors ``(M, W)`` within the shared positions leave those shared; where vectors
                differ between the classes, the sharing ends at ``p`` from that block on.

        Returns:
            Tensor: Features ``(C, D)``, not of unit norm.

        Raises:
            ValueError: If ends, shared positions or deep vectors do not fit the embeddings.
        """
        ends, deep = _check_inputs(self, embeddings, ends, shared, deep or {})
        own, parts = self._start(embeddings, ends, shared, deep, False)
        size = self.chunk_size or len(ends)
        features = []
        for start in range(0, len(ends), size):
            rows = slice(start, start + size)
            chunk = own[rows], ends[rows], shared, parts, _chunk_of(deep, rows)
            # The way back starts with the last chunk, whose activations can therefore stay.
            if torch.is_grad_enabled() and rows.stop < len(ends):
                # With the random state: low-rank updates may drop inputs at random.
                features.append(checkpoint(self._encode_own, *chunk, use_reentrant=False))
            else:
                features.append(self._encode_own(*chunk))
        return features[0] if len(features) == 1 else torch.cat(features)

    def block_outputs(
        self,
        embeddings: torch.Tensor,
        ends: Sequence[int] | torch.Tensor,
        shared: int = 0,
        deep: Mapping[int, tuple[int, torch.Tensor]] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Run the same as :meth:`forward` and return the states between, to look at them.

        Args:
            embeddings (Tensor): As in :meth:`forward`, like the others.

        Yields:
            Tensor: Output of each block up to the last end token, ``(C, max(ends) + 1, W)``; behind the end token of a
            class they are zero.
        """
        ends, deep = _check_inputs(self, embeddings, ends, shared, deep or {})
        own, parts = self._start(embeddings, ends, shared, deep, True)
        for part, (row, packing) in zip(parts, self._run_own(own, ends, shared, parts, deep, True)):
            yield torch.cat([part.output.expand(len(ends), -1, -1), packing.to_grid(row)], 1)

    def _start(self, embeddings, ends, shared, deep, whole):
        """Add positions, and run what is shared through all blocks."""
        positions = self.text.positional_embedding.to(embeddings.dtype)
        tokens = embeddings[:1, :shared] + positions[:shared]
        own = embeddings[:, shared : max(ends) + 1] + positions[shared : max(ends) + 1]
        parts = []
        for index, block in enumerate(self.blocks):
            start, vectors = deep.get(index, (0, tokens[0, :0]))
            kept = min(start, tokens.shape[1]) if vectors.ndim == 3 else tokens.shape[1]
            if vectors.ndim == 2:
                tokens = _overwrite(tokens, start, vectors)
            tokens, leaving = tokens[:, :kept], tokens[:, kept:]
            parts.append(run_shared(block, tokens, leaving, whole or index < self.depth - 1))
            tokens = parts[-1].output
        return own, parts

    def _encode_own(self, own, ends, shared, parts, deep):
        *_, (ends_of_classes, _) = self._run_own(own, ends, shared, parts, deep, False)
        features, projection = normalize(self.text.ln_final, ends_of_classes), self.text.text_projection
        if isinstance(projection, nn.Linear):
            return linear(features, projection.weight, projection.bias)
        return linear(features, projection.t())

    def _run_own(self, own, ends, shared, parts, deep, whole):
        """Yield the classes' own tokens behind each block, and how they are packed."""
        packing = packing_of(tuple(end + 1 - shared for end in ends), own.device)
        row = packing.to_row(own[:, : packing.columns])
        for index, (block, part) in enumerate(zip(self.blocks, parts)):
            leaving = part.leaving.shape[1]
            if leaving or index in deep:
                grid = packing.to_grid(row)
                if leaving:
                    grid = torch.cat([part.leaving.expand(len(grid), -1, -1), grid], 1)
                    packing = packing.lengthened(leaving)
                start, vectors = deep.get(index, (0, grid[:, :0]))
                row = packing.to_row(_overwrite(grid, start - part.keys.shape[1], vectors))
            row = run_own(block, row, packing, part, not whole and index == self.depth - 1)
            yield row, packing


def _overwrite(tokens, start, vectors):
    """Put vectors in the place of tokens, as far as the tokens reach; ``start`` may be negative."""
    vectors = vectors[..., max(0, -start) : max(0, tokens.shape[1] - start), :].to(tokens.dtype)
    start, count = max(0, start), vectors.shape[-2]
    if not count:
        return tokens
    return torch.cat([tokens[:, :start], vectors.expand(len(tokens), -1, -1), tokens[:, start + count :]], 1)


def _chunk_of(deep, rows):
    return {index: (start, vectors[rows] if vectors.ndim == 3 else vectors) for index, (start, vectors) in deep.items()}


def _check_inputs(tower, embeddings, ends, shared, deep):
    ends = [int(end) for end in (ends.tolist() if isinstance(ends, torch.Tensor) else ends)]
    classes, length, width = embeddings.shape
    if width != tower.width or not 1 <= length <= tower.context_length or len(ends) != classes:
        raise ValueError(
            f'the text tower takes embeddings (C, L, {tower.width}), L up to {tower.context_length}, '
            f'and C ends, but got {tuple(embeddings.shape)} and {len(ends)} ends'
        )
    if not ends or not 0 <= shared <= min(ends) or max(ends) >= length:
        raise ValueError(
            f'end tokens must lie behind the {shared} shared positions and within {length} positions, '
            f'but they are at {min(ends, default=None)} to {max(ends, default=None)}'
        )
    for index, (start, vectors) in deep.items():
        leading = (classes,) if vectors.ndim == 3 else ()
        if not 0 <= index < tower.depth or start < 0 or vectors.shape != (*leading, vectors.shape[-2], width):
            raise ValueError(
                f'deep vectors of block {index} at position {start} are {tuple(vectors.shape)}; expected '
                f'are (M, {width}) or ({classes}, M, {width}) at 0 or later, of a block 0 to '
                f'{tower.depth - 1}'
            )
    return ends, deep


def _pool_type(model, text):
    return text.pool_type if text is not model else model.text_pool_type


def _end_id(model, text):
    return text.eos_id if text is not model else model.text_eos_id


def _without_vision(model):
    """Copy a model's shell: the same text modules and weights, no vision tower."""
    shell = copy.copy(model)
    shell._modules = {**model._modules, 'visual': None}
    return shell


def _check_tower(model):
    """Return the owner of the text tower's parts, or refuse the model."""
    supported = (
        'prompts are learned for causal text towers of open_clip that read the feature from the end token, '
        'such as those of ViT-B-32, ViT-B-16 and ViT-L-14'
    )
    if isinstance(model, CLIP):
        text = model
    elif isinstance(model, CustomTextCLIP) and isinstance(model.text, TextTransformer):
        text = model.text
    else:
        raise ValueError(f'{supported}, but this one is a {type(getattr(model, "text", model)).__name__}')
    pool_type = _pool_type(model, text)
    if getattr(text, 'cls_emb', None) is not None or pool_type not in ('argmax', 'eos'):
        raise ValueError(
            f'{supported}, but this one pools by '
            + ('a class token' if getattr(text, 'cls_emb', None) is not None else repr(pool_type))
        )
    length = len(text.positional_embedding)
    causal = torch.full((length, length), float('-inf')).triu(1)
    if text.attn_mask is None or not torch.equal(text.attn_mask.float().cpu(), causal):
        raise ValueError(f'{supported}, but the mask of this one is not causal')
    if text.text_projection is None:
        raise ValueError(f'{supported}, but this one has no output projection')
    for index, block in enumerate(text.transformer.resblocks):
        if type(block) is not ResidualAttentionBlock:
            raise ValueError(f'{supported}, but block {index} is a {type(block).__name__}')
    return text
