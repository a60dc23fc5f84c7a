import runpy
import subprocess
import sys
from pathlib import Path

import naive_trainer
import numpy as np
import pytest
import torch

from mmpretrain_mps.evaluation.parity import compare
from mmpretrain_mps.models.computation.precision import float32_products

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / 'tests' / 'data' / 'golden.npz'


TOOL = ROOT / 'tools' / 'check_parity.py'


@pytest.mark.parametrize('flags', [[], ['--checkpointing']])
def test_every_recorded_number_of_the_released_trainer_is_reproduced(flags):
    done = subprocess.run([sys.executable, str(TOOL), str(GOLDEN), *flags], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(GOLDEN) as archive:
        compared = [
            name
            for name in archive.files
            if name.startswith(('out.', 'mid.', 'loss.', 'grad.', 'traj.', 'sched.')) and not name.endswith('_unused')
        ]
    assert len(compared) == 104
    assert f'{len(compared)} of {len(compared)} recorded arrays agree' in done.stdout
    assert all(name in done.stdout for name in compared)


@pytest.mark.parametrize(
    'name',
    [
        'out.test_logits',
        'loss.mar_local',
        'traj.total.sgd_lr0.002_m0.9_wd5e-4.rawtext.con0.5',
        'grad.total.rawtext.con0.5.cross_adapters.2.weight',
        'sched.tau.0.5to0.07.E10',
    ],
)
def test_a_number_that_is_off_is_noticed(name, tmp_path):
    with np.load(GOLDEN) as archive:
        arrays = dict(archive)
    arrays[name] = arrays[name] + np.float32(2e-3)
    np.savez(tmp_path / 'off.npz', **arrays)
    assert [row.name for row in compare(tmp_path / 'off.npz') if not row.passed] == [name]


def test_a_number_of_unknown_name_is_a_failure(tmp_path):
    with np.load(GOLDEN) as archive:
        arrays = dict(archive)
    arrays['out.unheard_of'] = arrays['out.logits']
    np.savez(tmp_path / 'more.npz', **arrays)
    assert [row.name for row in compare(tmp_path / 'more.npz') if not row.passed] == ['out.unheard_of']


@pytest.mark.parametrize(
    'sizes',
    [
        dict(),
        dict(depth=12, adapted=4, copied=4, width=32, heads=1, batch=3, classes=4, size=(16, 16), seed=1),
        dict(depth=6, adapted=1, copied=4, width=64, heads=8, batch=4, classes=3, taus=(0.2, 0.2, 0.4), gram_weight=2, seed=2),
    ],
)
def test_files_of_other_sizes_recorded_by_a_naive_trainer_agree(sizes, tmp_path):
    naive_trainer.record(tmp_path / 'naive.npz', **sizes)
    rows = list(compare(tmp_path / 'naive.npz'))
    assert len(rows) > 60 and all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize(
    'name, message',
    [
        ('text.npz', 'not readable'),
        ('other.npz', 'of none of the methods'),
        ('pickle.npz', 'not readable'),
        ('none.npz', 'does not exist'),
    ],
)
def test_files_that_are_no_recorded_numbers_end_in_one_clear_message(name, message, tmp_path, capsys, monkeypatch):
    (tmp_path / 'text.npz').write_text('no archive')
    np.savez(tmp_path / 'other.npz', a=np.zeros(2))
    np.savez(tmp_path / 'pickle.npz', a=np.array([{}], dtype=object))
    monkeypatch.setattr(sys, 'argv', ['check_parity.py', str(tmp_path / name)])
    assert runpy.run_path(str(TOOL))['main']() == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert message in error and name in error


@pytest.mark.parametrize(
    'method, name', [('coop', 'g16end.loss'), ('tcp', 'mid.prompt_embeddings'), ('clip_adapter', 'out.adapter.train')]
)
def test_a_file_that_lacks_an_array_says_which(method, name, tmp_path, capsys, monkeypatch):
    with np.load(ROOT / 'tests' / 'data' / 'methods' / f'{method}.npz') as archive:
        arrays = dict(archive)
    del arrays[name]
    np.savez(tmp_path / 'less.npz', **arrays)
    monkeypatch.setattr(sys, 'argv', ['check_parity.py', str(tmp_path / 'less.npz')])
    assert runpy.run_path(str(TOOL))['main']() == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and f"lacks the array '{name}'" in error


def test_a_gpu_that_is_not_there_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'argv', ['check_parity.py', str(GOLDEN), '--device', 'cuda'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL))['main']()
    assert '--device is cuda, but PyTorch sees no GPU here' in capsys.readouterr().err


# Those that find the numbers of attention heads, which rounding must not touch, and one that is told them.
@pytest.mark.parametrize('method', ['mps', 'coop', 'tip_adapter', 'clip_lora', 'tac'])
def test_rounding_computes_all_numbers_and_is_not_judged(method, capsys, monkeypatch):
    path = GOLDEN if method == 'mps' else GOLDEN.parent / 'methods' / f'{method}.npz'
    monkeypatch.setattr(sys, 'argv', ['check_parity.py', str(path), '--precision', 'bf16'])
    assert runpy.run_path(str(TOOL))['main']() == 0
    assert 'DIFFER' in capsys.readouterr().out


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'half', expected one of strict, tf32, bf16"):
        list(compare(GOLDEN, precision='half'))


def test_tensors_and_models_are_on_the_device_and_products_are_whole(monkeypatch):
    from mmpretrain_mps.evaluation.parity import mps

    seen = []

    def rows(golden):
        # The meta device holds no numbers, so that nothing can be computed on it, but says where a tensor would be.
        seen.append((golden.tensor('in.labels').device.type, torch.backends.cuda.matmul.allow_tf32))
        return iter(())

    monkeypatch.setattr(mps, 'rows', rows)
    with float32_products('tf32'):
        assert all(row.difference == float('inf') for row in compare(GOLDEN, device='meta', method='mps'))
        assert torch.backends.cuda.matmul.allow_tf32
    assert seen == [('meta', False)]
