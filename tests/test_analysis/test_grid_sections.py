"""Grids in reports: what is done, what is missing, what tuning adds."""

import json

import pytest
from reported import cell, drawn, make_grid, texts_of

from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.grid import grid_sections, is_grid, read_grid
from mmpretrain_mps.benchmark.cell_process import Failure
from mmpretrain_mps.benchmark.grid import Cell
from mmpretrain_mps.benchmark.tables import write_results

# Zero-shot is 60: tuning adds 10 and 14 on average 12 with 1 shot, 20 with 4.
RESULTS = [cell(1, 1, 70.0), cell(1, 2, 74.0), cell(4, 1, 80.0), cell(4, 2, 80.0)]


def sections(folder):
    return {section.name: section for section in grid_sections(read_grid(folder))}


def plots(section):
    return {plot.name: plot for plot in plots_of([section])}


def bars(plot):
    """Return shots -> mean of every bar, from the legend."""
    (axis,) = drawn(plot).axes
    return {
        label: [bar.get_width() for bar in handle.patches]
        for handle, label in zip(*axis.get_legend_handles_labels())
        if hasattr(handle, 'patches')
    }


def test_a_finished_grid_has_all_sections(tmp_path):
    found = sections(make_grid(tmp_path, RESULTS))
    assert list(found) == ['cells', 'accuracy', 'curves', 'recipes', 'separability', 'config', 'environment']
    assert texts_of(found['cells']) == ['4 cells are done, 0 missing, 0 failed.']
    fused = found['accuracy'].parts[1]
    # Mean 72 and standard deviation 2.83; the quantile for 1 degree of freedom is 12.7062: 12.7062 * 2 = 25.41.
    assert fused.rows == [
        ['MPS-Tuning', '0', '60.00'],
        ['MPS-Tuning', '1', '72.00 ± 2.83 [46.59, 97.41]'],
        ['MPS-Tuning', '4', '80.00 ± 0.00 [80.00, 80.00]'],
    ]
    assert found['config'].parts[0].rows == [['Digits', 'mps_Digits.py', '-', '1, 4', '1, 2', '50', '100', '-']]
    assert found['environment'].parts[0].rows == [['cores', '2'], ['gpu', 'None'], ['torch', '2.0']]
    assert texts_of(found['separability'])[0].startswith('The runs with 4 shots have no figures separability/...')


def test_curves_and_gains_show_the_means_over_seeds(tmp_path):
    found = sections(make_grid(tmp_path, RESULTS))
    (curve,) = plots(found['curves']).values()
    (axis,) = drawn(curve).axes
    assert axis.get_title() == 'Digits' and list(axis.lines[0].get_ydata()) == [72.0, 80.0]
    assert 'with the 95 % interval of the mean as a band' in curve.caption
    assert bars(plots(found['recipes'])['recipes-0']) == {'1 shot': [12.0], '4 shots': [20.0]}


def test_targets_and_several_data_sets_have_plots_of_their_own_and_of_their_mean(tmp_path):
    target = {'mnist/accuracy/fused': 50.0, 'mnist/accuracy/zero_shot': 45.0}
    results = [cell(1, 1, 70.0 + 10 * number, dataset=name, **target) for number, name in enumerate(('A', 'B'))]
    found = sections(make_grid(tmp_path, results))
    assert list(plots(found['curves'])) == ['curves-0', 'curves-1', 'curves-2', 'curves-target-0']
    gains = plots(found['recipes'])
    assert [bars(gains[name])['1 shot'] for name in gains] == [[10.0], [20.0], [15.0], [5.0]]
    assert gains['recipes-2'].caption.startswith('What tuning adds to zero-shot CLIP on the mean of all data sets')


def test_recipes_are_told_apart_by_name_and_by_their_options(tmp_path):
    results = [cell(1, 1, 70.0, recipe='ce'), {**cell(1, 1, 75.0, recipe='full'), 'options': dict(num_shots=1, lr=0.1)}]
    found = sections(make_grid(tmp_path, results))
    plot = plots(found['recipes'])['recipes-0']
    assert bars(plot) == {'1 shot': [10.0, 15.0]}
    assert [text.get_text() for text in drawn(plot).axes[0].texts] == ['ce', 'full']
    assert [row[-1] for row in found['config'].parts[0].rows] == ['-', 'lr=0.1']


