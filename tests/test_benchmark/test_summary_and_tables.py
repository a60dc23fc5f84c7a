import csv
import io
import json
import math
import xml.etree.ElementTree

import pytest
from made_up_results import cells_of, result
from PIL import Image

from mmpretrain_mps.benchmark.cell_process import Failure
from mmpretrain_mps.benchmark.curves import draw_curves, write_curves
from mmpretrain_mps.benchmark.summary import speeds_of, spread_of, summarise
from mmpretrain_mps.benchmark.tables import results_markdown, write_results

# Computed by hand: mean 80, deviations -2, 0, 2, std 2; Student's t for 2 degrees of freedom at 97.5 % is 4.302653,
# so the interval is 80 -+ 4.302653 * 2 / sqrt(3) = 4.968275.
THREE_SEEDS = [result('A', 4, seed, fused) for seed, fused in ((1, 78.0), (2, 80.0), (3, 82.0))]


def test_a_figure_that_is_not_defined_leaves_no_spread():
    spread = spread_of([78.0, float('nan'), 82.0])
    assert spread.count == 3 and all(map(math.isnan, (spread.mean, spread.std)))


def test_the_spread_of_three_seeds_is_the_one_computed_by_hand():
    spread = spread_of([78.0, 80.0, 82.0])
    assert spread.count == 3 and spread.mean == 80 and spread.std == 2
    assert spread.half_width == pytest.approx(4.968275, abs=1e-5)
    assert spread.interval == pytest.approx((75.031725, 84.968275), abs=1e-5)


def test_one_seed_has_a_mean_but_no_spread():
    assert spread_of([80.0]) == (1, 80.0, None, None) and spread_of([80.0]).interval is None


def test_the_mean_over_data_sets_is_taken_seed_by_seed():
    # Seeds that are high on A and low on B: each varies, their mean does not.
    results = [result('A', 1, 1, 70.0), result('A', 1, 2, 80.0), result('B', 1, 1, 60.0), result('B', 1, 2, 50.0)]
    spreads = summarise(results).spreads
    assert spreads['fused', 'MPS-Tuning', 'A', 1].std == pytest.approx(7.0710678)
    assert spreads['fused', 'MPS-Tuning', 'mean', 1][:3] == (2, 65.0, 0.0)


def test_a_seed_that_a_data_set_lacks_does_not_enter_the_mean():
    results = [result('A', 1, 1, 70.0), result('A', 1, 2, 90.0), result('B', 1, 1, 60.0)]
    assert summarise(results).spreads['fused', 'MPS-Tuning', 'mean', 1] == (1, 65.0, None, None)
    assert ('fused', 'MPS-Tuning', 'mean', 2) not in summarise([*results, result('A', 2, 1, 75.0)]).spreads


def test_zero_shot_is_one_figure_whatever_the_shots():
    spreads = summarise([result('A', shots, seed, 50.0) for shots in (1, 2) for seed in (1, 2)]).spreads
    assert spreads['zero_shot', 'MPS-Tuning', 'A', 0].mean == 40
    assert ('zero_shot', 'MPS-Tuning', 'A', 1) not in spreads


def test_configs_of_one_data_set_are_told_apart_by_recipe_or_else_by_name():
    by_recipe = [result('A', 1, 1, 50.0, recipe='paper'), result('A', 1, 1, 60.0, recipe='official', config='other.py')]
    assert summarise(by_recipe).methods == ['paper', 'official']
    by_name = [result('A', 1, 1, 50.0, config='mini.py'), result('A', 1, 1, 60.0, config='large.py')]
    assert summarise(by_name).methods == ['mini', 'large']


def test_targets_are_summarised_apart_from_data_sets():
    results = [result('A', 1, 1, 50.0, **{'V2/accuracy/fused': 30.0, 'mean_of_targets/accuracy/fused': 30.0})]
    assert summarise(results).datasets == ['A']
    assert summarise(results, targets=True).datasets == ['V2']
    assert summarise(results, targets=True).spreads['fused', 'MPS-Tuning', 'V2', 1].mean == 30


