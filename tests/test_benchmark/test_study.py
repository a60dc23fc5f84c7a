import json
import re

import pytest
import yaml
from made_up_results import result
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark.grid import make_cells, read_cell_config, read_grid_file
from mmpretrain_mps.benchmark.study import (
    Choice,
    choose,
    edges_of,
    is_certain,
    only,
    paired_difference,
    read_study,
    report_cells,
    report_cells_of,
    selection_cells,
    values_of,
)
from mmpretrain_mps.benchmark.study_command import refuse_faulty_parts, refuse_test_pictures
from mmpretrain_mps.benchmark.study_results import agreement_of, agreement_text, zero_shot_of
from mmpretrain_mps.benchmark.study_tables import (
    claims_table,
    study_content,
    study_markdown,
    study_rows,
    verdicts_of,
    write_study,
)
from mmpretrain_mps.benchmark.summary import spread_of
from mmpretrain_mps.utils.methods import method_names

STUDY = dict(
    config='config.py',
    baseline='ce',
    selection=dict(shots=16, seeds=[11, 12], metric='accuracy/fused', options={'test_dataloader.dataset.subset': 'val'}),
    report=dict(shots=[4], seeds=[1, 2, 3]),
    methods=dict(
        ce=dict(
            label='cross-entropy',
            options={'model.gram_loss.loss_weight': 0},
            candidates=[{'optim_wrapper.optimizer.lr': 0.01}, {'optim_wrapper.optimizer.lr': 0.02}],
        ),
        mar=dict(candidates=[{'model.gram_loss.loss_weight': 1}, {'model.gram_loss.loss_weight': 4}]),
    ),
    columns=[
        dict(metric='accuracy/fused', title='accuracy', zero_shot='accuracy/zero_shot'),
        dict(metric='gram/global', title='distortion', better='lower', digits=3),
    ],
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv('MMPRETRAIN_MPS_TRUST', '1')  # the study names a config in Python of its own

    def make(**changes):
        Config.fromfile(CONFIG_FOLDER / 'mps_mini_16shot_digits.py').dump(tmp_path / 'config.py')
        path = tmp_path / 'study.yaml'
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return path

    return make


def figures(method, seed, fused, distortion=None, shots=4):
    more = {} if distortion is None else {'gram/global': distortion}
    return result('Digits', shots, seed, fused, recipe=method, config='config.py', **more)


def content_of(study, runs, chosen=0):
    choices = {method.name: Choice(chosen, method.candidates[chosen], [spread_of([50.0])] * 2) for method in study.methods}
    return study_content(study, choices, runs)


def test_selection_runs_every_candidate_with_the_seeds_of_selection_on_validation_pictures(write):
    cells = selection_cells(read_study(write()))
    assert [(cell.recipe, cell.seed) for cell in cells] == [
        (name, seed) for name in ('ce.1', 'ce.2', 'mar.1', 'mar.2') for seed in (11, 12)
    ]
    assert {cell.shots for cell in cells} == {16}
    assert all(cell.options['test_dataloader.dataset.subset'] == 'val' for cell in cells)
    assert cells[2].options['optim_wrapper.optimizer.lr'] == 0.02
    assert cells[2].options['model.gram_loss.loss_weight'] == 0


def test_the_report_runs_what_was_chosen_with_other_seeds_on_test_pictures_and_targets(write):
    study = read_study(write())
    cells = report_cells(
        study, {'ce': Choice(1, study.methods[0].candidates[1], []), 'mar': Choice(0, study.methods[1].candidates[0], [])}
    )
    assert [(cell.recipe, cell.shots, cell.seed) for cell in cells] == [
        (name, 4, seed) for name in ('ce', 'mar') for seed in (1, 2, 3)
    ]
    assert cells[0].options['optim_wrapper.optimizer.lr'] == 0.02 and cells[3].options['model.gram_loss.loss_weight'] == 1
    assert not any('test_dataloader.dataset.subset' in cell.options for cell in cells)
    assert all(cell.with_targets for cell in cells)


def test_the_candidate_with_the_highest_mean_is_chosen_and_of_equals_the_first(write):
    study = read_study(write())
    runs = [
        ('ce.1', 11, 80),
        ('ce.1', 12, 90),
        ('ce.2', 11, 95),
        ('ce.2', 12, 70),
        ('mar.1', 11, 80),
        ('mar.1', 12, 80),
        ('mar.2', 11, 70),
        ('mar.2', 12, 90),
    ]
    choices = choose(study, [figures(*run) for run in runs])
    assert {name: choice.index for name, choice in choices.items()} == {'ce': 0, 'mar': 0}
    assert [score.mean for score in choices['ce'].scores] == [85, 82.5]
    with pytest.raises(ValueError, match=r'mar.2 cannot be judged: runs with seeds \[12\] are missing'):
        choose(study, [figures(*run) for run in runs[:-1]])


def test_differences_are_paired_by_seed():
    # By hand: differences 1, 3, 2 -> mean 2, std 1, Student's t 4.302653 / sqrt(3) = 2.484138: 0 lies within.
    difference = paired_difference({1: 81.0, 2: 63.0, 3: 92.0, 4: 5.0}, {1: 80.0, 2: 60.0, 3: 90.0})
    assert difference[:3] == (3, 2.0, 1.0) and difference.half_width == pytest.approx(2.484138, abs=1e-5)
    assert not is_certain(difference)
    assert is_certain(paired_difference({1: 81.0, 2: 61.0}, {1: 80.0, 2: 60.0}))
    assert not is_certain(paired_difference({1: 81.0}, {1: 80.0}))
    assert paired_difference({1: 81.0}, {2: 80.0}) is None


def test_zero_shot_is_that_of_the_baseline_where_methods_disagree():
    # A method with a logit scale of its own is calibrated otherwise before it is trained.
    column = dict(metric='ece/fused', zero_shot='ece/zero_shot')
    cells = [
        dict(recipe=name, metrics={'ece/zero_shot': value}) for name, value in (('lora', 32.0), ('mps', 12.0), ('mps', 13.0))
    ]
    study = dict(baseline='mps', cells=cells)
    assert zero_shot_of(study, column) == 12.5
    assert zero_shot_of({**study, 'baseline': 'probe'}, column) == 32.0  # the baseline has none
    assert zero_shot_of({**study, 'cells': []}, column) is None


def test_tables_and_files_hold_the_figures(write, tmp_path):
    study = read_study(write())
    runs = [
        figures('ce', 1, 80.0, 0.4),
        figures('ce', 2, 60.0, 0.5),
        figures('ce', 3, 90.0),
        figures('mar', 1, 81.0, 0.1),
        figures('mar', 2, 62.0, 0.2),
        figures('mar', 3, 92.0),
    ]
    choices = choose(study, [figures(f'{name}.{i}', seed, 50 + i) for name in ('ce', 'mar') for i in (1, 2) for seed in (11, 12)])
    assert values_of(runs, 'mar', 4, 'gram/global') == {1: 0.1, 2: 0.2}
    content = study_content(study, choices, runs)
    text = study_markdown(content)
    assert '2 settings by the mean accuracy/fused on validation pictures over the seeds 11, 12 with 16 shots' in text
    assert re.search(r'\| zero-shot +\| +40\.00 +\| +- +\|', text)
    assert re.search(r'\| cross-entropy +\| +76\.67 ± 15\.28 +\| +0\.450 ± 0\.071', text)
    # Differences 1, 2, 2: mean 1.67, half width 4.302653 * 0.57735 / sqrt(3) = 1.434; of distortion always -0.3.
    assert '**+1.67 [+0.23, +3.10]**' in text and '**-0.300 [-0.300, -0.300]**' in text
    (row,) = [row for row in study_rows(study, runs) if row['method'] == 'mar' and row['metric'] == 'accuracy/fused']
    assert row['difference_low'] == pytest.approx(0.2324, abs=1e-3)
    files = write_study(tmp_path / 'out', study, content, [])
    assert [file.name for file in files] == ['selection.json', 'study.json', 'study.csv', 'study.md']
    kept = json.loads(files[1].read_text())
    assert kept['choices']['mar']['chosen'] == {'model.gram_loss.loss_weight': 4} and len(kept['cells']) == 6


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(baseline='none'), "the baseline 'none' is none of the methods \\['ce', 'mar'\\]"),
        (dict(report=dict(shots=[4], seeds=[1, 11])), r'the seeds \[11\] are both selected by and reported'),
        (dict(methods={**STUDY['methods'], 'more': dict(candidates=[{}])}), "as many candidates as the others.*'more': 1"),
        (dict(methods={'ce': dict(candidates=[])}), "method 'ce' needs a list of candidates"),
        (dict(methods={'ce': dict(candidates=[{}], more_candidates=[])}), "method 'ce' needs a list of more_candidates"),
        (dict(methods={'ce': dict(candidates=[{}], more_candidates=[{}])}), 'equal candidates, number 1 and 2: {}'),
        (dict(methods={'ce': dict(more_candidates=[{}])}), "method 'ce' lacks 'candidates'"),
        (dict(selection=dict(shots=16, seeds=[11])), "selection lacks 'metric'"),
        (dict(selection=dict(shots=[16], seeds=[11], metric='a')), r'selection.shots is \[16\], expected a whole number'),
        (dict(report=dict(shots=4, seeds=[1])), 'report.shots is 4, expected a list'),
        (dict(report=dict(shots=[4], seeds=11)), 'report.seeds is 11, expected a list'),
        (dict(methods=['ce']), r"methods is \['ce'\], expected a mapping"),
        (dict(colour='red'), "holds 'colour'; expected title, config"),
        (dict(columns=[dict(metric='a', title='b', better='more')]), "column 'b' has better='more'"),
        (dict(columns=[dict(metric='a', title='b', digits=-1)]), "column 'b' has digits=-1, expected a whole number"),
        (dict(columns=[dict(metric='a', title='b', digits='2')]), "column 'b' has digits='2', expected a whole number"),
        (dict(columns=['a']), "a column is 'a', expected a mapping"),
        (dict(options=['a']), r"study.yaml: options is \['a'\], expected a mapping of config names to values"),
        (dict(selection={**STUDY['selection'], 'options': 'a'}), "study.yaml: selection: options is 'a', expected"),
        (
            dict(methods={**STUDY['methods'], 'ce': dict(options=[], candidates=[{}])}),
            r"study.yaml: method 'ce': options is \[\], expected a mapping",
        ),
        (
            dict(methods={**STUDY['methods'], 'ce': dict(candidates=[{}, {'a': 0.3}, {'a': 0.30}])}),
            "study.yaml: method 'ce' has equal candidates, number 2 and 3: {'a': 0.3}; expected different ones",
        ),
        (dict(selection={**STUDY['selection'], 'shots': 0}), 'selection.shots is 0, expected a whole number from 1 on'),
        (
            dict(selection={**STUDY['selection'], 'seeds': [11, 11]}),
            'study.yaml: selection.seeds holds 11 more than once, expected each number once',
        ),
        (dict(report=dict(shots=[4, 1, 4], seeds=[1])), 'report.shots holds 4 more than once, expected each number once'),
        (dict(report=dict(shots=[4, 0], seeds=[1])), 'report.shots holds 0, expected whole numbers from 1 on'),
        (dict(report=dict(shots=[4], seeds=[1, '2'])), "report.seeds holds '2', expected whole numbers from 0 on"),
        (dict(report=dict(shots=[4], seeds=[3, 3])), 'report.seeds holds 3 more than once, expected each number once'),
        (
            dict(report=dict(shots=[4], seeds=[1], targets='yes please')),
            "study.yaml: report.targets is 'yes please', expected true or false",
        ),
        (dict(trade_off=5), r"trade_off is 5, expected two metrics of columns: \['accuracy/fused', 'gram/global'\]"),
        (dict(claims='MAR'), "study.yaml: claims is 'MAR', expected a list of mappings"),
        (dict(claims=['MAR']), "study.yaml: claims holds 'MAR', expected a mapping"),
        (
            dict(claims=[dict(text='it grows', grows='often')]),
            "study.yaml: grows of claim 'it grows' is 'often', expected true or false",
        ),
    ],
)
def test_what_is_wrong_with_a_study_is_said(write, changes, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(**changes))