def test_many_recipes_have_no_bands(tmp_path):
    results = [cell(shots, seed, 70.0, recipe=f'recipe {index}') for index in range(5) for shots in (1, 4) for seed in (1, 2)]
    (curve,) = plots(sections(make_grid(tmp_path, results))['curves']).values()
    assert 'intervals stand in the tables' in curve.caption and drawn(curve).axes[0].collections[:] == []


def test_separation_is_that_of_the_runs_with_the_most_shots(tmp_path):
    results = [
        cell(shots, seed, 70.0, **{'separability/tuned/output/silhouette': float(shots + seed)})
        for shots in (1, 4)
        for seed in (1, 3)
    ]
    (plot,) = sections(make_grid(tmp_path, results))['separability'].parts
    assert plot.caption.endswith('Mean of 2 runs.')
    assert list(drawn(plot).axes[0].lines[0].get_ydata()) == [6.0]


def test_long_intervals_do_not_make_the_bars_tiny(tmp_path):
    # Two seeds with gains of 0 and 2: the 95 % interval is 1 -+ 12.7.
    (axis,) = drawn(plots(sections(make_grid(tmp_path, [cell(1, 1, 60.0), cell(1, 2, 62.0)]))['recipes'])['recipes-0']).axes
    assert axis.get_xlim() == pytest.approx((-1.05, 2.05))


def test_missing_and_failed_cells_are_named_once(tmp_path):
    cells = [Cell('a.py', '', shots, 1, {}, 'last', False, key) for shots, key in ((1, RESULTS[0]['hash']), (4, 'x'), (8, 'y'))]
    write_results(tmp_path, cells, RESULTS[:1], [Failure(cells[1], 'out of <memory>', '')])
    assert texts_of(sections(tmp_path)['cells']) == [
        '1 cells are done, 1 missing, 1 failed.',
        'Missing: a, 8 shots, seed 1.',
        'Failed: a, 4 shots, seed 1: out of <memory>',
    ]


def test_a_grid_without_accuracies_of_both_branches_or_machines_says_so(tmp_path):
    result = cell(1, 1, 70.0)
    del result['metrics']['accuracy/zero_shot'], result['machine'], result['versions']
    found = sections(make_grid(tmp_path, [result]))
    assert texts_of(found['recipes']) == ['The results have no accuracies of fused and zero-shot predictions to compare.']
    assert texts_of(found['environment']) == ['The results do not say on what they were made.']


def test_machines_that_differ_are_all_told(tmp_path):
    results = [{**cell(1, seed, 70.0), 'machine': dict(cores=seed)} for seed in (8, 2)]
    assert sections(make_grid(tmp_path, results))['environment'].parts[0].rows == [['cores', '2, 8'], ['torch', '2.0']]


def test_a_grid_that_is_not_at_its_end_shows_the_cells_that_are_done(tmp_path):
    assert not is_grid(tmp_path)
    for name, text in (('1', json.dumps(cell(1, 1, 70.0))), ('2', '{"format"'), ('3', '{"format": "another"}')):
        folder = tmp_path / 'config' / name
        folder.mkdir(parents=True)
        (folder / 'result.json').write_text(text)
    assert is_grid(tmp_path)
    found = sections(tmp_path)
    assert texts_of(found['cells']) == [
        '1 cells are done.',
        'There is no results.json: the grid has not come to its end, and which cells are missing is not known.',
    ]
    assert list(drawn(plots(found['curves'])['curves-0']).axes[0].lines[0].get_ydata()) == [70.0]
    (tmp_path / 'config' / '1' / 'result.json').write_text('cut')
    assert list(sections(tmp_path)) == ['cells']


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"cells": [', r'results\.json is no JSON: '),
        ('[]', 'does not hold the results of a grid'),
        ('{"cells": {}}', 'does not hold the results of a grid'),
        ('{"cells": [{"format": "x"}]}', "of entries with the format 'mmpretrain_mps-benchmark-1'"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    (tmp_path / 'results.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_grid(tmp_path)


def test_an_empty_grid_has_its_cells_alone(tmp_path):
    write_results(tmp_path, [Cell('a.py', '', 1, 1, {}, 'last', False, 'x')], [])
    assert [section.name for section in grid_sections(read_grid(tmp_path))] == ['cells']


def test_a_seed_that_comes_twice_would_count_twice(tmp_path):
    folder = make_grid(tmp_path, [cell(1, seed, 50.0) for seed in (1, 2)])
    content = json.loads((folder / 'results.json').read_text())
    content['cells'].append(content['cells'][0])
    (folder / 'results.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='results.json holds the cell .* more than once; expected every seed once'):
        read_grid(folder)