def test_all_files_hold_the_figures_computed_by_hand(tmp_path):
    missing = result('A', 8, 1, 0.0)
    cells = cells_of([*THREE_SEEDS, missing])
    write_results(tmp_path, cells, THREE_SEEDS, [Failure(cells[-1], 'exit status 1; ValueError: no', 'ValueError: no')])

    content = json.loads((tmp_path / 'results.json').read_text())
    fused = next(row for row in content['summary'] if row['branch'] == 'fused')
    assert (fused['mean'], fused['std'], fused['seeds'], fused['shots']) == (80, 2, 3, 4)
    assert (fused['interval_low'], fused['interval_high']) == pytest.approx((75.031725, 84.968275), abs=1e-5)
    assert content['cells'] == THREE_SEEDS and content['missing'] == ['mps_A, 8 shots, seed 1']
    assert content['failed'] == [dict(cell='mps_A, 8 shots, seed 1', reason='exit status 1; ValueError: no')]

    rows = list(csv.DictReader((tmp_path / 'results.csv').open()))
    assert [(row['seed'], row['accuracy/fused']) for row in rows] == [('1', '78.0'), ('2', '80.0'), ('3', '82.0')]
    summary = list(csv.DictReader((tmp_path / 'results_summary.csv').open()))
    assert [(row['branch'], row['mean'], row['std']) for row in summary] == [
        ('fused', '80.0', '2.0'),
        ('tuned', '50.0', '0.0'),
        ('zero_shot', '40.0', '0.0'),
    ]

    markdown = (tmp_path / 'results.md').read_text()
    assert '| MPS-Tuning |     4 | 80.00 ± 2.00 [75.03, 84.97] |' in markdown
    assert '| MPS-Tuning |     0 |                       40.00 |' in markdown
    assert '1 of 4 cells are missing.' in markdown and 'model of the last epoch' in markdown

    latex = (tmp_path / 'results.tex').read_text()
    assert r'MPS-Tuning & 4 & $80.00 \pm 2.00$ {\scriptsize $[75.03, 84.97]$} \\' in latex
    assert r'MPS-Tuning & 0 & $40.00$ \\' in latex
    assert latex.count(r'\begin{tabular}{lrc}') == latex.count(r'\end{tabular}') == 2 and '±' not in latex


def test_latex_gets_no_special_characters_from_names(tmp_path):
    results = [result('my_set & 50%', 1, 1, 50.0, recipe='no_mar')]
    write_results(tmp_path, cells_of(results), results)
    assert r'method & shots & my\_set \& 50\% \\' in (tmp_path / 'results.tex').read_text()


def test_a_grid_without_any_result_gives_files_that_say_so(tmp_path):
    write_results(tmp_path, cells_of(THREE_SEEDS), [])
    assert '3 of 3 cells are missing.' in (tmp_path / 'results.md').read_text()
    assert list(csv.reader(io.StringIO((tmp_path / 'results_summary.csv').read_text())))[1:] == []
    assert write_curves(tmp_path, []) == []


def test_curves_have_a_star_for_zero_shot_and_points_at_the_means(tmp_path):
    results = [*THREE_SEEDS, *(result('B', 4, seed, 60.0) for seed in (1, 2, 3)), result('A', 16, 1, 90.0)]
    figure = draw_curves(summarise(results))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ['A', 'B', 'mean of all data sets']
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines['MPS-Tuning'].get_xydata().tolist() == [[4, 80], [16, 90]]
    star = lines['zero-shot CLIP']
    assert star.get_marker() == '*' and star.get_xydata().tolist() == [[0, 40]]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ['0', '4', '16']


