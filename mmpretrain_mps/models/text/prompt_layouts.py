"""Where learned context vectors stand in a prompt."""

import torch

POSITIONS = ('end', 'middle', 'front')


def context_template(num_context: int, template: str = '{}.') -> str:
    """Write a template with placeholders of one token each, in whose place a context is then put.

    Args:
        num_context (int): ``M``, 1 or more.
        template (str): What follows the context.

    Returns:
        str: ``'X X {}.'`` for two.

    Raises:
        ValueError: If there is no context vector.
    """
    if num_context < 1:
        raise ValueError(f'a prompt needs 1 or more context vectors, but got {num_context}')
    return ' '.join(['X'] * num_context + [template])


def num_shared_positions(context: torch.Tensor, position: str = 'end') -> int:
    """Count the leading positions that are equal for all classes, the promise of ``shared`` to the text tower.

    Args:
        context (Tensor): Generic ``(M, W)`` or class-specific ``(C, M, W)``.
        position (str): One of :data:`POSITIONS`.

    Returns:
        int: The start token, and the generic context before the name.
    """
    return 1 + (_num_before_name(context.shape[-2], position) if context.ndim == 2 else 0)


def insert_context(
    embeddings: torch.Tensor, name_lengths: torch.Tensor | None, context: torch.Tensor, position: str = 'end'
) -> torch.Tensor:
    """Put context vectors in the place of the placeholders of tokenised prompts.

    A tokenised prompt is ``[SOS] X .. X name . [END]`` with ``M`` placeholders. The name goes behind the context
    (``'end'``), between its first ``M // 2`` vectors and the others (``'middle'``), or before it (``'front'``); the
    full stop stays behind both, and the end token where it was. `Learning to Prompt for Vision-Language Models
    <https://arxiv.org/abs/2109.01134>`_.

    Args:
        embeddings (Tensor): Of the tokenised prompts ``(C, L, W)``, without positions.
        name_lengths (Tensor | None): Tokens of each name alone, ``(C,)``, integer; ``'end'`` needs none.
        context (Tensor): ``(M, W)`` for all classes, or ``(C, M, W)``.
        position (str): One of :data:`POSITIONS`.

    Returns:
        Tensor: ``(C, L, W)``.

    Raises:
        ValueError: If the position is unknown or the shapes do not fit.
    """
    classes, length, width = embeddings.shape
    num_context = context.shape[-2]
    expected = (num_context, width) if context.ndim == 2 else (classes, num_context, width)
    if context.shape != expected or num_context >= length:
        raise ValueError(
            f'prompts {tuple(embeddings.shape)} take a context (M, {width}) or ({classes}, M, {width}), '
            f'M below {length}, but got {tuple(context.shape)}'
        )
    before = _num_before_name(num_context, position)
    context = context.to(embeddings.dtype).expand(classes, -1, -1)
    if position == 'end':
        return torch.cat([embeddings[:, :1], context, embeddings[:, 1 + num_context :]], 1)
    places = torch.arange(length, device=embeddings.device)
    behind_name = before + name_lengths.to(embeddings.device)[:, None]
    # Context vectors are taken from behind the prompt's own positions.
    sources = torch.where((places > before) & (places <= behind_name), places + num_context - before, places)
    sources = torch.where((places > 0) & (places <= before), length - 1 + places, sources)
    is_after = (places > behind_name) & (places <= behind_name - before + num_context)
    sources = torch.where(is_after, length - 1 + places - behind_name + before, sources)
    return torch.cat([embeddings, context], 1).gather(1, sources[..., None].expand(-1, -1, width))


def _num_before_name(num_context, position):
    if position not in POSITIONS:
        raise ValueError(f'position must be one of {POSITIONS}, but is {position!r}')
    return {'end': num_context, 'middle': num_context // 2, 'front': 0}[position]