@pytest.mark.parametrize(
    'text, message',
    [('methods: [', 'study.yaml is no YAML'), ('', 'study.yaml holds nothing; expected a mapping with some of title, config')],
)
def test_a_file_that_is_no_yaml_or_no_mapping_is_said_to_be_none(tmp_path, text, message):
    (tmp_path / 'study.yaml').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path / 'study.yaml')


def test_chosen_values_at_the_edge_of_what_was_tried_are_named():
    candidates = [{'lr': lr, 'weight': weight, 'kind': 'a', 'only': 3} for lr in (0.01, 0.02, 0.04) for weight in (1, 4)]
    assert edges_of(candidates, candidates[2]) == {'weight': 1}
    assert edges_of(candidates, candidates[5]) == {'lr': 0.04, 'weight': 4}
    assert edges_of(candidates[:1], candidates[0]) == {}


def test_an_unknown_option_of_a_candidate_is_found_before_anything_runs(write):
    methods = dict(ce=dict(candidates=[{'no_such_thing': 1}]))
    with pytest.raises(ValueError, match='no_such_thing'):
        selection_cells(read_study(write(methods=methods)))


CLAIMS = [
    dict(text='alignment keeps geometry', method='mar', than='ce', metric='gram/global', better='lower'),
    dict(text='its lead grows', method='mar', than=['ce'], metric='accuracy/fused', grows=True),
]


