"""A study from its file to its tables."""

import argparse
import json
import re
import runpy
import sys

import pytest
import yaml
from made_up_results import put_results
from tiny_digits import ROOT, write_config

from mmpretrain_mps import __version__
from mmpretrain_mps.benchmark import execution, study_command
from mmpretrain_mps.benchmark.execution import Shard

STUDY = dict(
    config='tiny_digits.py',
    baseline='ce',
    title='Tiny',
    selection=dict(shots=1, seeds=[11], metric='accuracy/fused', options={'test_dataloader.dataset.subset': 'val'}),
    report=dict(shots=[1], seeds=[1, 2], targets=False),
    methods=dict(
        ce=dict(
            options={'model.gram_loss.loss_weight': 0.0, 'model.sculpt_loss.loss_weight': 0.0},
            candidates=[{'optim_wrapper.optimizer.lr': 1e-3}, {'optim_wrapper.optimizer.lr': 1e-2}],
        ),
        full=dict(candidates=[{'model.gram_loss.loss_weight': 0.5}, {'model.gram_loss.loss_weight': 1.0}]),
    ),
    columns=[dict(metric='accuracy/fused', title='fused', zero_shot='accuracy/zero_shot')],
    claims=[dict(text='both are better', method='full', than='ce', metric='accuracy/fused')],
)


@pytest.fixture(autouse=True)
def trusting(monkeypatch):
    """The studies here name a config in Python that lies beside them."""
    monkeypatch.setenv('MMPRETRAIN_MPS_TRUST', '1')


def write_study(folder, more='', **changes):
    write_config(folder, epochs=1, more=more)
    path = folder / 'study.yaml'
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


def run(study, work_dir, **flags):
    lines = []
    defaults = dict(
        out=None,
        methods=None,
        against=None,
        reuse=[],
        jobs=2,
        devices=['cpu'],
        executor='local',
        slurm=None,
        shard=Shard(),
        keep_checkpoints=False,
    )
    arguments = argparse.Namespace(study=str(study), work_dir=str(work_dir), **{**defaults, **flags})
    return study_command.run(arguments, lines.append), '\n'.join(lines)


@pytest.mark.slow
def test_methods_choose_are_tested_and_a_second_call_runs_nothing(tmp_path):
    study = write_study(tmp_path)
    status, text = run(study, tmp_path / 'out')
    assert status == 0 and text.count('4 runs in') == 2 and '| both are better' in text
    content = json.loads((tmp_path / 'out' / 'study.json').read_text())
    assert [(cell['recipe'], cell['seed']) for cell in content['cells']] == [('ce', 1), ('ce', 2), ('full', 1), ('full', 2)]
    selection = json.loads((tmp_path / 'out' / 'selection.json').read_text())['cells']
    assert {cell['seed'] for cell in selection} == {11}
    # 899 digits to test on, 355 to validate on: what was chosen by is not what is reported.
    assert {cell['test_pictures'] for cell in selection} == {355}
    assert {cell['test_pictures'] for cell in content['cells']} == {899}
    again, text = run(study, tmp_path / 'out', out=str(tmp_path / 'tables'), against=str(tmp_path / 'out'))
    assert again == 0 and text.count('4 cells, 4 done before, 0 to run') == 2
    assert text.endswith('2 of 2 means lie within the 95 % interval of the earlier one, 2 are equal run by run')
    assert (tmp_path / 'tables' / 'study.md').read_bytes() == (tmp_path / 'out' / 'study.md').read_bytes()


def test_shards_of_a_study_report_once_all_have_selected(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, 'run_cells', put_results)
    monkeypatch.setattr(put_results, 'ran', [])
    study, folder = write_study(tmp_path), tmp_path / 'out'
    first, second = Shard(1, 2), Shard(2, 2)
    status, told = run(study, folder, shard=first)
    assert status == 0 and told.endswith(
        '2 of 4 cells have no result yet: the shard that comes last goes on, or a call without --shard'
    )
    assert len(put_results.ran) == 2 and not (folder / 'report').exists()
    assert run(study, folder, shard=second)[0] == 0  # selects the rest, and has begun to report
    assert len(put_results.ran) == 6 and not (folder / 'study.json').exists()
    status, told = run(study, folder, shard=first)
    assert status == 0 and 'written: ' in told and len(put_results.ran) == 8
    assert len(json.loads((folder / 'study.json').read_text())['cells']) == 4


