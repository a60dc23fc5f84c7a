"""Published figures beside those of a grid: what is read, what stands in the tables."""

import csv
import json

import pytest
from made_up_results import cells_of, result

from mmpretrain_mps.benchmark.grid import Cell
from mmpretrain_mps.benchmark.published import published_of
from mmpretrain_mps.benchmark.summary import Published, speeds_of, summarise
from mmpretrain_mps.benchmark.tables import results_json, results_latex, results_markdown, write_results

CONFIG = """
test_dataloader = dict(dataset=dict(type='CLIP{name}', subset='test'))
test_cfg = dict(targets=dict(sketch=dict(type='Other')))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""
GRID = dict(
    datasets=['dtd', 'EuroSAT'],
    recipes=['full', 'ce'],
    published=dict(
        source='a paper',
        recipes=dict(
            full=dict(DTD={0: 40.0, 4: 60.0, 16: 70.0}, mean={16: 75.0}, sketch={16: 30.0}, pair={16: 50.0}),
            ce=dict(EuroSAT={16: 80}),
        ),
        means=dict(pair=['DTD', 'sketch']),
    ),
)


def read(tmp_path, grid=GRID, datasets=('DTD', 'EuroSAT'), shots=(16,), targets=True, labels=None):
    for name in datasets:
        (tmp_path / f'{name}.py').write_text(CONFIG.format(name=name))
    cells = [Cell(str(tmp_path / f'{name}.py'), 'full', number, 1, {}, 'last', targets) for name in datasets for number in shots]
    return published_of(grid, 'grid.yaml', labels or {'full': 'full', 'ce': 'ce'}, cells)


def changed(**section):
    return {**GRID, 'published': {**GRID['published'], **section}}


def test_what_is_published_of_the_cells_of_the_run_is_taken(tmp_path):
    published = read(tmp_path)
    assert published.values == {
        ('full', 'DTD', 0): 40,
        ('full', 'DTD', 16): 70,
        ('full', 'mean', 16): 75,
        ('full', 'sketch', 16): 30,
        ('full', 'pair', 16): 50,
        ('ce', 'EuroSAT', 16): 80,
    }
    assert published.source == 'a paper' and published.datasets == ('DTD', 'EuroSAT')
    assert published.targets == ('sketch',) and published.means == {'pair': ('DTD', 'sketch')}


def test_a_mean_over_all_is_left_out_where_only_some_are_run(tmp_path):
    assert set(read(tmp_path, datasets=['EuroSAT'], targets=False).values) == {('ce', 'EuroSAT', 16)}
    assert {column for _, column, _ in read(tmp_path, targets=False).values} == {'DTD', 'EuroSAT', 'mean'}


def test_both_variants_of_a_recipe_have_the_figures_of_the_recipe(tmp_path):
    published = read(tmp_path, labels={'paper-full': 'full', 'official-full': 'full'})
    assert published.values['paper-full', 'DTD', 16] == published.values['official-full', 'DTD', 16] == 70


def test_a_grid_that_publishes_nothing_has_nothing(tmp_path):
    assert read(tmp_path, dict(datasets=['DTD'])) is None


@pytest.mark.parametrize(
    'section, message',
    [
        (dict(source=None), 'grid.yaml: published has the source None; expected a text'),
        (dict(sorce='x'), "grid.yaml: published holds 'sorce'; expected some of source, recipes, methods"),
        (dict(recipes=dict(ful={})), "published.recipes holds 'ful'; expected some of full, ce"),
        (dict(recipes=dict(full=dict(Dtd={16: 1.0}))), "published.recipes.full holds 'Dtd'; expected some of source, DTD"),
        (dict(means=dict(two=['DTD', 'ImageNet'])), "published.means.two holds 'ImageNet'; expected some of DTD, EuroSAT"),
        (dict(speed=dict(testing=1)), "published.speed holds 'testing'; expected some of training, prediction"),
        (dict(recipes=dict(full=dict(DTD={16: 101}))), 'recipes.full.DTD is {16: 101}; expected numbers of shots'),
        (dict(recipes=dict(full=dict(DTD={'16': 50.0}))), 'numbers of shots, 0 for zero-shot, each with a percentage'),
        (dict(recipes=dict(full=dict(DTD=50.0))), 'published.recipes.full.DTD is 50.0; expected numbers of shots'),
        (dict(recipes=['full']), "grid.yaml: published.recipes is ['full']; expected a mapping"),
        (dict(recipes=dict(full=None)), 'grid.yaml: published.recipes.full is None; expected a mapping'),
        (dict(methods='tac'), "grid.yaml: published.methods is 'tac'; expected a mapping"),
        (dict(methods=dict(tac=dict(Dtd={16: 1.0}))), "published.methods.tac holds 'Dtd'; expected some of source, DTD"),
        (dict(methods=dict(tac=dict(DTD={16: 'x'}))), "published.methods.tac.DTD is {16: 'x'}; expected numbers of shots"),
        (dict(methods=dict(tac={}, ce={})), "published.methods holds 'ce', which is a recipe that the grid runs; expected"),
        (dict(methods=dict(tac=dict(source=3))), 'published.methods.tac has the source 3; expected a text'),
        (dict(methods={'MPS-Tuning': {}}), "published.methods holds 'MPS-Tuning', which is a recipe"),
        (dict(base_to_new=dict(coop=dict(mean=[80.0, 70.0]))), 'published.base_to_new.coop.mean is [80.0, 70.0]; expected thr'),
        (dict(base_to_new=dict(coop=dict(mean=[80.0, 70.0, 101]))), 'expected three percentages: base, new, harmonic mean'),
        (dict(base_to_new=dict(coop=dict(sketch=[1, 2, 1]))), "base_to_new.coop holds 'sketch'; expected some of source, DTD"),
    ],
)
def test_what_does_not_fit_the_grid_is_refused(tmp_path, section, message):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, changed(**section))
    assert message in str(caught.value)


def test_methods_that_are_not_run_have_their_figures_under_their_own_names(tmp_path):
    section = changed(methods=dict(tac=dict(DTD={4: 1.0, 16: 65.0}, sketch={16: 25.0}), promptsrc=dict(mean={16: 60.0})))
    published = read(tmp_path, section)
    values = {key: value for key, value in published.values.items() if key[0] not in ('full', 'ce')}
    assert values == {('tac', 'DTD', 16): 65, ('tac', 'sketch', 16): 25, ('promptsrc', 'mean', 16): 60}
    assert published.others == ('tac', 'promptsrc') and published.source == 'a paper'
    assert ('tac', 'sketch', 16) not in read(tmp_path, section, targets=False).values


def test_methods_that_are_run_have_their_figures_in_every_recipe_and_sources_stand_behind_names(tmp_path):
    (tmp_path / 'DTD.py').write_text(
        CONFIG.format(name='DTD') + "model = dict(architecture='ViT-B-16')\n"
        "train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPDTD', pipeline=[])))\n"
        "train_pipeline = [dict(type='DualView')]\ndefault_hooks = dict(checkpoint=dict())\n"
    )
    cells = [
        Cell(str(tmp_path / 'DTD.py'), f'coop-{recipe}', 16, 1, {}, 'last', False, method='coop', method_recipe=recipe)
        for recipe in ('default', 'official')
    ]
    section = dict(
        source='a paper',
        methods=dict(coop=dict(source='another', DTD={16: 61.0}), tac=dict(source='a third')),
        base_to_new=dict(coop=dict(DTD=[80, 70, 74.67]), ivlp=dict(source='a fourth', DTD=[1, 1, 1])),
    )
    published = published_of(dict(datasets=['DTD'], published=section), 'grid.yaml', {}, cells)
    assert published.values == {('coop-default', 'DTD', 16): 61, ('coop-official', 'DTD', 16): 61}
    assert published.others == ('tac', 'ivlp')
    assert published.base_to_new == {
        ('coop-default', 'DTD'): (80, 70, 74.67),
        ('coop-official', 'DTD'): (80, 70, 74.67),
        ('ivlp', 'DTD'): (1, 1, 1),
    }
    # Of the third nothing is shown.
    assert published.source == 'a paper; for coop-default: another; for coop-official: another; for ivlp: a fourth'


# Ours: DTD 70 and 72, mean 71; EuroSAT 80 and 82, mean 81; mean of both 76. Sketch 33 and 35, mean 34. Pair of DTD and
# sketch, seed by seed: (70 + 33) / 2 = 51.5 and 53.5, mean 52.5.
OURS = [
    result(
        name,
        16,
        seed,
        fused + 2 * seed - 2,
        zero_shot=41.0,
        recipe='full',
        **({'sketch/accuracy/fused': 31.0 + 2 * seed} if name == 'DTD' else {}),
    )
    for name, fused in (('DTD', 70.0), ('EuroSAT', 80.0))
    for seed in (1, 2)
]
QUOTED = Published(
    'a paper & more',
    {
        ('full', 'DTD', 0): 40.0,
        ('full', 'DTD', 16): 70.0,
        ('full', 'mean', 16): 76.5,
        ('full', 'sketch', 16): 30.0,
        ('full', 'pair', 16): 50.0,
        ('ce', 'EuroSAT', 16): 80.0,
    },
    ('DTD', 'EuroSAT'),
    {'pair': ('DTD', 'sketch')},
    {},
)


def lines_of(text, start):
    return [' '.join(line.split()) for line in text.splitlines() if line.startswith(f'| {start}')]


def test_the_paper_stands_below_ours_with_the_difference():
    text = results_markdown(cells_of(OURS), OURS, published=QUOTED)
    assert 'quote a paper & more' in text
    assert lines_of(text, 'full (paper)') == [
        '| full (paper) | 0 | 40.00 (+1.00) | - | - |',
        '| full (paper) | 16 | 70.00 (+1.00) | - | 76.50 (-0.50) |',
        '| full (paper) | 16 | 30.00 (+4.00) | 50.00 (+2.50) |',
    ]
    assert lines_of(text, 'method')[2] == '| method | shots | sketch | pair |'
    assert lines_of(text, 'ce') == ['| ce | 16 | - | - | - |', '| ce (paper) | 16 | - | 80.00 | - |']


def test_the_tuned_branch_has_no_figure_of_the_paper_beside_it():
    text = results_markdown(cells_of(OURS), OURS, published=QUOTED)
    tuned = text[text.index('## Accuracy in percent of the tuned branch alone') :]
    assert '(paper)' not in tuned[: tuned.index('on the targets')]


def test_before_any_run_the_paper_stands_beside_empty_columns():
    text = results_markdown([], [], published=QUOTED)
    assert lines_of(text, 'full') == [
        '| full | 0 | - | - | - |',
        '| full (paper) | 0 | 40.00 | - | - |',
        '| full | 16 | - | - | - |',
        '| full (paper) | 16 | 70.00 | - | 76.50 |',
        '| full | 16 | - | - |',
        '| full (paper) | 16 | 30.00 | 50.00 |',
    ]


def test_a_method_that_is_not_run_is_one_line_in_every_file(tmp_path):
    more = {('TAC', 'DTD', 16): 65.0, ('TAC', 'sketch', 16): 25.0, ('TAC', 'mean', 16): 70.0}
    published = QUOTED._replace(values={**QUOTED.values, **more}, others=('TAC',))
    text = results_markdown(cells_of(OURS), OURS, published=published)
    assert lines_of(text, 'TAC') == ['| TAC (paper) | 16 | 65.00 | - | 70.00 |', '| TAC (paper) | 16 | 25.00 | - |']
    # Every line of ours is what it is without it.
    assert lines_of(text, 'full') == lines_of(results_markdown(cells_of(OURS), OURS, published=QUOTED), 'full')
    assert lines_of(results_markdown([], [], published=published), 'TAC') == lines_of(text, 'TAC')
    write_results(tmp_path, cells_of(OURS), OURS, published=published)
    assert r'TAC (paper) & 16 & $65.00$ & -- & $70.00$ \\' in (tmp_path / 'results.tex').read_text()
    with (tmp_path / 'results_summary.csv').open() as file:
        rows = [
            (row['dataset'], row['branch'], row['seeds'], row['mean'], row['published'], row['difference'])
            for row in csv.DictReader(file)
            if row['method'] == 'TAC'
        ]
    assert rows == [
        ('DTD', 'fused', '0', '', '65.0', ''),
        ('mean', 'fused', '0', '', '70.0', ''),
        ('sketch', 'fused', '0', '', '25.0', ''),
    ]
    summary = json.loads((tmp_path / 'results.json').read_text())['summary']
    assert [row['published'] for row in summary if row['method'] == 'TAC'] == [65, 70]


def test_a_mean_over_some_of_the_data_sets_does_not_stand_beside_one_over_all():
    text = results_markdown(cells_of(OURS[:2]), OURS[:2], published=QUOTED)
    assert '| full | 16 | 71.00 ± 1.41 [58.29, 83.71] | - | - |' in lines_of(text, 'full')
    assert '| full (paper) | 16 | 70.00 (+1.00) | - | 76.50 |' in lines_of(text, 'full')


def test_all_files_have_the_published_figures_and_none_without(tmp_path):
    write_results(tmp_path, cells_of(OURS), OURS, published=QUOTED)
    content = json.loads((tmp_path / 'results.json').read_text())
    rows = {
        (row['method'], row['branch'], row['dataset'], row['shots']): row
        for row in content['summary'] + content['targets_summary']
    }
    assert content['published'] == dict(source='a paper & more') and 'speed' not in content
    assert (rows['full', 'fused', 'mean', 16]['mean'], rows['full', 'fused', 'mean', 16]['difference']) == (76, -0.5)
    assert rows['full', 'fused', 'pair', 16]['published'] == 50 and rows['full', 'fused', 'pair', 16]['mean'] == 52.5
    assert rows['full', 'tuned', 'DTD', 16]['published'] is None
    assert (rows['ce', 'fused', 'EuroSAT', 16]['mean'], rows['ce', 'fused', 'EuroSAT', 16]['published']) == (None, 80)
    line = next(
        row
        for row in csv.DictReader((tmp_path / 'results_summary.csv').open())
        if (row['method'], row['dataset'], row['branch']) == ('full', 'DTD', 'fused')
    )
    assert (line['mean'], line['published'], line['difference']) == ('71.0', '70.0', '1.0')
    latex = (tmp_path / 'results.tex').read_text()
    assert r'full (paper) & 16 & $70.00$ ($+1.00$) & -- & $76.50$ ($-0.50$) \\' in latex and r'a paper \& more' in latex

    write_results(tmp_path, cells_of(OURS), OURS)
    for name in ('results.json', 'results_summary.csv', 'results.md', 'results.tex'):
        text = (tmp_path / name).read_text()
        assert 'paper' not in text and 'published' not in text and 'difference' not in text


def test_methods_that_are_told_apart_by_their_config_keep_the_figures_of_their_recipe():
    results = [result('DTD', 16, 1, 71.0, recipe='full', config=config) for config in ('a.py', 'b.py')]
    summary = summarise(results, published=QUOTED)
    assert summary.quote('fused', 'a full', 'DTD', 16) == summary.quote('fused', 'b full', 'DTD', 16) == (70, 1)


def speed_result(seed, resumed=False, **more):
    return {**result('SUN397', 16, seed, 78.0, recipe='full', **more), 'resumed': resumed}


def test_speed_counts_pictures_of_runs_that_were_not_cut_off():
    # 160 pictures, 50 epochs, 10 s; 100 pictures, 1 s.
    results = [speed_result(1), speed_result(2, resumed=True), speed_result(3, **{'V2/accuracy/fused': 1.0})]
    assert speeds_of(results) == [dict(method='full', dataset='SUN397', shots=16, runs=1, training=800.0, prediction=100.0)]
    published = QUOTED._replace(values={}, datasets=('SUN397',), means={}, speed=dict(training=95.65, prediction=535))
    text = results_markdown(cells_of(results), results, published=published)
    assert lines_of(text, 'full')[-1] == '| full | 16 | SUN397 | 800.00 | 100.00 |'
    assert lines_of(text, '(paper)') == ['| (paper) | - | - | 95.65 | 535.00 |']
    assert json.loads(results_json([], results, published=published))['speed']['published']['training'] == 95.65
    assert r'full & 16 & SUN397 & $800.00$ & $100.00$ \\' in results_latex(results, published)
    assert 'Pictures per second' not in results_markdown(cells_of(results), results, published=QUOTED)