def test_a_claim_holds_where_the_interval_of_the_paired_difference_leaves_out_zero(write):
    study = read_study(write(claims=CLAIMS, report=dict(shots=[1, 4], seeds=[1, 2])))
    runs = [
        figures('ce', 1, 80.0, 0.4, 1),
        figures('ce', 2, 80.0, 0.5, 1),
        figures('mar', 1, 80.0, 0.1, 1),
        figures('mar', 2, 80.0, 0.2, 1),
        figures('ce', 1, 80.0, 0.1),
        figures('ce', 2, 80.0, 0.2),
        figures('mar', 1, 83.0, 0.2),
        figures('mar', 2, 83.0, 0.3),
    ]
    verdicts = verdicts_of(study, runs)
    assert [(v.shots, v.verdict) for v in verdicts] == [('1', 'holds'), ('4', 'the opposite holds'), ('1 to 4', 'holds')]
    assert verdicts[2].difference.mean == 3
    runs[-1]['metrics']['gram/global'] = 0.1  # differences +0.1 and -0.1
    assert verdicts_of(study, runs)[1].verdict == 'cannot be told'
    assert [v.verdict for v in verdicts_of(study, [])] == ['not measured'] * 3
    assert '| alignment keeps geometry | mar against cross-entropy: distortion | 1: **-0.300' in claims_table(
        content_of(study, runs)
    )


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(than='nobody'), "claim 'alignment keeps geometry' names 'nobody', which is no method"),
        (dict(metric='accuracy/none'), "names 'accuracy/none'"),
        (dict(better='more'), "has better='more'"),
        (dict(why='so'), r"unknown keys \['why'\]"),
    ],
)
def test_what_is_wrong_with_a_claim_is_said(write, change, message):
    with pytest.raises(ValueError, match=f'study.yaml: .*{message}'):
        verdicts_of(read_study(write(claims=[{**CLAIMS[0], **change}])), [])


