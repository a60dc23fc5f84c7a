from pathlib import Path

import naive_tac
import numpy as np
import pytest

from mmpretrain_mps.evaluation.parity import compare, method_of_file

GOLDEN = Path(__file__).resolve().parents[2] / 'data' / 'methods' / 'tac.npz'


def change(folder, **changes):
    with np.load(GOLDEN) as archive:
        arrays = {**archive, **changes}
    np.savez(folder / 'changed.npz', **{name: value for name, value in arrays.items() if value is not None})
    return folder / 'changed.npz'


def test_every_recorded_number_of_the_released_trainer_is_reproduced():
    assert method_of_file(GOLDEN) == 'tac'
    rows = {row.name: row for row in compare(GOLDEN)}
    assert len(rows) == 95 and all(row.passed for row in rows.values()), [row for row in rows.values() if not row.passed]
    with np.load(GOLDEN) as archive:
        results = {name for name in archive.files if name.split('.')[0] in ('out', 'loss', 'grad', 'traj', 'avg', 'mid', 'init')}
    assert results < set(rows)


@pytest.mark.parametrize(
    'sizes',
    [
        dict(),
        dict(seed=1, size=(16, 8), vision=(48, 2, 3), text=(16, 4, 4), embed=16, classes=9, batch=1, views=1, n=10),
        dict(seed=2, size=(32, 8), vision=(32, 4, 1), text=(24, 1, 3), embed=24, classes=5, batch=3, views=2, n=1, epochs=2),
    ],
)
def test_files_of_other_sizes_recorded_by_a_naive_trainer_agree(sizes, tmp_path):
    naive_tac.record(tmp_path / 'naive.npz', **sizes)
    rows = list(compare(tmp_path / 'naive.npz'))
    assert len(rows) > 50 and all(row.passed for row in rows), [row for row in rows if not row.passed]


def test_numbers_that_are_off_are_noticed(tmp_path):
    with np.load(GOLDEN) as archive:
        off = {
            name: archive[name] + np.float32(2e-3)
            for name in ('loss.image', 'grad.VPT_topk_v.weight', 'avg.total', 'kmeans2.centers', 'mid.text_block1', 'avg.lr')
        }
    path = change(tmp_path, **off, **{'out.unheard_of': np.zeros(2, np.float32)})
    assert {row.name for row in compare(path) if not row.passed} == {*off, 'out.unheard_of'}


def test_a_file_that_lacks_an_input_or_whose_tower_is_another_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"changed.npz lacks the arrays \['in.images_original'\]"):
        list(compare(change(tmp_path, **{'in.images_original': None})))
    with np.load(GOLDEN) as archive:
        weights = archive['clip.visual.proj'].astype(np.float32) + 0.1
    with pytest.raises(ValueError, match='with no number of heads that divides the width 64 does the tower give'):
        list(compare(change(tmp_path, **{'clip.visual.proj': weights})))
