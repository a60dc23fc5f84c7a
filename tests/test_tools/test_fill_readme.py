"""The README's figures are those of the result files."""

import json
import re
import runpy
import sys

import pytest
from tiny_run import ROOT

from mmpretrain_mps.benchmark.grid import make_cells, read_grid_file
from mmpretrain_mps.benchmark.study import Choice, read_study, report_cells
from mmpretrain_mps.benchmark.study_results import read_study_results
from mmpretrain_mps.datasets import Digits


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['fill_readme.py', '--check'])
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))  # as Python does for a script
    return runpy.run_path(str(ROOT / 'tools' / 'fill_readme.py'))


def test_the_readme_is_up_to_date(tool):
    assert tool['main']() == 0


def test_blocks_are_replaced_and_the_rest_is_kept(tool):
    text = 'before\n<!-- card -->\nstale\n<!-- /card -->\nafter\n'
    filled = tool['fill'](text)
    assert filled.startswith('before\n<!-- card -->\n|') and filled.endswith('<!-- /card -->\nafter\n')
    assert 'stale' not in filled


def test_an_unknown_block_is_an_error(tool):
    with pytest.raises(ValueError, match="block 'nonsense'"):
        tool['fill']('<!-- nonsense -->\n\n<!-- /nonsense -->')


def test_spread_is_mean_and_sample_standard_deviation(tool):
    from _study_tables import spread

    assert spread([1.0, 2.0, 3.0]) == '2.00 ± 1.00'
    assert spread([0.5, 0.5], '+') == '+0.50'


@pytest.mark.parametrize(
    'file', ['mini_digits/results.json', 'mini_view_bank/results.json', 'mini_parts/results.json', 'digits_study/study.json']
)
def test_figures_on_the_digits_are_of_the_split_that_there_is_today(file):
    cells = json.loads((ROOT / 'results' / file).read_text(encoding='utf-8'))['cells']
    today = Digits(subset='test', pipeline=[]).metainfo['split_id']
    assert {cell['split_id'] for cell in cells} == {today} and {cell['test_pictures'] for cell in cells} == {899}


@pytest.mark.parametrize(
    'name, folder',
    [
        ('digits', 'digits_study'),
        ('letters', 'letters_study'),
        ('pictogram_things', 'things_study'),
        ('methods_things', 'methods_things'),
        ('base_to_new_things', 'base_to_new_things'),
        ('methods_things_longer', 'methods_things_longer'),
        ('methods_things_wider', 'methods_things_wider'),
        ('things_seeds', 'things_seeds'),
    ],
)
def test_figures_of_the_studies_are_of_the_settings_that_the_configs_hold_today(name, folder):
    study = read_study(ROOT / 'configs' / 'studies' / f'{name}.yaml')
    kept = read_study_results(ROOT / 'results' / folder)
    chosen = {method: Choice(0, choice['chosen'], []) for method, choice in kept['choices'].items()}
    assert {method.name: method.candidates for method in study.methods} == {
        method: [candidate['options'] for candidate in choice['candidates']] for method, choice in kept['choices'].items()
    }
    assert {cell.key for cell in report_cells(study, chosen)} == {cell['hash'] for cell in kept['cells']}


def test_figures_of_single_changes_are_of_the_grid_that_there_is_today():
    grid = read_grid_file(ROOT / 'configs' / 'grids' / 'mini_parts.yaml')
    cells = json.loads((ROOT / 'results' / 'mini_parts' / 'results.json').read_text(encoding='utf-8'))['cells']
    today = make_cells(
        [ROOT / grid['configs'][0]],
        grid['shots'],
        sorted({cell['seed'] for cell in cells}),
        grid['recipes'],
        grid['cfg_options'],
        with_targets=True,
    )
    assert {cell.key for cell in today} == {cell['hash'] for cell in cells}


def test_figures_of_the_gpu_are_ratios_and_shares_of_what_was_measured(tool):
    rows = {
        cells[0]: cells[1:]
        for cells in (
            [cell.strip() for cell in line.strip('|').split('|')] for line in tool['GPU_BLOCKS']['gpu_steps']().splitlines()
        )
    }
    content = json.loads((ROOT / 'results' / 'gpu' / 'speed.json').read_text(encoding='utf-8'))
    step = next(one for one in content['steps'] if (one['batch'], one['precision']) == (256, 'TF32'))
    ours = step['predict']['ours']
    # The median of the ratios of the rounds, which is near the ratio of the medians.
    assert float(rows['prediction, 256, TF32'][2]) == pytest.approx(step['predict']['reference']['ms'] / ours['ms'], rel=0.03)
    # 50.64 GFLOP for each of 256 pictures.
    speed = 50.64e9 * 256 / (ours['ms'] / 1e3) / 1e12
    assert rows['prediction, 256, TF32'][5] == f'{speed / content["peaks"]["tflops"]["TF32"]:.0%}'


def test_results_of_the_gpu_name_machine_and_versions_and_no_place_on_it():
    files = list((ROOT / 'results' / 'gpu').iterdir())
    assert files
    for file in files:
        text = file.read_text(encoding='utf-8')
        content = json.loads(text)
        machine = content.get('machine') or content['versions']  # of tools/check_parity.py
        assert 'NVIDIA' in machine['device'] and machine.get('versions', machine)['torch']
        assert not re.search(r'/(work|tmp|opt|home|root|usr)/', text), file