def test_methods_that_are_left_out_take_their_claims_with_them(write):
    methods = {**STUDY['methods'], 'hms': dict(candidates=[{}, {'model.sculpt_loss.loss_weight': 1}])}
    claims = [
        dict(text='a', method='mar', than=['ce', 'hms'], metric='accuracy/fused'),
        dict(text='b', method='hms', than='ce', metric='accuracy/fused'),
        dict(text='c', method='mar', than='hms', metric='accuracy/fused'),
    ]
    study = read_study(write(methods=methods, claims=claims))
    kept = only(study, ['mar', 'ce'])
    assert [method.name for method in kept.methods] == ['ce', 'mar']
    assert [(claim['text'], claim['than']) for claim in kept.claims] == [('a', ['ce'])]
    assert len(verdicts_of(kept, [])) == 1
    with pytest.raises(ValueError, match="methods mar hms: the baseline 'ce' is missing; the study has ce, hms, mar"):
        only(study, ['mar', 'hms'])
    with pytest.raises(ValueError, match="methods ce l1: there is no 'l1'; the study has ce, hms, mar"):
        only(study, ['ce', 'l1'])


def test_figures_agree_with_earlier_ones_where_their_mean_lies_within_the_earlier_interval(write):
    study = read_study(write())
    earlier = content_of(
        study, [figures('ce', 1, 80.0), figures('ce', 2, 82.0), figures('mar', 1, 80.0, 0.1), figures('mar', 2, 80.0, 0.3)]
    )
    assert agreement_of(earlier, earlier)[:4] == (3, 3, 3, [])
    # By hand: 80, 82 -> mean 81, half width 12.7062 * 1.414214 / sqrt(2) = 12.7062; 80, 80 -> 80 +- 0;
    # .1, .3 -> .2 +- 12.7062 * .141421 / sqrt(2) = 1.27062.
    now = content_of(
        study,
        [figures('ce', 1, 93.0), figures('ce', 2, 94.0), figures('mar', 1, 80.0, 0.1), figures('mar', 2, 80.1, 0.3 + 1e-9)],
        chosen=1,
    )
    found = agreement_of(now, earlier)
    assert found[:3] == (3, 1, 2) and found.choices == ['cross-entropy', 'mar'] and not found.is_whole
    assert agreement_of(earlier, earlier).is_whole
    ((label, shots, title, before, half, mean),) = found.outside
    assert (label, shots, title, before, half, mean) == ('mar', 4, 'accuracy', 80, 0, pytest.approx(80.05))
    assert agreement_text(found, 'results/x').splitlines() == [
        'compared with results/x: 2 of 3 means lie within the 95 % interval of the earlier one, 1 are equal run by run',
        'other settings were chosen for: cross-entropy, mar',
        'outside: mar, 4 shots, accuracy: 80.000 ± 0.000 before, 80.050 now',
    ]
    with pytest.raises(ValueError, match='have no figure in common'):
        agreement_of(now, {**earlier, 'summary': []})
    one = agreement_of({**now, 'summary': now['summary'][:1]}, earlier)
    assert one.figures == 1 and '2 means are of one of the two alone' in agreement_text(one, 'x')


