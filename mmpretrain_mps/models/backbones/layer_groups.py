"""A named, ordered and complete partition of a model's parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def check_partition(named_parameters: Iterable[tuple[str, nn.Parameter]], groups: Mapping[str, Iterable[nn.Parameter]]) -> None:
    """Check that every parameter belongs to exactly one group.

    Args:
        named_parameters (Iterable[tuple[str, Parameter]]): All parameters of the model with their names.
        groups (Mapping[str, Iterable[Parameter]]): The groups by name.

    Raises:
        ValueError: If a parameter is in no group or in several; the message lists the first of them.
    """
    owners = {}
    for group, parameters in groups.items():
        for parameter in parameters:
            owners.setdefault(id(parameter), []).append(group)
    faults = []
    for name, parameter in named_parameters:
        found = owners.get(id(parameter), [])
        if len(found) != 1:
            faults.append(f'{name} ({"in no group" if not found else "in " + " and ".join(found)})')
    if faults:
        raise ValueError(
            f'every parameter must belong to exactly one of the groups {tuple(groups)}, but '
            f'{len(faults)} do not: {", ".join(faults[:5])}{", ..." if len(faults) > 5 else ""}'
        )


def set_trainable(groups: Mapping[str, Iterable[nn.Parameter]], trainable: Collection[str]) -> None:
    """Let gradients flow into the named groups alone; may be called any number of times.

    Args:
        groups (Mapping[str, Iterable[Parameter]]): The groups by name.
        trainable (Collection[str]): Names of the groups that are tuned; all others are frozen.

    Raises:
        ValueError: If a name in ``trainable`` is not a group.
    """
    unknown = set(trainable) - set(groups)
    if unknown:
        raise ValueError(f'unknown parameter groups {sorted(unknown)}; there are {tuple(groups)}')
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(name in trainable)


def split_depth(num_blocks: int, group_depths: Sequence[int] | None = None) -> tuple[int, int, int]:
    """Settle how many blocks are shared, adapted and tuned.

    Args:
        num_blocks (int): Number of blocks of the network.
        group_depths (Sequence[int], optional): Blocks of the shared trunk, of the adapted part and of the tuned part.
            Defaults to thirds, as the paper has them for 12 blocks; a remainder goes to the trunk.

    Returns:
        tuple[int, int, int]: The three depths; they sum to ``num_blocks``.

    Raises:
        ValueError: If the depths are not three non-negative integers with that sum and at least one tuned block.
    """
    if group_depths is None:
        third = num_blocks // 3
        group_depths = (num_blocks - 2 * third, third, third)
    depths = tuple(group_depths)
    valid = len(depths) == 3 and all(isinstance(d, int) and d >= 0 for d in depths)
    if not valid or sum(depths) != num_blocks or depths[2] < 1:
        raise ValueError(
            f'group_depths must be three counts (trunk, adapted, tuned >= 1) that sum to the {num_blocks} '
            f'blocks of this network, but got {group_depths!r}'
        )
    return depths