def test_curves_are_written_as_png_and_svg_and_alike_each_time(tmp_path):
    files = write_curves(tmp_path, THREE_SEEDS)
    assert [file.name for file in files] == ['curves.png', 'curves.svg']
    with Image.open(files[0]) as image:
        assert image.size[0] > 500
    assert xml.etree.ElementTree.parse(files[1]).getroot().tag.endswith('svg')
    first = files[1].read_bytes()
    write_curves(tmp_path, THREE_SEEDS)
    assert files[1].read_bytes() == first


def test_methods_with_one_number_of_shots_are_points_on_lines_of_their_own():
    results = [
        result('A', 4, seed, 50.0 + 5 * number + seed, recipe=f'recipe {number}') for number in range(26) for seed in (1, 2)
    ]
    figure = draw_curves(summarise(results))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [f'recipe {number}' for number in range(26)]
    assert list(axis.get_yticks()) == list(range(26, 0, -1))
    positions = [container.lines[0].get_xydata()[0] for container in axis.containers]
    assert [tuple(position) for position in positions] == [(51.5 + 5 * number, 26 - number) for number in range(26)]


def test_two_dozen_methods_over_shots_look_different():
    results = [result('A', shots, 1, 50.0 + number, recipe=f'recipe {number}') for number in range(26) for shots in (1, 2)]
    (axis,) = draw_curves(summarise(results)).axes
    looks = [
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in axis.get_lines()
        if line.get_label().startswith('recipe')
    ]
    assert len(looks) == len(set(looks)) == 26


def test_of_methods_the_first_has_the_zero_shot_figures_that_all_share():
    results = [dict(result('A', 16, 1, fused, recipe=name), method=name) for name, fused in (('coop', 70.0), ('tcp', 75.0))]
    others = dict(result('A', 16, 1, 80.0, zero_shot=45.0, recipe='clip_lora'), method='clip_lora')  # with other templates
    untrained = dict(result('A', 0, 1, 40.0, tuned=40.0, recipe='zero_shot'), method='zero_shot')
    text = results_markdown(cells_of(results), [untrained, *results, others])
    lines = [' '.join(line.split()) for line in text.splitlines() if line.startswith('| ') and 'A' not in line]
    fused = lines[: lines.index(lines[0], 1)] if lines.count(lines[0]) > 1 else lines
    assert [line for line in fused if not line.startswith('| method')][:5] == [
        '| zero_shot | 0 | 40.00 |',
        '| coop | 16 | 70.00 |',
        '| tcp | 16 | 75.00 |',
        '| clip_lora | 0 | 45.00 |',
        '| clip_lora | 16 | 80.00 |',
    ]
    # Recipes of one method keep theirs, in the table of fused and in that of tuned figures.
    assert results_markdown([], [result('A', 16, 1, 70.0, recipe=name) for name in ('a', 'b')]).count('| 40.00 |') == 4


def test_figures_that_were_chosen_on_test_pictures_are_marked():
    results = [
        dict(result('A', 16, 1, 70.0, recipe=name), method=name, chosen_on_test=name == 'tip_adapter')
        for name in ('coop', 'tip_adapter')
    ]
    text = results_markdown(cells_of(results), results)
    assert 'tip_adapter: something was chosen on the test pictures, as the released code does; these figures are too' in text
    assert 'chosen on the test pictures' not in results_markdown(cells_of(results), results[:1])


def test_what_trains_nothing_has_no_speed():
    untrained = dict(result('A', 0, 1, 40.0), resumed=False, pictures_seen=0)
    steps = dict(result('A', 16, 1, 40.0), resumed=False, pictures_seen=8000)  # 160 pictures, 50 epochs, if it were epochs
    (speed,) = speeds_of([untrained, steps])
    assert (speed['shots'], speed['training']) == (16, 800)


def test_an_interval_of_accuracies_ends_at_0_and_100():
    spread = spread_of([62.0, 99.0])
    low, high = spread.interval
    assert low < 0 and high > 100
    assert spread.accuracy_interval == (0, 100)
    narrow = spread_of([50.0, 51.0, 52.0])
    assert narrow.accuracy_interval == narrow.interval
    assert spread_of([50.0]).accuracy_interval is None