@pytest.mark.parametrize(
    'name, runs',
    [
        ('digits', 180),
        ('letters', 54),
        ('pictogram_things', 54),
        ('things_seeds', 18),
        ('methods_things', 78),
        ('methods_things_longer', 42),
        ('methods_things_wider', 54),
        ('base_to_new_things', 78),
    ],
)
def test_the_committed_studies_choose_on_validation_pictures_with_seeds_of_their_own(name, runs):
    path = CONFIG_FOLDER / 'studies' / f'{name}.yaml'
    study = read_study(path)
    to_select = selection_cells(study)
    to_report = report_cells_of(study, 0)
    assert len(to_select) == runs and len({cell.key for cell in to_select}) == runs
    assert len({cell.key for cell in to_report}) == len(study.methods) * len(study.report['shots']) * len(study.report['seeds'])
    refuse_test_pictures(path, to_select, to_report)
    refuse_faulty_parts(study, to_select, to_report)
    assert not {cell.seed for cell in to_select} & {cell.seed for cell in to_report}
    assert {v.verdict for v in verdicts_of(study, [])} == ({'not measured'} if study.claims else set())


def test_a_study_with_a_part_that_cannot_be_built_is_refused_before_anything_runs(tmp_path):
    path = CONFIG_FOLDER / 'studies' / 'pictogram_things.yaml'
    content = yaml.safe_load(path.read_text())
    content['config'] = 'mps_mini_16shot_pictogram_things.py'  # one of the package, wherever the study lies
    content['methods'] = {name: content['methods'][name] for name in ('linear_probe', 'ce')}
    del content['claims'], content['methods']['linear_probe']['options']  # it then has the metrics of all others
    (tmp_path / 'study.yaml').write_text(yaml.safe_dump(content))
    study = read_study(tmp_path / 'study.yaml')
    assert study.methods[0].config == str(CONFIG_FOLDER / 'mps_mini_16shot_pictogram_things.py')
    with pytest.raises(
        ValueError, match=r'cannot be built: linear_probe: test_evaluator: ValueError: .* tunes no copy of a layer'
    ):
        refuse_faulty_parts(study, selection_cells(study), report_cells_of(study, 0))
    content['methods']['linear_probe'] = None
    (tmp_path / 'study.yaml').write_text(yaml.safe_dump(content))
    study = read_study(tmp_path / 'study.yaml')
    assert [method.name for method in study.methods] == ['ce']
    refuse_faulty_parts(study, selection_cells(study), report_cells_of(study, 0))
    # A number that only the last candidate has.
    content['methods']['ce']['candidates'][-1]['model.head.alpha'] = 2
    (tmp_path / 'study.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match='cannot be built: ce.9: model: ValueError: alpha must lie between 0 and 1'):
        study = read_study(tmp_path / 'study.yaml')
        refuse_faulty_parts(study, selection_cells(study), report_cells_of(study, 0))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['pictogram_things', 'methods_things', 'base_to_new_things'])
