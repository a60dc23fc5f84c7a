"""tools/analysis, as a user starts it."""

import argparse
import json

import pytest
from reported import cell, make_grid, make_study, write_records
from tiny_run import ROOT, call

from mmpretrain_mps.analysis import bound_study
from mmpretrain_mps.analysis.bound_study import FIGURES

TOOLS = ROOT / 'tools' / 'analysis'
REPORT, PLOTS, BOUND = (TOOLS / f'{name}.py' for name in ('report', 'plots', 'gromov_wasserstein'))


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / 'study')


def finish(folder):
    """Write what a training of two epochs leaves, with figures of the distance."""
    write_records(folder, *(dict(step=epoch, **dict.fromkeys(FIGURES, 0.5)) for epoch in (1, 2)))
    (next(folder.glob('*/vis_data')) / 'config.py').write_text('train_cfg = dict(max_epochs=2)')
    (folder / 'last_checkpoint').write_text('epoch_2.pth')


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """Trainings take processes of their own, and time."""

    def never(*_, **__):
        raise AssertionError('nothing was to be trained')

    # The name in this module alone: others ask the system for its processor in the same way.
    monkeypatch.setattr(bound_study, 'subprocess', argparse.Namespace(run=never))


def error_of(capsys):
    """Return the one message that a refused input ends with."""
    output = capsys.readouterr().err
    assert 'Traceback' not in output
    (message,) = (line for line in output.split('\n') if line.startswith('error: '))
    return message


def test_flags_choose_the_checkpoint_and_leave_the_model_out(digits_work_dir, tmp_path, capsys):
    (tmp_path / 'other.pth').write_bytes((digits_work_dir / 'epoch_2.pth').read_bytes())
    file = tmp_path / 'out' / 'page.html'
    assert call(REPORT, digits_work_dir, '--out', file, '--checkpoint', tmp_path / 'other.pth', '--no-model') == 0
    assert capsys.readouterr().out.endswith(f'written: {file}\n')
    text = file.read_text(encoding='utf-8')
    assert 'other.pth' in text and 'epoch_2.pth' not in text and 'Not shown: the model was not to be run.' in text


def test_flags_choose_the_pictures(digits_work_dir, tmp_path):
    for split in ('val', 'test'):
        assert (
            call(
                PLOTS, digits_work_dir, '--out', tmp_path / split, '--split', split, '--max-pictures', 30, '--only', 'gram-before'
            )
            == 0
        )
    # Classes are the same, pictures are not.
    first, second = ((tmp_path / split / 'gram-before-light.png').read_bytes() for split in ('val', 'test'))
    assert first != second


def test_plots_are_written_and_listed(study, tmp_path, capsys):
    assert call(PLOTS, study, '--out', tmp_path / 'plots', '--only', 'study-shots') == 0
    files = capsys.readouterr().out.split()
    assert files == [
        str(tmp_path / 'plots' / f'study-shots-{style}.{extension}')
        for style in ('light', 'dark')
        for extension in ('png', 'svg')
    ]
    assert all((tmp_path / 'plots' / file).is_file() for file in files)


@pytest.mark.parametrize(
    'command, message',
    [
        ((REPORT, 'nowhere'), 'folder nowhere does not exist'),
        ((REPORT, '{tmp}/empty'), 'is neither the work directory of a training'),
        ((REPORT, '{tmp}/study/study.json'), 'study.json is a file; expected the folder of a training, a grid or a study'),
        ((REPORT, '{tmp}/study', '--out', '{tmp}'), 'is a folder, expected a file to write'),
        ((REPORT, '{tmp}/grid', '--checkpoint', 'x.pth'), '--checkpoint is for the work directory of a training'),
        ((REPORT, '{tmp}/grid', '--max-pictures', '1'), '--max-pictures is 1, expected 2 or more'),
        ((PLOTS, '{tmp}/grid', '--only', 'tsne-after'), "gives no plot 'tsne-after'; it gives curves-0, recipes-0"),
        ((PLOTS, '{tmp}/study', '--out', '{tmp}/study/study.json'), 'is a file, expected a folder'),
        ((BOUND, '{tmp}/grid'), 'study.json does not exist'),
        ((BOUND, '{tmp}/study', '--methods', 'ce', 'hms'), "the study 'A study' has no method hms; it has ce, mar"),
        ((BOUND, '{tmp}/study', '--methods', 'ce', '--jobs', '0'), '--jobs is 0, expected 1 or more'),
        ((BOUND, '{tmp}/study', '--methods', 'ce', '--jobs', '-2'), '--jobs is -2, expected 1 or more'),
        ((BOUND, '{tmp}/study', '--methods', 'ce', '--config', 'nowhere.py'), 'config nowhere.py does not exist'),
    ],
)
def test_refused_input_ends_in_one_message_and_status_2(study, tmp_path, capsys, command, message):
    make_grid(tmp_path / 'grid', [cell(1, 1, 70.0)])
    (tmp_path / 'empty').mkdir()
    assert call(*(str(part).format(tmp=tmp_path) for part in command)) == 2
    assert message in error_of(capsys)
    assert not list(tmp_path.rglob('*.html')) and not list(tmp_path.rglob('*.png'))


@pytest.mark.parametrize('tool', [REPORT, PLOTS, BOUND])
def test_the_traceback_can_be_seen(tool, tmp_path):
    with pytest.raises(FileNotFoundError):
        call(tool, tmp_path / 'nowhere', '--traceback')


def test_what_is_trained_is_summarised_without_training_it_again(study, tmp_path, capsys):
    for method in ('ce', 'mar'):
        for seed in (1, 2):
            finish(tmp_path / 'runs' / f'{method}_4shots_seed{seed}')
    out = tmp_path / 'out'
    assert not call(BOUND, study, '--methods', 'ce', 'mar', '--seeds', 1, 2, '--work-dir', tmp_path / 'runs', '--out', out)
    told = capsys.readouterr().out
    assert told.count('done before') == 4 and f'written: {out / "bounds.json"}, ' in told
    content = json.loads((out / 'bounds.json').read_text())
    assert content['labels'] == dict(ce='cross-entropy', mar='CE & <MAR>') and content['options']['mar'] == {'lr': 2}
    assert list(content['courses']['mar']) == ['1', '2'] and content['summary']['ce']['gw/bound']['mean'] == [0.5, 0.5]


def test_a_training_that_fails_ends_in_its_own_words_and_status_1(study, tmp_path, capsys, monkeypatch):
    failed = argparse.Namespace(returncode=2, stderr='error: no such thing')
    monkeypatch.setattr(bound_study, 'subprocess', argparse.Namespace(run=lambda *_, **__: failed))
    assert call(BOUND, study, '--methods', 'ce', '--seeds', 1, '--work-dir', tmp_path / 'runs', '--out', tmp_path / 'out') == 1
    told = capsys.readouterr().err
    assert told.endswith('ce_4shots_seed1: training ended with status 2:\nerror: no such thing\n')
    assert told.startswith('FAILED: ') and not (tmp_path / 'out').exists()
