"""What metrics can ask of a prediction besides logits and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..losses.gram_align_loss import gram_distances

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures

_EXPECTED = "expected 'cls', 'layers', 'local' (p = 1) or 'local:<p>' with p of 1 or more, as 'local:2'"


class TestFeatures(NamedTuple):
    """Features of the pictures that predictions carry, all of them float32 on the CPU."""

    cls: bool = False
    """Unit-norm [CLS] of both branches."""
    layers: bool = False
    """[CLS] at the input of every tuned block through the pseudo-forward: tuned branch with tuned weights, frozen
    branch with frozen weights."""
    local: tuple[float, ...] = ()
    """Orders p of the local Gram distance. With it, all tokens pass through the last block, which changes the last bits
    of the logits."""

    @classmethod
    def of(cls, names: str | Sequence[str] | TestFeatures) -> TestFeatures:
        """Read them as a config writes them.

        Args:
            names (str | Sequence[str] | TestFeatures): Of ``'cls'``, ``'layers'``, ``'local'`` and ``'local:<p>'``.

        Returns:
            TestFeatures: All of them together.

        Raises:
            ValueError: For any other name.
        """
        if isinstance(names, cls):
            return names
        names = (names,) if isinstance(names, str) else tuple(names or ())
        orders = tuple(sorted({_order(name) for name in names} - {None}))
        return cls('cls' in names, 'layers' in names, orders)

    def __or__(self, other):
        """Return what either asks for."""
        return TestFeatures(self.cls or other.cls, self.layers or other.layers, tuple(sorted({*self.local, *other.local})))

    @property
    def beyond_cls(self) -> bool:
        """bool: Whether more than the last [CLS] of the frozen branch is needed."""
        return self.layers or bool(self.local)


NO_FEATURES = TestFeatures()


def write_features(samples: list[DataSample], features: BranchFeatures, wanted: TestFeatures) -> None:
    """Write features into data samples; tokens are reduced to their distances first.

    Args:
        samples (list[DataSample]): ``B`` samples.
        features (BranchFeatures): Of the same pictures, with what is wanted.
        wanted (TestFeatures): Decides which of these fields are set: ``tuned_features`` and ``zero_shot_features``
            ``(D,)``; ``tuned_layers`` and ``zero_shot_layers`` ``(S, D)``, row ``i`` from ``i + 1`` blocks before the
            end; ``local_gram_distances``, a dict from p to the mean ``|difference|^p`` of the Gram matrices of the
            picture's tokens, a float.
    """
    columns = {}
    if wanted.cls:
        columns.update(tuned_features=features.tuned[:, 0], zero_shot_features=features.zero_shot[:, 0])
    if wanted.layers:
        columns.update(
            tuned_layers=torch.stack(features.intermediate, dim=1),
            zero_shot_layers=torch.stack(features.zero_shot_intermediate, dim=1),
        )
    for name, column in columns.items():
        for sample, row in zip(samples, column.cpu()):
            sample.set_field(row, name)
    if wanted.local:
        distances = [gram_distances(features.tuned, features.zero_shot, p).tolist() for p in wanted.local]
        for sample, row in zip(samples, zip(*distances)):
            sample.set_field(dict(zip(wanted.local, row)), 'local_gram_distances')


def _order(name):
    """Return p of a name such as 'local:2', None for names without."""
    if name in ('cls', 'layers'):
        return None
    kind, _, order = str(name).partition(':')
    try:
        p = float(order) if ':' in str(name) else 1.0
    except ValueError:
        p = 0.0
    if kind != 'local' or not 1 <= p < float('inf'):
        raise ValueError(f'test_features holds {name!r}; {_EXPECTED}')
    return p


TestFeatures.__test__ = False  # pytest would take it for tests; in a NamedTuple it would look like a field
