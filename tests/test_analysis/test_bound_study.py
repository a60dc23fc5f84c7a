"""The distance beside its bound over trainings: which are run, how, and what is made of them."""

import argparse
import json
import subprocess
import time

import pytest
from reported import drawn, rim, write_records

from mmpretrain_mps.analysis import bound_study
from mmpretrain_mps.analysis.bound_study import (
    FIGURES,
    bound_plots,
    courses_of,
    run_training,
    run_trainings,
    settings_of,
    summarise_bounds,
    write_bounds,
)
from mmpretrain_mps.analysis.style import render
from mmpretrain_mps.utils.option_values import Typed, with_values

STUDY = dict(
    study='A study',
    choices=dict(
        ce=dict(label='cross-entropy', options={'model.gram_loss.loss_weight': 0.0, 'lr': 1}, chosen={'lr': 2}),
        mar=dict(label='MAR', options={}, chosen={}),
    ),
)
# A method's name has no blank to be broken at; such labels need a legend of one column.
LABELS = dict(ce='cross-entropy', mar='an_alignment_that_has_a_rather_long_name')


def course(bound=(0.1, 0.2), tightness=(1.0, 0.5)):
    exact = [one * other for one, other in zip(bound, tightness)]
    return {
        **{name: [1.0] * len(bound) for name in FIGURES},
        'gw/bound': list(bound),
        'gw/exact': exact,
        'gw/tightness': list(tightness),
    }


def finished(folder, validations=2, epochs=2, **figures):
    """Write what a training leaves of which some validations have been logged; return its folder."""
    figures = figures or dict.fromkeys(FIGURES, 0.5)
    write_records(folder, *(dict(step=number + 1, **figures) for number in range(validations)))
    (next(folder.glob('*/vis_data')) / 'config.py').write_text(f'train_cfg = dict(max_epochs={epochs})')
    (folder / 'last_checkpoint').write_text('epoch_2.pth')
    return folder


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'config.py').write_text('')
    return tmp_path / 'config.py'


def start_with(monkeypatch, function):
    """Let a function stand in for the start of a training, and of nothing else."""
    monkeypatch.setattr(bound_study, 'subprocess', argparse.Namespace(run=function))


@pytest.fixture
def commands(monkeypatch):
    """Commands and environments of the trainings that would be started."""
    started = []

    def start(command, env, **_):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 0, '', '')

    start_with(monkeypatch, start)
    return started


def never(*_, **__):
    raise AssertionError('nothing was to be trained')


def test_settings_are_the_method_s_own_and_what_validation_chose():
    assert settings_of(STUDY, ['ce']) == (dict(ce='cross-entropy'), dict(ce={'model.gram_loss.loss_weight': 0.0, 'lr': 2}))
    study = dict(
        study='A study',
        choices=dict(
            STUDY['choices'], mar=dict(label='MAR', options={'s': 0}, chosen={'lr': 3, 'model.gram_loss.loss_weight': 4.0})
        ),
    )
    assert settings_of(study, ['ce', 'mar'], 'mar')[1] == dict(
        ce={'lr': 1, 'model.gram_loss.loss_weight': 0.0}, mar={'lr': 3, 'model.gram_loss.loss_weight': 4.0, 's': 0}
    )
    with pytest.raises(ValueError, match='has no method full; it has ce, mar'):
        settings_of(STUDY, ['ce'], 'full')
    with pytest.raises(ValueError, match="the study 'A study' has no method hms, full; it has ce, mar"):
        settings_of(STUDY, ['ce', 'hms', 'full'])


def test_only_a_training_at_its_end_with_figures_of_every_epoch_has_courses(tmp_path):
    assert courses_of(finished(tmp_path / 'whole')) == {name: [0.5, 0.5] for name in FIGURES}
    assert courses_of(finished(tmp_path / 'half', validations=1)) == {}
    assert courses_of(finished(tmp_path / 'other', **{'accuracy/fused': 1.0})) == {}
    assert courses_of(tmp_path) == {}


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    start_with(monkeypatch, never)
    told = []
    run_training('config.py', {}, finished(tmp_path), told.append)
    assert told == [f'{tmp_path}: done before']


def test_options_reach_the_training_as_the_flag_reads_them(tmp_path, commands):
    options = {'lr': 0.02, 'depths': [0, 0, 12], 'stem': True, 'distance': 'l1', 'loss': None, 'seed': 3}
    with pytest.raises(ValueError, match='not every epoch has figures gw/'):
        run_training('config.py', options, tmp_path, never, threads=3)
    ((command, environment),) = commands
    assert environment['OMP_NUM_THREADS'] == '3' and environment['PATH']
    assert command[2:6] == ['config.py', '--work-dir', str(tmp_path), '--cfg-options']
    assert command[-1] == '--overwrite'
    read = {name: Typed(text) for name, text in (change.split('=', 1) for change in command[6:-1])}
    assert with_values({}, read) == options


