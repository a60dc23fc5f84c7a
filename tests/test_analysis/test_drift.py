"""How far weights have moved: by hand, part by part."""

import math

import pytest
import torch
from reported import drawn
from tiny_clip import save_tiny_clip
from tiny_steps import build_shaken

from mmpretrain_mps.analysis.drift import drift_section, weight_drift


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('drift') / 'clip')


@torch.no_grad()
def untouched(architecture, **backbone):
    """Return a backbone whose tuned weights are those that it starts with."""
    backbone = build_shaken(architecture, backbone=backbone, gram_loss=None, sculpt_loss=None).backbone
    for parameter, frozen in backbone.frozen_counterparts().values():
        parameter.copy_(frozen)
    return backbone


def test_before_the_first_step_nothing_has_moved(architecture):
    drifts = weight_drift(untouched(architecture, group_depths=(1, 2, 3)))
    # Six blocks: one shared, two with adapters, three tuned.
    assert [drift.part for drift in drifts] == ['adapter 1', 'adapter 2', 'block 3', 'block 4', 'block 5', 'ln_post', 'proj']
    assert all(drift.change == drift.relative == 0 < drift.reference for drift in drifts)
    assert [drift.part for drift in drifts if drift.adapter] == ['adapter 1', 'adapter 2']


def test_a_change_is_the_euclidean_norm_over_that_of_the_frozen_weights(architecture):
    backbone = untouched(architecture, group_depths=(1, 2, 3))
    with torch.no_grad():
        backbone.tuned.proj += 0.5
        backbone.tuned.blocks[1].ln_1.bias += 2.0
        backbone.tuned.adapters[0].weight.fill_(0.25)
    drifts = {drift.part: drift for drift in weight_drift(backbone)}
    tower = backbone.zero_shot
    # (16, 8) entries of 0.5; 16 of 2; (16, 16) of 0.25.
    assert drifts['proj'].change == pytest.approx(0.5 * math.sqrt(128), rel=1e-5)
    assert drifts['proj'].reference == pytest.approx(tower.proj.norm().item(), rel=1e-5)
    assert drifts['block 4'].change == pytest.approx(8.0, rel=1e-5)
    assert drifts['block 4'].reference == pytest.approx(
        math.sqrt(sum(p.square().sum().item() for p in tower.transformer.resblocks[4].parameters())), rel=1e-5
    )
    assert drifts['adapter 1'].change == pytest.approx(4.0) and drifts['adapter 1'].relative == pytest.approx(
        4 / math.sqrt(sum(p.square().sum().item() for p in tower.transformer.resblocks[1].parameters())), rel=1e-5
    )
    assert all(drifts[name].change == 0 for name in drifts.keys() - {'proj', 'block 4', 'adapter 1'})


def test_a_tuned_stem_comes_before_the_blocks(architecture):
    drifts = weight_drift(untouched(architecture, group_depths=(0, 0, 6), tune_stem=True))
    assert [drift.part for drift in drifts] == ['stem', *(f'block {index}' for index in range(6)), 'ln_post', 'proj']


def test_the_plot_and_the_table_show_the_same_in_percent(architecture):
    backbone = untouched(architecture, group_depths=(1, 2, 3))
    with torch.no_grad():
        backbone.tuned.proj *= 1.5
    _, plot, table = drift_section(backbone).parts
    assert table.rows[-1][0] == 'proj' and table.rows[-1][-1] == '50.00 %' and table.rows[0][-1] == '0.00 %'
    (axis,) = drawn(plot).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [row[0] for row in table.rows]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.0] * 6 + [50.0], abs=1e-3)
    assert axis.yaxis_inverted()  # the first part is on top
