from itertools import product
from pathlib import Path

import pytest
import torch

from mmpretrain_mps.evaluation.parity import compare
from mmpretrain_mps.models.backbones.linear import force_onednn

GOLDEN = Path(__file__).resolve().parents[2] / 'data' / 'golden.npz'
COMPILE = dict(backend='eager', fullgraph=True)


@pytest.mark.parametrize(
    'onednn, checkpointing, compile, gather',
    [
        *product((False, True), (False, True), (None,), ('all', 'none')),
        (False, False, COMPILE, 'all'),
        (False, True, COMPILE, 'all'),
    ],
)
def test_options_that_change_the_cost_alone_keep_every_number(onednn, checkpointing, compile, gather):
    torch._dynamo.reset()
    options = dict(backbone=dict(checkpointing=checkpointing), compile=compile, gather=gather)
    with force_onednn(onednn):
        rows = list(compare(GOLDEN, options))
    assert len(rows) == 104
    assert not [row for row in rows if not row.passed]