def test_the_model_of_every_candidate_of_the_committed_studies_can_be_built(name):
    for cell in selection_cells(read_study(CONFIG_FOLDER / 'studies' / f'{name}.yaml')):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(read_cell_config(cell).model)
        model.set_classes(['octopus', 'cloud with lightning and rain'])


def test_a_study_of_methods_runs_each_in_the_place_of_the_method_of_its_config():
    study = read_study(CONFIG_FOLDER / 'studies' / 'methods_things.yaml')
    assert {method.method for method in study.methods} == set(method_names()) - {'zero_shot'}  # which trains nothing
    cells = {cell.recipe: cell for cell in selection_cells(study)}
    tcp, tip = read_cell_config(cells['tcp.2']), read_cell_config(cells['tip_adapter.1'])
    assert (tcp.model.type, tcp.model.knowledge_weight, tcp.optim_wrapper.optimizer.lr) == ('TCPClassifier', 8, 0.0007)
    assert tip.train_cfg.search is None and tip.val_dataloader is None  # which would see more labels than the others
    assert tcp.train_dataloader.dataset.num_shots == 4 and tcp.test_dataloader.dataset.subset == 'val'
    choices = study_content(
        study, {method.name: Choice(0, method.candidates[0], [spread_of([1.0])] * study.budget) for method in study.methods}, []
    )['choices']
    assert (choices['tcp']['method'], choices['tcp']['recipe'], choices['tcp']['label']) == ('tcp', 'default', 'TCP')


def test_what_is_chosen_for_all_things_is_chosen_by_the_same_runs_as_for_base_to_new_classes():
    whole, halves = (
        {cell.recipe: cell.key for cell in selection_cells(read_study(CONFIG_FOLDER / 'studies' / f'{name}.yaml'))}
        for name in ('methods_things', 'base_to_new_things')
    )
    of_losses = {f'{method}.{number}' for method in ('ce', 'cosine', 'mar', 'hms') for number in range(1, 7)}
    assert {name for name, key in halves.items() if whole.get(name) != key} == of_losses


