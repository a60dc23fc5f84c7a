"""Curves of a training, and of the distance that alignment bounds."""

import pytest
from mmengine.config import Config
from reported import drawn, lines_of, texts_of, write_records

from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.training import gw_section, training_section
from mmpretrain_mps.analysis.work_dir import read_work_dir

LOSSES = dict(
    loss=6.0,
    loss_ce=3.0,
    loss_gram_global=2.0,
    loss_sculpt_layer0=0.5,
    loss_sculpt_layer2=0.25,
    loss_point_cls=0.25,
    loss_logit_kl=0.75,
    loss_of_mine=0.5,
)


def plots(section):
    return {plot.name: plot for plot in plots_of([section])}


@pytest.fixture
def work_dir(tmp_path):
    records = []
    for epoch in (1, 2):
        figures = {name: value / epoch for name, value in LOSSES.items()}
        records += [
            dict(
                step=2 * epoch,
                iter=2 * epoch,
                epoch=epoch,
                lr=0.1 / epoch,
                temperature=0.2,
                grad_norm=1.0 * epoch,
                acc_fused=50.0,
                **figures,
            ),
            {'step': epoch, 'accuracy/fused': 60.0 + epoch, 'accuracy/zero_shot': 55.0},
        ]
    return read_work_dir(write_records(tmp_path, *records))


def test_every_term_is_drawn_under_a_readable_name_and_their_sum_apart_from_them(work_dir):
    section = training_section(work_dir)
    assert list(plots(section)) == [
        'losses',
        'temperature',
        'learning-rate',
        'gradient-norm',
        'training-accuracy',
        'validation-accuracy',
    ]
    lines = lines_of(plots(section)['losses'])
    assert {label: (y, style) for label, (_, y, style) in lines.items()} == {
        'sum of all terms': ([6.0, 3.0], '--'),
        'cross-entropy': ([3.0, 1.5], '-'),
        'alignment, global': ([2.0, 1.0], '-'),
        'sculpting, layer 0 (output)': ([0.5, 0.25], '-'),
        'sculpting, layer 2': ([0.25, 0.125], '-'),
        'points held, [CLS]': ([0.25, 0.125], '-'),
        'consistency of logits': ([0.75, 0.375], '-'),
        'loss of mine': ([0.5, 0.25], '-'),
    }
    assert all(x == [1.0, 2.0] for x, _, _ in lines.values())
    (axis,) = drawn(plots(section)['learning-rate']).axes
    assert axis.get_xlabel() == 'epoch' and list(axis.lines[0].get_ydata()) == [0.1, 0.05]


def test_accuracies_are_drawn_of_the_branches_that_there_are(work_dir):
    shown = plots(training_section(work_dir))
    assert lines_of(shown['validation-accuracy']) == {
        'fused': ([1, 2], [61.0, 62.0], '-'),
        'zero-shot': ([1, 2], [55.0, 55.0], '--'),
    }
    (axis,) = drawn(shown['training-accuracy']).axes
    assert list(axis.lines[0].get_ydata()) == [50.0, 50.0] and axis.get_ylabel() == 'accuracy (%)'


def test_a_training_without_a_log_or_a_validation_is_told_so(tmp_path):
    section = training_section(read_work_dir(tmp_path))
    assert plots(section) == {}
    assert texts_of(section) == [f'No curves: there is no log of scalars (*/vis_data/scalars.json) in {tmp_path.name}.']
    section = training_section(read_work_dir(write_records(tmp_path, dict(step=1, iter=1, lr=0.1))))
    assert list(plots(section)) == ['learning-rate']
    assert texts_of(section) == ['No accuracy on validation pictures: no validation has been logged.']


@pytest.mark.parametrize('planned, told', [(10, True), (2, False)])
def test_a_training_that_is_not_at_its_end_is_told_so(work_dir, planned, told):
    work_dir = work_dir._replace(config=Config(dict(train_cfg=dict(max_epochs=planned))))
    assert (
        texts_of(training_section(work_dir))
        == ['The training has not come to its end: epoch 2 of 10 is the last one logged.'] * told
    )


def test_a_training_by_iterations_with_an_empty_config_has_its_curves(tmp_path):
    work_dir = read_work_dir(write_records(tmp_path, dict(step=5, iter=5, loss=1.0)))._replace(config=Config(dict()))
    (axis,) = drawn(plots(training_section(work_dir))['losses']).axes
    assert axis.get_xlabel() == 'iteration' and list(axis.lines[0].get_xdata()) == [5]


def test_without_figures_of_the_distance_it_is_said_how_to_get_them(work_dir):
    section = gw_section(work_dir)
    assert plots(section) == {}
    assert 'add dict(type="GromovWassersteinDistance") to val_evaluator' in texts_of(section)[0]


def test_the_distance_is_drawn_so_that_the_bound_is_seen_where_both_are_equal(tmp_path):
    records = [{'step': epoch, 'gw/bound': 0.2, 'gw/exact': 0.2 / epoch, 'gw/tightness': 1 / epoch} for epoch in (1, 2)]
    section = gw_section(read_work_dir(write_records(tmp_path, *records)))
    assert lines_of(plots(section)['gw-bound']) == {
        'bound: identity as coupling': ([1, 2], [0.2, 0.2], '-'),
        'distance: best coupling found': ([1, 2], [0.2, 0.1], '--'),
    }
    (axis,) = drawn(plots(section)['gw-tightness']).axes
    assert list(axis.lines[0].get_ydata()) == [1.0, 0.5] and axis.figure.legends == []
