"""Every recorded number of the methods on frozen features, files of other sizes, and what is off is noticed."""

from pathlib import Path

import naive_adapters
import numpy as np
import pytest

from mmpretrain_mps.evaluation.parity import compare, method_of_file

FILES = Path(__file__).resolve().parents[2] / 'data' / 'methods'


@pytest.mark.parametrize('method, count', [('clip_adapter', 36), ('tip_adapter', 49), ('amu_tuning', 93)])
def test_every_recorded_number_of_the_released_code_is_reproduced(method, count):
    path = FILES / f'{method}.npz'
    rows = list(compare(path))
    assert method_of_file(path) == method and len(rows) == count
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize('method, count', [('clip_adapter', 18), ('tip_adapter', 28), ('amu_tuning', 24)])
@pytest.mark.parametrize('seed', [0, 1])
def test_files_of_other_sizes_recorded_by_plain_formulas_agree(method, count, seed, tmp_path):
    getattr(naive_adapters, f'record_{method}')(tmp_path / 'naive.npz', seed=seed)
    rows = list(compare(tmp_path / 'naive.npz'))
    assert len(rows) >= count and [row for row in rows if not row.passed] == []


# The least of what an array of its kind could be off.
@pytest.mark.parametrize(
    'method, name, step',
    [
        ('clip_adapter', 'traj.ratio0.6.after_step2.fc.2.weight', 1e-5),
        ('clip_adapter', 'grad.ratio0.2.fc.0.weight', 1e-3),
        ('tip_adapter', 'search.B.best', 1.0),
        ('tip_adapter', 'search.tip.accuracy', 5.0),
        ('tip_adapter', 'selected.A.keys', 1e-4),
        ('tip_adapter', 'out.cache_values', 1.0),
        ('amu_tuning', 'out.energy.factor.test', 1e-3),
        ('amu_tuning', 'loss.C.loss_aux', 1e-3),
    ],
)
def test_a_number_that_is_off_is_noticed(method, name, step, tmp_path):
    with np.load(FILES / f'{method}.npz') as archive:
        arrays = dict(archive)
    arrays[name] = arrays[name].astype(np.float32) + np.float32(step)
    np.savez(tmp_path / 'off.npz', **arrays)
    assert [row.name for row in compare(tmp_path / 'off.npz') if not row.passed] == [name]


def test_a_clip_whose_features_are_others_is_refused(tmp_path):
    with np.load(FILES / 'tip_adapter.npz') as archive:
        arrays = dict(archive)
    arrays['out.test_features'] = arrays['out.test_features'][::-1]
    np.savez(tmp_path / 'off.npz', **arrays)
    with pytest.raises(ValueError, match='with no number of heads that divides the width 64'):
        list(compare(tmp_path / 'off.npz'))