def test_a_method_is_added_to_an_earlier_study_without_running_the_others_again(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, 'run_cells', put_results)
    monkeypatch.setattr(put_results, 'ran', [])
    assert run(write_study(tmp_path), tmp_path / 'out')[0] == 0 and len(put_results.ran) == 8
    figures = json.loads((tmp_path / 'out' / 'study.json').read_text())['cells']
    put_results.ran.clear()
    full = dict(candidates=[{'model.gram_loss.loss_weight': 2.0}, STUDY['methods']['full']['candidates'][1]])
    study = write_study(tmp_path, methods={'mine': STUDY['methods']['full'], **STUDY['methods'], 'full': full})
    # Equal configs are one run by whatever name; of "full", the first candidate is another one, and the one that is chosen.
    status, told = run(study, tmp_path / 'new', reuse=[str(tmp_path / 'out')])
    assert status == 0 and [cell.recipe for cell in put_results.ran] == ['full.1', 'full', 'full']
    assert 'selection: 5 of 6 runs are taken from ' in told
    # The results of this test say of no version that they are of it.
    assert f'report: 4 of 6 runs are taken from {tmp_path / "out"}, made by another version; this is {__version__}\n' in told
    taken = {(cell['recipe'], cell['seed']): cell for cell in json.loads((tmp_path / 'new' / 'study.json').read_text())['cells']}
    for cell in figures:
        name = {'ce': 'ce', 'full': 'mine'}[cell['recipe']]
        assert taken[name, cell['seed']] == {**cell, 'recipe': name}


def test_tables_to_take_runs_from_that_are_none_are_refused_before_any_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing/study.json does not exist'):
        run(write_study(tmp_path), tmp_path / 'out', reuse=[str(tmp_path / 'nothing')])
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_some_methods_can_be_run_alone(tmp_path):
    status, text = run(write_study(tmp_path), tmp_path / 'out', methods=['ce'])
    assert status == 0 and '2 runs in' in text and 'full' not in text and 'both are better' not in text


def test_an_earlier_study_that_is_none_is_refused_before_any_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing/study.json does not exist'):
        run(write_study(tmp_path), tmp_path / 'out', against=str(tmp_path / 'nothing'))
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_what_is_done_is_kept(tmp_path):
    methods = {**STUDY['methods'], 'broken': dict(candidates=[{'optim_wrapper.optimizer.lr': 1e300}, {'model.head.alpha': 0.5}])}
    status, text = run(write_study(tmp_path, methods=methods), tmp_path / 'out')
    assert status == 1 and 'FAILED: tiny_digits broken.1' in text and 'cannot be converted' in text
    assert len(list((tmp_path / 'out' / 'selection').glob('*/*/result.json'))) == 5
    assert not (tmp_path / 'out' / 'report').exists() and not (tmp_path / 'out' / 'study.json').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(selection={**STUDY['selection'], 'metric': 'acuracy/fused'}),
            "study.yaml asks for 'acuracy/fused', which tiny_dig",
        ),
        (dict(columns=[*STUDY['columns'], dict(metric='gram/globl', title='g')]), "asks for 'gram/globl', which .*ce, 1 shot"),
    ],
)
def test_a_figure_that_nothing_measures_is_found_by_the_first_run(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(write_study(tmp_path, **changes), tmp_path / 'out')
    last = tmp_path / 'out' / ('selection' if 'selection' in changes else 'report')
    assert len(list(last.glob('*/*/result.json'))) == 1


@pytest.mark.slow
def test_figures_that_differ_from_earlier_ones_end_with_status_1(tmp_path):
    study = write_study(tmp_path)
    assert run(study, tmp_path / 'out')[0] == 0
    file = tmp_path / 'out' / 'study.json'
    content = json.loads(file.read_text())
    for cell in content['cells']:
        cell['metrics']['accuracy/fused'] = 100 + cell['seed'] / 100
    (tmp_path / 'before').mkdir()
    (tmp_path / 'before' / 'study.json').write_text(json.dumps(content))
    status, text = run(study, tmp_path / 'out', against=str(tmp_path / 'before'))
    assert status == 1 and '0 of 2 means lie within' in text and 'outside: ce, 1 shots, fused: 100.015 ± 0.064 before' in text


def test_a_missing_target_is_refused_before_any_run(tmp_path):
    more = "test_cfg = dict(type='DomainGeneralizationLoop', targets=dict(a=dict(type='CLIPImageNetA', data_root='/no')))"
    study = write_study(tmp_path, more, report={**STUDY['report'], 'targets': True})
    with pytest.raises(FileNotFoundError, match='what the study needs is not all there: ImageNet-A below /no'):
        run(study, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_choosing_by_test_pictures_is_refused_before_any_run(tmp_path):
    selection = {key: value for key, value in STUDY['selection'].items() if key != 'options'}
    with pytest.raises(ValueError, match='settings would be chosen by test pictures'):
        run(write_study(tmp_path, selection=selection), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'flags, message',
    [
        ([str(ROOT / 'no.yaml')], 'study .*no.yaml does not exist'),
        ([str(ROOT / 'configs' / 'studies' / 'letters.yaml'), '--jobs', '0'], 'jobs is 0, expected 1 or more'),
    ],
)
def test_the_tool_ends_in_one_message(tmp_path, monkeypatch, capfd, flags, message):
    monkeypatch.setattr(sys, 'argv', ['compare_methods.py', *flags, '--work-dir', str(tmp_path / 'out')])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / 'tools' / 'compare_methods.py'), run_name='__main__')
    error = capfd.readouterr().err
    assert exit_.value.code == 2 and 'Traceback' not in error
    assert re.search(message, error)
