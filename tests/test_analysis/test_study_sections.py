"""Studies in reports."""

import json

import pytest
from reported import cell, drawn, flags, lines_of, make_study

from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.report import sections_of
from mmpretrain_mps.analysis.study import differences_table, figures_table, study_plots, study_sections
from mmpretrain_mps.analysis.style import render
from mmpretrain_mps.benchmark.study_results import read_study_results


@pytest.fixture
def folder(tmp_path):
    return make_study(tmp_path, label='CE & MAR')


def test_a_report_of_a_study_has_claims_comparison_figures_and_selection(folder):
    title, sections = sections_of(flags(folder))
    assert title == 'A study'
    assert [section.name for section in sections] == [
        'claims',
        'comparison',
        'shots-1',
        'shots-4',
        'selection',
        'config',
        'environment',
    ]
    table = sections[0].parts[1]
    assert table.rows == [
        ['alignment helps', 'holds', number, '+2.00 ± 0.00', 'CE & MAR against cross-entropy: digits'] for number in ('1', '4')
    ]
    assert [plot.name for plot in plots_of(sections)] == ['study-shots', 'study-differences', 'study-trade-off']
    assert sections[4].parts[1].rows[1] == ['cross-entropy', 'lr 2', '60.00', 'chosen']


def test_tables_are_computed_from_the_runs(folder):
    study = read_study_results(folder)
    # Seeds give 65 and 66: mean 65.5, standard deviation 0.71.
    assert figures_table(study, 4).rows == [
        ['zero-shot', '60.00', '-'],
        ['cross-entropy', '65.50 ± 0.71', '70.00 ± 0.00'],
        ['CE & MAR', '67.50 ± 0.71', '72.00 ± 0.00'],
    ]
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
    assert [section.name for section in study_sections(study)] == ['comparison', 'shots-4', 'selection', 'config', 'environment']
    assert [plot.name for plot in study_plots(study)] == ['study-differences']


@pytest.mark.parametrize(
    'text, message', [('{', 'is no JSON'), ('{"format": "x"}', "has the format 'x', expected"), ('[]', "has the format 'list'")]
)
def test_what_is_no_study_is_said(tmp_path, text, message):
    (tmp_path / 'study.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study_results(tmp_path)


def test_a_folder_without_a_study_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'study\.json does not exist \(looked from .*\); tools/compare_meth'):
        read_study_results(tmp_path)


def plots(study):
    return {plot.name: plot for plot in study_plots(study)}


def test_the_curves_show_the_baseline_and_what_claims_are_about(folder):
    lines = lines_of(plots(read_study_results(folder))['study-shots'])
    assert lines['cross-entropy'][:2] == ([0, 1], [62.5, 65.5]) and lines['CE & MAR'][:2] == ([0, 1], [64.5, 67.5])
    assert lines['zero-shot'] == ([0, 1], [60.0, 60.0], '--')


def test_the_curves_show_what_claims_compare_with(folder):
    study = read_study_results(folder)
    study['choices']['other'] = dict(study['choices']['mar'], label='another')
    study['claims'] = [dict(study['claims'][0], method='mar', than='other')]
    study['cells'] += [cell(shots, 1, 50.0 + shots, 'other') for shots in (1, 4)]
    lines = lines_of(plots(study)['study-shots'])
    assert set(lines) == {'cross-entropy', 'CE & MAR', 'another', 'zero-shot'} and lines['another'][:2] == ([0, 1], [51.0, 54.0])


def test_a_claim_about_a_method_that_the_study_lacks_is_said(folder):
    content = json.loads((folder / 'study.json').read_text())
    content['claims'][0]['than'] = 'lost'
    (folder / 'study.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="claims names 'lost', which is none of ce, mar"):
        read_study_results(folder)


def test_differences_are_drawn_with_their_intervals_from_the_first_method_down(tmp_path):
    study = read_study_results(make_study(tmp_path))
    study['choices']['other'] = dict(study['choices']['mar'], label='another')
    # Seeds differ by 1 and 3 from cross-entropy: mean 2, interval 2 -+ 12.7062 * 1.
    study['cells'] += [cell(4, seed, 65.0 + seed + gain, 'other', symbols=70.0) for seed, gain in ((1, 0.0), (2, 2.0))]
    (axis,) = drawn(plots(study)['study-differences']).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ['another', 'CE & <MAR>']
    shown = {container.lines[0].get_ydata()[0]: container for container in axis.containers}
    assert [shown[place].lines[0].get_xdata()[0] for place in (1, 0)] == pytest.approx([2.0, 2.0])
    low, high = shown[0].lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_methods_without_both_figures_are_left_out_of_the_trade_off(folder):
    study = read_study_results(folder)
    for result in study['cells']:
        if result['recipe'] == 'mar':
            del result['metrics']['symbols']
    (axis,) = drawn(plots(study)['study-trade-off']).axes
    assert list(axis.get_legend_handles_labels()[1]) == ['zero-shot', 'cross-entropy']
    assert (axis.get_xlabel(), axis.get_ylabel()) == ('digits', 'symbols')
    assert figures_table(study, 4).rows[2] == ['CE & MAR', '67.50 ± 0.71', '-']
    assert differences_table(study, 4).rows == [['CE & MAR', '+2.00 ± 0.00', '-']]


def test_one_seed_has_figures_without_spread(folder):
    study = read_study_results(folder)
    study['cells'] = [result for result in study['cells'] if result['seed'] == 1]
    assert figures_table(study, 1).rows[1:] == [['cross-entropy', '62.00', '70.00'], ['CE & MAR', '64.00', '72.00']]
    assert differences_table(study, 1).rows == [['CE & MAR', '+2.00', '+2.00']]
    for plot in study_plots(study):
        assert render(plot, 'light', 'png').startswith(b'\x89PNG')


def test_a_claim_that_nothing_tells_of_has_no_difference(folder):
    study = read_study_results(folder)
    study['claims'] = [{**study['claims'][0], 'difference': None, 'half_width': None, 'verdict': 'cannot be told'}]
    row = study_sections(study)[0].parts[1].rows[0]
    assert (row[1], row[3]) == ('cannot be told', '-')
