"""Figures that the grids of the paper quote."""

import pytest
from paper_grids import ALIASES, GRIDS, files_read_once, quoted

from mmpretrain_mps.benchmark.grid import read_grid_file


@pytest.fixture(scope='module', autouse=True)
def read_once():
    with files_read_once():
        yield


def test_quoted_figures_are_those_of_the_paper():
    values = quoted('domain_generalization').values
    column = 'mean of source, V2, Sketch'
    assert [values['mps', name, 16] for name in ('ImageNet', 'imagenet_sketch', 'imagenet_v2', column)] == [
        75.60,
        50.10,
        67.53,
        64.41,
    ]
    assert [values['mps', name, 0] for name in ('ImageNet', 'imagenet_sketch', 'imagenet_v2', column)] == [
        66.73,
        46.15,
        60.83,
        57.90,
    ]
    assert {
        other: [values[other, name, 16] for name in ('ImageNet', 'imagenet_sketch', 'imagenet_v2', column)]
        for other in ('promptsrc', 'amu_tuning', 'tac')
    } == dict(promptsrc=[73.17, 49.10, 65.70, 62.66], amu_tuning=[74.93, 50.37, 65.42, 63.57], tac=[73.67, 48.93, 66.23, 62.94])
    components = quoted('components').values
    assert {
        recipe: [components[recipe, name, 16] for name in ('ImageNet', 'StanfordCars', 'SUN397', 'mean')]
        for recipe in ('ce', 'ce_mar', 'ce_hms', 'full')
    } == dict(
        ce=[72.93, 90.00, 76.30, 85.41],
        ce_mar=[75.30, 90.80, 78.07, 86.44],
        ce_hms=[74.77, 90.77, 77.80, 86.20],
        full=[75.60, 91.13, 78.47, 86.85],
    )
    parts = quoted('alignment_parts').values
    assert [parts[recipe, 'mean', 16] for recipe in ('ce_hms', 'mar_global', 'mar_local', 'full')] == [86.20, 86.57, 86.67, 86.85]
    assert quoted('sculpted_layers').values == {('sculpt_two', 'mean', 16): 86.85}
    assert quoted('speed').speed == dict(training=95.65, prediction=535)


def test_what_several_grids_quote_is_the_same_everywhere():
    seen = {}
    for name in GRIDS:
        for recipe, columns in (read_grid_file(str(GRIDS[name])).get('published') or {}).get('recipes', {}).items():
            for column, figures in columns.items():
                for shots, value in figures.items():
                    same = 'full' if recipe in ALIASES else recipe
                    assert seen.setdefault((same, column, shots), value) == value


def test_the_harmonic_means_of_base_and_new_classes_are_those_of_the_two_and_have_a_source():
    published = quoted('base_to_new')
    assert (
        set(published.base_to_new)
        == {(name, 'mean') for name in ('zero_shot', 'coop', 'tcp', 'textrefiner', 'promptsrc', 'ivlp', 'tac', 'clip_lora')}
        and not published.others
    )
    for (name, _), (base, new, harmonic) in published.base_to_new.items():
        # Of the means; one paper prints the mean of the harmonic means.
        assert harmonic == pytest.approx(2 * base * new / (base + new), abs=0.1 if name == 'tac' else 0.01)
    assert 'for coop: CoCoOp (arXiv 2203.05557)' in published.source


def test_means_over_the_ten_other_data_sets_are_theirs():
    values, mean = quoted('cross_data_set').values, 'mean of the ten'
    for method in ('coop', 'promptsrc', 'tac'):
        ten = [value for (name, column, _), value in values.items() if name == method and column not in ('ImageNet', mean)]
        assert len(ten) == 10 and sum(ten) / 10 == pytest.approx(values[method, mean, 16], abs=0.005)


def test_methods_that_are_not_run_keep_their_lines_and_sources():
    published = quoted('main', methods=['mps', 'tcp'])
    assert published.others == ('promptsrc', 'amu_tuning', 'tac', 'clip_lora', 'clip_adapter', 'tip_adapter_f')
    assert published.values['tcp', 'mean', 1] == 70.63 and published.values['promptsrc', 'ImageNet', 16] == 73.17
    assert 'for tcp: runs of others' in published.source and 'for promptsrc' not in published.source


def test_means_of_three_are_the_means_of_the_three():
    values = quoted('domain_generalization').values
    for method, shots in {(method, shots) for method, _, shots in values if method != 'coop'}:
        three = [values[method, name, shots] for name in ('ImageNet', 'imagenet_v2', 'imagenet_sketch')]
        assert sum(three) / 3 == pytest.approx(values[method, 'mean of source, V2, Sketch', shots], abs=0.005)