def test_more_seeds_of_the_losses_have_the_settings_that_were_chosen_for_five():
    few, many = (read_study(CONFIG_FOLDER / 'studies' / f'{name}.yaml') for name in ('pictogram_things', 'things_seeds'))
    assert not set(few.report['seeds']) & set(many.report['seeds'])
    assert (many.selection, many.options) == (few.selection, few.options)
    assert [method.name for method in many.methods if method in few.methods] == ['ce', 'full']


def test_longer_trainings_of_methods_differ_in_their_length_alone():
    short, long = (
        {method.name: method for method in read_study(CONFIG_FOLDER / 'studies' / f'{name}.yaml').methods}
        for name in ('methods_things', 'methods_things_longer')
    )
    lengths = {'train_cfg', 'train_cfg.max_epochs', 'param_scheduler'}
    averaged = {f'default_hooks.epoch_average.weights.{name}' for name in ('mean', 'std')}
    for name, method in long.items():
        assert method.candidates == short[name].candidates
        changed = {key for key, value in method.options.items() if value != short[name].options[key]}
        assert changed <= lengths | averaged and set(method.options) == set(short[name].options)
        passes = [_passes(short[name]), _passes(method)]
        assert passes == ([None, None] if name == 'linear_probe' else [6, 24])
        schedulers = method.options.get('param_scheduler', [])
        assert all(scheduler['T_max'] == scheduler['end'] == 24 for scheduler in schedulers)
    averages = [methods['promptsrc'].options for methods in (short, long)]
    assert all(averages[1][key] == 4 * averages[0][key] for key in averaged)


def test_wider_candidates_of_methods_are_those_that_there_were_and_three_more():
    six, nine = (
        {method.name: method for method in read_study(CONFIG_FOLDER / 'studies' / f'{name}.yaml').methods}
        for name in ('methods_things_longer', 'methods_things_wider')
    )
    assert six.keys() - nine.keys() == {'coop'}
    for name, method in nine.items():
        assert method.candidates[:6] == six[name].candidates and len(method.candidates) == 9
        assert method.options == six[name].options


def _passes(method):
    return method.options.get('train_cfg.max_epochs', method.options.get('train_cfg', {}).get('max_epochs'))


@pytest.mark.parametrize(
    'method, message',
    [
        (dict(method='coup'), "method 'a': there is no method 'coup': expected one of amu_tuning"),
        (dict(method='zero_shot'), "method 'a' trains nothing: there is nothing to choose; columns have zero_shot"),
        (dict(method='coop', recipe='paper'), "has method='coop' and recipe='paper', expected the name of a method, and one of"),
        (dict(recipe='official'), "has method='' and recipe='official', expected the name of a method"),
    ],
)
def test_methods_of_a_study_that_do_not_fit_are_refused(tmp_path, method, message):
    content = dict(
        config='c.py',
        baseline='a',
        selection=dict(shots=1, seeds=[1], metric='x'),
        report=dict(shots=[1], seeds=[2]),
        columns=[dict(metric='x', title='x')],
        methods=dict(a=dict(candidates=[{}], **method)),
    )
    (tmp_path / 'study.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as caught:
        read_study(tmp_path / 'study.yaml')
    assert message in str(caught.value)


def test_the_grid_of_single_changes_has_one_recipe_per_change():
    grid = read_grid_file(CONFIG_FOLDER / 'grids' / 'mini_parts.yaml')
    cells = make_cells(
        [CONFIG_FOLDER.parent / grid['configs'][0]],
        grid['shots'],
        grid['seeds'][:1],
        grid['recipes'],
        grid['cfg_options'],
        with_targets=True,
    )
    assert len({cell.key for cell in cells}) == len(cells) == len(grid['recipes'])
    assert list(read_cell_config(cells[0]).test_cfg.targets) == ['symbols']
    assert {cell.options['model.head.alpha'] for cell in cells if cell.recipe.startswith('alpha ')} == {0, 0.1, 0.3, 0.5, 0.9, 1}
