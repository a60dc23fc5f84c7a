"""The field's rule for drawing few-shot training and validation pictures.

The rule, under the name ``coop-1`` in index files: group the training items by label, labels in order of first
appearance; for every label draw ``num_shots`` items without replacement, or take all where there are not more; then
draw the validation items in the same way **from the same random stream**. Python's ``random.Random(seed)`` is that
stream. Only the number of items per label and the order of the items matter, so everything here works on labels and
returns positions.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

SAMPLING_RULE = 'coop-1'
MAX_VAL_SHOTS = 4


class FewShotPicks(NamedTuple):
    """Positions of the drawn items, in the order in which they were drawn.

    Attributes:
        train (list[int]): Positions in the training items.
        val (list[int]): Positions in the validation items; empty where there are none.
        short_classes (dict[int, int]): Label -> number of training items, for labels that have fewer than asked for.
            Labels without any item are unknown to the rule and not listed.
        short_val_classes (dict[int, int]): The same for the validation items.
    """

    train: list[int]
    val: list[int]
    short_classes: dict[int, int]
    short_val_classes: dict[int, int]


def few_shot_picks(
    labels: Sequence[int], num_shots: int, seed: int, val_labels: Sequence[int] = (), val_shots: int | None = None
) -> FewShotPicks:
    """Draw ``num_shots`` training and ``val_shots`` validation items per label.

    Args:
        labels (Sequence[int]): Label of every training item, in the order of the split.
        num_shots (int): Training items per label, at least 1.
        seed (int): Seed of the stream. Global random state is neither read nor changed.
        val_labels (Sequence[int]): Label of every validation item. Defaults to none.
        val_shots (int, optional): Validation items per label. Defaults to ``min(num_shots, 4)``.

    Returns:
        FewShotPicks: Positions in ``labels`` and in ``val_labels``.

    Raises:
        ValueError: If there is no training item, a number of shots is not a whole number of at least 1, or the seed not
            one of at least 0.
    """
    if len(labels) == 0:
        raise ValueError('Few-shot picks were asked from an empty list of training items, expected at least one item.')
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:  # Python's stream of -1 is that of 1
        raise ValueError(f'seed is {seed!r}, expected a whole number from 0 on: the picks must be repeatable.')
    _check_shots('num_shots', num_shots)
    val_shots = min(num_shots, MAX_VAL_SHOTS) if val_shots is None else val_shots
    _check_shots('val_shots', val_shots)

    rng = random.Random(seed)
    train, short_classes = _draw(labels, num_shots, rng)
    val, short_val_classes = _draw(val_labels, val_shots, rng)  # the order of the two draws is part of the rule
    return FewShotPicks(train, val, short_classes, short_val_classes)


def _draw(labels, num_shots, rng):
    """Draw up to ``num_shots`` positions per label and tell which labels had fewer."""
    positions = {}  # dicts keep the order of first appearance
    for position, label in enumerate(labels):
        positions.setdefault(int(label), []).append(position)
    picks = []
    for members in positions.values():
        picks.extend(rng.sample(members, num_shots) if len(members) >= num_shots else members)
    short = {label: len(members) for label, members in positions.items() if len(members) < num_shots}
    return picks, short


def _check_shots(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'{name} is {value!r}, expected a whole number of at least 1.')
