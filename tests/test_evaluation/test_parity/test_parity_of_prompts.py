"""Recorded numbers of the released trainers of CoOp and TCP."""

from pathlib import Path

import naive_prompts
import numpy as np
import pytest

from mmpretrain_mps.evaluation.parity import compare, method_of_file

FILES = {name: Path(__file__).resolve().parents[2] / 'data' / 'methods' / f'{name}.npz' for name in ('coop', 'tcp')}
GIVEN = {
    'coop': lambda name: (
        name.startswith(('clip.', 'in.', 'table.', 'meta.')) or name.endswith(('.ctx', '.token_ids', '.name_lens'))
    ),
    'tcp': lambda name: name.startswith(('clip.', 'in.', 'hp.')),
}


def changed(path, folder, **arrays):
    with np.load(path) as archive:
        np.savez(folder / 'changed.npz', **{**archive, **arrays})
    return folder / 'changed.npz'


@pytest.mark.parametrize('name', FILES)
def test_every_recorded_number_of_the_released_trainer_is_reproduced(name):
    with np.load(FILES[name]) as archive:
        results = {array for array in archive.files if not GIVEN[name](array)}
    rows = list(compare(FILES[name]))
    assert method_of_file(FILES[name]) == name
    assert {row.name for row in rows} - {'in.eot'} == results and len(results) == {'coop': 68, 'tcp': 34}[name]
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize('record', ['coop', 'tcp'])
@pytest.mark.parametrize(
    'sizes',
    [dict(), dict(seed=1, classes=3, batch=4, text=(20, 5, 4), vision=(24, 3, 3), patch=16, image=48, dims=9, context=30)],
)
def test_files_of_other_sizes_recorded_by_a_naive_trainer_agree(record, sizes, tmp_path):
    more = dict(number=3, block=2) if sizes and record == 'tcp' else {}
    getattr(naive_prompts, f'record_{record}')(tmp_path / 'naive.npz', **sizes, **more)
    rows = list(compare(tmp_path / 'naive.npz'))
    assert len(rows) > 30 and all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize(
    'name, off',
    [
        ('coop', ['g4init.ctx_words', 'c3mid.prompt_embeddings', 'g16end.wd5.traj_ctx', 'sched.lr0.002.E100']),
        ('tcp', ['mid.text_block8', 'out.new_test_logits', 'loss.kg', 'traj.final.adam_eps1e-3.ctx', 'sched.lr.E25']),
    ],
)
def test_numbers_that_are_off_or_of_unknown_name_are_noticed(name, off, tmp_path):
    arrays = {'out.unheard_of': np.ones(2)}
    with np.load(FILES[name]) as archive:
        for array in off:
            arrays[array] = archive[array].astype(np.float32)
            arrays[array].flat[-1] += 2e-2 if 'logits' in array else 1e-3
    rows = compare(changed(FILES[name], tmp_path, **arrays))
    assert {row.name for row in rows if not row.passed} == set(arrays)


def test_another_context_or_weight_is_noticed(tmp_path):
    naive_prompts.record_tcp(tmp_path / 'naive.npz')
    for arrays, noticed in (({'hp.inject_block': np.array(2)}, 'out.text'), ({'hp.kg_weight': np.float32(1)}, 'loss.total')):
        rows = list(compare(changed(tmp_path / 'naive.npz', tmp_path, **arrays)))
        assert noticed in [row.name for row in rows if not row.passed]
    naive_prompts.record_coop(tmp_path / 'naive.npz')
    with np.load(tmp_path / 'naive.npz') as archive:
        front = archive['meta.c'].copy()
    front[2] = 2
    rows = compare(changed(tmp_path / 'naive.npz', tmp_path, **{'meta.c': front}))
    failed = [row.name for row in rows if not row.passed]
    assert 'c.text_features' in failed and all(name.startswith('c.') for name in failed)