def test_a_training_that_fails_ends_the_others_before_they_begin(tmp_path, config, monkeypatch):
    started = []

    def fail(command, **_):
        started.append(command)
        if len(started) > 1:
            time.sleep(0.05)  # no training ends at once
        return subprocess.CompletedProcess(command, 2, '', 'x' * 3000 + '\nerror: no such data')

    start_with(monkeypatch, fail)
    runs = [({'seed': seed}, tmp_path / str(seed)) for seed in range(50)]
    with pytest.raises(RuntimeError, match=r'(?s)0: training ended with status 2:\nx{1900}.*error: no such data'):
        run_trainings(config, runs, 1, never)
    assert len(started) < 50


def test_trainings_are_all_run_and_told_of(tmp_path, config):
    told = []
    runs = [({}, finished(tmp_path / name)) for name in 'abc']
    run_trainings(config, runs, 2, told.append)
    assert sorted(told) == [f'{tmp_path / name}: done before' for name in 'abc']


@pytest.mark.parametrize('jobs', [0, -1])
def test_no_training_at_a_time_is_refused(config, jobs, monkeypatch):
    monkeypatch.setattr(bound_study, 'run_training', never)
    with pytest.raises(ValueError, match=f'--jobs is {jobs}, expected 1 or more'):
        run_trainings(config, [({}, 'x')], jobs, never)


def test_a_missing_config_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(bound_study, 'run_training', never)
    with pytest.raises(FileNotFoundError, match=r'gone\.py does not exist$'):
        run_trainings(tmp_path / 'gone.py', [({}, 'x')], 1, never)


def test_bounds_are_averaged_over_seeds_epoch_by_epoch_and_the_least_tightness_is_of_all():
    courses = {'ce': {1: course(tightness=[1.0, 0.5]), 2: course(tightness=[0.8, 0.9])}}
    summary = summarise_bounds(courses)['ce']
    assert summary['gw/tightness']['mean'] == pytest.approx([0.9, 0.7]) and summary['tightness_least'] == 0.5
    assert summary['gw/bound'] == dict(mean=[0.1, 0.2], std=[0.0, 0.0])


def test_the_file_and_the_plots_are_the_same_for_the_same_courses(tmp_path):
    courses = {'ce': {1: course(), 2: course()}, 'mar': {1: course(bound=(0.001, 0.002))}}
    first, second = (write_bounds(tmp_path / name, LABELS, {'ce': {}, 'mar': {}}, courses) for name in 'ab')
    assert [file.name for file in first] == [
        'bounds.json',
        *(f'{plot}-{style}.{kind}' for plot in ('bound', 'tightness') for style in ('light', 'dark') for kind in ('png', 'svg')),
    ]
    nan = write_bounds(tmp_path / 'c', LABELS, {'ce': {}}, {'ce': {1: {**course(), 'gw/entropic': [float('nan')] * 2}}})
    assert json.loads(nan[0].read_text())['courses']['ce']['1']['gw/entropic'] == [None, None]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    content = json.loads(first[0].read_text())
    assert content['summary']['ce']['tightness_least'] == 0.5
    assert content['courses']['mar']['1']['gw/bound'] == [0.001, 0.002]
    assert content['labels'] == LABELS and content['machine']['cores'] and content['versions']['torch']


def test_distance_and_bound_are_drawn_and_nothing_is_cut_off():
    plot, other = bound_plots(LABELS, summarise_bounds({'ce': {1: course()}, 'mar': {1: course(bound=(0.001, 0.002))}}))
    (axis,) = drawn(other).axes
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines] == [
        ([0.1, 0.2], [1, 0.5]),
        ([0.001, 0.002], [1, 0.5]),
    ]
    (axis,) = drawn(plot).axes
    assert [list(line.get_ydata()) for line in axis.lines] == [[0.1, 0.1], [0.1, 0.2], [0.001, 0.001], [0.001, 0.002], []]
    (legend,) = axis.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*LABELS.values(), 'bound']
    axis.figure.draw_without_rendering()
    ticks = [label.get_text() for label in axis.get_yticklabels() + axis.get_yticklabels(minor=True)]
    assert '1e\N{MINUS SIGN}02' in ticks and not any('$' in text for text in ticks)
    assert rim(render(plot, 'dark', 'png')) == {(0x16, 0x19, 0x1D)}
