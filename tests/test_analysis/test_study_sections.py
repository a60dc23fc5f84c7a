"""Studies and bounds in reports."""
import argparse
import json

import pytest
from mmpretrain_mps.analysis.bound_study import FIGURES, summarise_bounds, write_bounds
from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.report import sections_of
from mmpretrain_mps.analysis.study import (differences_table, figures_table, read_study_results, study_plots,
                                           study_sections)
from mmpretrain_mps.analysis.style import render
from mmpretrain_mps.benchmark.study import Choice, Column, Method, Study
from mmpretrain_mps.benchmark.study_tables import write_study
from mmpretrain_mps.benchmark.summary import spread_of


def run(method, shots, seed, accuracy, kept):
    return dict(recipe=method, config='config.py', dataset='Digits', shots=shots, seed=seed, select='last', epoch=50,
                train_pictures=10, test_pictures=100, hash=f'{method}{shots}{seed}',
                metrics={'accuracy/fused': accuracy, 'accuracy/zero_shot': 50., 'symbols': kept},
                seconds=dict(training=1., testing=1.))


@pytest.fixture
def folder(tmp_path):
    methods = [Method(name, label, 'config.py', {}, [{'lr': 1}, {'lr': 2}])
               for name, label in (('ce', 'cross-entropy'), ('mar', 'CE & MAR'))]
    columns = [Column('accuracy/fused', 'digits', 'higher', 'accuracy/zero_shot', 2),
               Column('symbols', 'symbols', 'higher', '', 2)]
    claims = [dict(text='alignment helps', method='mar', than='ce', metric='accuracy/fused')]
    study = Study('A study', 'ce', {}, dict(shots=4, seeds=[11], metric='accuracy/fused'), dict(shots=[1, 4], seeds=[1, 2]),
                  methods, columns, claims, ['accuracy/fused', 'symbols'])
    results = [run(name, shots, seed, 60. + gain + shots + seed, 70. + gain)
               for name, gain in (('ce', 0), ('mar', 2)) for shots in (1, 4) for seed in (1, 2)]
    choices = {method.name: Choice(1, {'lr': 2}, [spread_of([50.]), spread_of([60.])]) for method in methods}
    write_study(tmp_path, study, choices, [], results)
    return tmp_path


def test_a_report_of_a_study_has_claims_comparison_figures_and_selection(folder):
    arguments = argparse.Namespace(folder=str(folder), checkpoint=None, max_pictures=100, no_model=False, split='test')
    title, sections = sections_of(arguments)
    assert title == 'A study'
    assert [section.name for section in sections] == ['claims', 'comparison', 'shots-1', 'shots-4', 'selection']
    table = sections[0].parts[1]
    assert table.rows == [['alignment helps', 'CE & MAR against cross-entropy: digits', number, '+2.00 ± 0.00', 'holds']
                          for number in ('1', '4')]
    assert [plot.name for plot in plots_of(sections)] == ['study-shots', 'study-differences', 'study-trade-off']
    assert sections[-1].parts[1].rows[1] == ['cross-entropy', 'lr 2', '60.00', 'chosen']


def test_tables_are_computed_from_the_runs(folder):
    study = read_study_results(folder)
    # Seeds give 65 and 66: mean 65.5, standard deviation 0.71.
    assert figures_table(study, 4).rows == [['zero-shot', '50.00', '-'], ['cross-entropy', '65.50 ± 0.71', '70.00 ± 0.00'],
                                            ['CE & MAR', '67.50 ± 0.71', '72.00 ± 0.00']]
    assert differences_table(study, 4).rows == [['CE & MAR', '+2.00 ± 0.00', '+2.00 ± 0.00']]


@pytest.mark.parametrize('style', ['light', 'dark'])
def test_plots_are_drawn_for_both_kinds_of_pages_and_always_the_same(folder, style):
    for plot in study_plots(read_study_results(folder)):
        svg = render(plot, style, 'svg')
        assert svg.startswith(b'<?xml') and svg == render(plot, style, 'svg')
        assert render(plot, style, 'png').startswith(b'\x89PNG')


def test_a_study_with_one_number_of_shots_and_no_claims_has_what_there_is(folder):
    study = read_study_results(folder)
    study['summary'] = [row for row in study['summary'] if row['shots'] == 4]
    study = {**study, 'claims': [], 'trade_off': []}
    assert [section.name for section in study_sections(study)] == ['comparison', 'shots-4', 'selection']
    assert [plot.name for plot in study_plots(study)] == ['study-differences']


@pytest.mark.parametrize('text, message', [('{', 'is no JSON'), ('{"format": "x"}', "has the format 'x', expected"),
                                           ('[]', "has the format 'list'")])
def test_what_is_no_study_is_said(tmp_path, text, message):
    (tmp_path / 'study.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study_results(tmp_path)


def test_bounds_are_averaged_over_seeds_epoch_by_epoch_and_the_least_tightness_is_of_all(tmp_path):
    def course(tightness):
        return {name: [1., 2.] for name in FIGURES} | {'gw/tightness': tightness}

    courses = {'ce': {1: course([1., .5]), 2: course([.8, .9])}}
    summary = summarise_bounds(courses)['ce']
    assert summary['gw/tightness']['mean'] == pytest.approx([.9, .7]) and summary['tightness_least'] == .5
    assert summary['gw/bound'] == dict(mean=[1., 2.], std=[0., 0.])
    files = write_bounds(tmp_path, {'ce': 'cross-entropy'}, {'ce': {}}, courses)
    assert {file.suffix for file in files} == {'.json', '.png', '.svg'} and all(file.stat().st_size for file in files)
    assert json.loads(files[0].read_text())['summary']['ce']['tightness_least'] == .5
