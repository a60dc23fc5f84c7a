from pathlib import Path

import naive_textrefiner
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.evaluation.parity import compare
from mmpretrain_mps.models.adapters.text_refiner import LocalCache

GOLDEN = Path(__file__).resolve().parents[2] / 'data' / 'methods' / 'textrefiner.npz'
SIZES = [
    dict(),
    dict(
        width=80,
        heads=5,
        depth=4,
        size=48,
        text_width=48,
        text_heads=3,
        text_depth=5,
        length=77,
        embed=24,
        batch=8,
        classes=7,
        others=9,
        n_ctx=2,
        cache_size=12,
        alpha=0.3,
        momentum=0.6,
        top_k=3,
        divisor=10.0,
        weight=5.0,
        log_scale=3.5,
        steps=2,
        epochs=20,
        seed=1,
    ),
    dict(
        width=16,
        depth=1,
        patch=4,
        size=16,
        text_width=16,
        text_heads=1,
        text_depth=1,
        embed=40,
        batch=2,
        classes=3,
        n_ctx=7,
        cache_size=60,
        top_k=16,
        log_scale=2.0,
        seed=2,
    ),
]


def test_every_recorded_number_of_the_released_trainer_is_reproduced():
    rows = list(compare(GOLDEN))
    with np.load(GOLDEN) as archive:
        recorded = {name for name in archive.files if not name.startswith(('clip.', 'in.', 'hp.'))}
    assert len(recorded) == 56 and recorded <= {row.name for row in rows}
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize('sizes', SIZES, ids=['small', 'as wide as others', 'tiny'])
def test_files_of_other_sizes_recorded_by_a_naive_trainer_agree(sizes, tmp_path):
    naive_textrefiner.record(tmp_path / 'naive.npz', **sizes)
    rows = list(compare(tmp_path / 'naive.npz'))
    assert len(rows) == 57 and all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.fixture
def small(tmp_path):
    naive_textrefiner.record(tmp_path / 'naive.npz', **SIZES[2])
    with np.load(tmp_path / 'naive.npz') as archive:
        return dict(archive)


def test_numbers_that_are_off_or_unknown_are_noticed(small, tmp_path):
    off = [
        'out.top_patches',
        'out.assignment',
        'out.cache_after_write',
        'out.bn_running_var',
        'grad_semantic.ctx',
        'traj.final.align.conv1.bias',
        'traj_wd0.25.final.align.bn.bias',
        'traj.weighted_terms',
        'sched.lr.E10',
        'out.unheard_of',
    ]
    for name in off:
        values = small.get(name, small['out.logits'])
        step = 1 if values.dtype.kind == 'i' else 1e-3 * max(1, abs(values).max())
        small[name] = values + np.asarray(step, values.dtype)
    np.savez(tmp_path / 'off.npz', **small)
    assert {row.name for row in compare(tmp_path / 'off.npz') if not row.passed} == set(off)


def test_a_file_without_what_everything_hangs_on_is_refused(small, tmp_path):
    del small['hp.alpha']
    np.savez(tmp_path / 'less.npz', **small)
    with pytest.raises(ValueError, match="lacks the arrays \\['hp.alpha'\\]"):
        list(compare(tmp_path / 'less.npz'))


def write_mean(cache, features):
    """A cache that averages, as momentum updates usually do."""
    features = F.normalize(features, dim=-1)
    nearest, weights = cache.assign(features)
    for index, entry in enumerate(cache.entries):
        mine = nearest == index
        if mine.any():
            mean = (weights[mine, None] * features[mine]).sum(0) / weights[mine].sum()
            entry.copy_(F.normalize(cache.momentum * entry + (1 - cache.momentum) * mean, dim=0))


def test_a_cache_that_averages_is_noticed(monkeypatch):
    monkeypatch.setattr(LocalCache, 'write', torch.no_grad()(write_mean))
    failed = {row.name for row in compare(GOLDEN) if not row.passed}
    assert {'out.cache_after_write', 'traj.cache_after_step', 'traj.test_logits_after'} <= failed
    assert 'out.logits' not in failed
