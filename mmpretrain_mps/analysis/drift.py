"""How far tuning has moved the weights, part by part."""

from functools import partial
from typing import NamedTuple

import torch

from ..benchmark.curves import colour_of
from ..models.backbones.dual_branch_vit import DualBranchViT
from .contents import Plot, Section, Table
from .style import panel

BAR_INCHES = 0.28
# Of the parts that are no blocks, those that come after them; the stem comes before.
AFTER_BLOCKS = ('ln_post', 'proj')


class Drift(NamedTuple):
    """Of one part of the tuned branch."""

    part: str
    change: float
    """Euclidean norm of the difference of all weights."""
    reference: float
    """Norm of the frozen weights: those that were copied; of an adapter those of the block that it stands beside."""
    adapter: bool

    @property
    def relative(self) -> float:
        """Change over reference."""
        return self.change / self.reference


@torch.no_grad()
def weight_drift(backbone: DualBranchViT) -> list[Drift]:
    """Compare the tuned branch with the frozen one, in the order of the network. Blocks are counted from 0."""
    blocks = backbone.zero_shot.transformer.resblocks
    first = len(blocks) - len(backbone.tuned.blocks)
    first_adapted = first - len(backbone.tuned.adapters)
    changes, references, adapters = {}, {}, []
    for name, (parameter, frozen) in backbone.frozen_counterparts().items():
        _, kind, *rest = name.split('.')
        if kind == 'adapters':
            block = first_adapted + int(rest[0])
            adapters.append(Drift(f'adapter {block}', _norm([parameter]), _norm(blocks[block].parameters()), True))
            continue
        part = f'block {first + int(rest[0])}' if kind == 'blocks' else kind
        changes.setdefault(part, []).append(parameter - frozen)
        references.setdefault(part, []).append(frozen)
    # By their order in the network, which is not that of their names.
    parts = [*(part for part in changes if part not in AFTER_BLOCKS), *AFTER_BLOCKS]
    return adapters + [Drift(part, _norm(changes[part]), _norm(references[part]), False) for part in parts]


def drift_section(backbone: DualBranchViT) -> Section:
    """Draw the relative change of each tuned part, and list it."""
    drifts = weight_drift(backbone)
    about = (
        'Norm of the change over the norm of the frozen weights. An adapter starts at zero; its norm is set against that of '
        'the frozen block beside which it stands. Blocks are counted from 0.'
    )
    rows = [[drift.part, f'{drift.change:.4g}', f'{drift.reference:.4g}', f'{100 * drift.relative:.2f} %'] for drift in drifts]
    headings = ['part', 'norm of the change', 'norm of the frozen weights', 'relative']
    plot = Plot('weight-drift', 'Change of the weights of each tuned part.', partial(_draw_drift, drifts))
    return Section('drift', 'Change of the weights', [about, plot, Table('Change of the weights', headings, rows)])


def _draw_drift(drifts):
    figure, axis = panel('Change of the weights', 'relative change (%)', size=(4.8, 1.2 + BAR_INCHES * len(drifts)))
    axis.grid(axis='y', visible=False)
    values = [100 * drift.relative for drift in drifts]
    bars = axis.barh(range(len(drifts)), values, color=[colour_of(int(drift.adapter)) for drift in drifts])
    axis.bar_label(bars, [f'{value:.3g}' for value in values], padding=3, fontsize=10)
    axis.set_yticks(range(len(drifts)), [drift.part for drift in drifts])
    axis.tick_params(axis='y', length=0)
    axis.invert_yaxis()
    axis.margins(x=0.16)
    return figure


def _norm(tensors):
    """Return the Euclidean norm of all entries together."""
    return float(sum(tensor.double().square().sum() for tensor in tensors).sqrt())
