"""The grids of the paper's tables and figures: they expand, recipes do what they are called, figures are right."""

import math
import re

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from paper_grids import ALIASES, GRIDS, files_read_once, flags_of
from tiny_clip import save_tiny_clip
from tiny_digits import CONFIG_FOLDER, ROOT

from mmpretrain_mps.benchmark.command import cells_of, quotable_labels, run
from mmpretrain_mps.benchmark.execution import Shard
from mmpretrain_mps.benchmark.grid import find_config, make_cells, read_cell_config, read_grid_file
from mmpretrain_mps.benchmark.parts import PartsCheck

RUNS = dict(
    main=165,
    domain_generalization=3,
    base_to_new=33,
    cross_data_set=3,
    components=132,
    alignment_parts=165,
    consistency=594,
    sculpted_layers=198,
    alpha=363,
    lambda1=231,
    lambda2=231,
    tuned_weights=363,
    supervised_logits=66,
    speed=1,
)
# The same of grids that compare methods, with all of them. A method that trains nothing is run once for each data set.
RUNS_OF_METHODS = dict(
    main=13 * 165 + 11, domain_generalization=13 * 3 + 1, base_to_new=9 * 33 + 11, cross_data_set=9 * 3 + 1, speed=13 + 1
)
DEFINITIONS = read_grid_file(str(GRIDS['main']))['definitions']
VARIANTS = ('paper', 'official')


@pytest.fixture(scope='module', autouse=True)
def read_once():
    with files_read_once():
        yield


def lay_out(name, **flags):
    """Return the cells of a grid; of one that compares methods, those of MPS-Tuning unless told."""
    methods = flags.pop('methods', ['mps'] if name in RUNS_OF_METHODS else [])
    return cells_of(flags_of(methods=methods, **flags), CONFIG_FOLDER, read_grid_file(str(GRIDS[name])))


def test_every_grid_of_the_paper_is_known_here_and_in_the_documentation():
    assert set(GRIDS) == set(RUNS)
    text = (ROOT / 'docs' / 'paper.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| `configs/grids/paper/(\w+)\.yaml` .*?\| (\d+) \|$', text, re.MULTILINE))
    assert {name: int(runs) for name, runs in rows.items()} == {**RUNS, **RUNS_OF_METHODS}


@pytest.mark.parametrize('name', RUNS)
def test_a_grid_has_as_many_cells_as_it_says_with_both_recipes(name):
    header = GRIDS[name].read_text(encoding='utf-8')
    assert f'\n# {RUNS_OF_METHODS.get(name, RUNS[name])} run' in header
    assert f'--grid configs/grids/paper/{name}.yaml' in header
    assert name not in RUNS_OF_METHODS or re.search(rf'`--methods mps` does the ({RUNS[name]}|one) of MPS-Tuning', header)
    seeds = read_grid_file(str(GRIDS[name]))['seeds']
    assert seeds == ([1] if name == 'speed' else [1, 2, 3])
    # Every config of every cell is read here; seeds change nothing but the seed.
    cells = lay_out(name, seeds=[1], recipes=VARIANTS)
    assert len(cells) * len(seeds) == 2 * RUNS[name]
    assert len({cell.key for cell in cells}) == len(cells)
    if name in RUNS_OF_METHODS:
        assert {cell.recipe for cell in cells} == {'mps-default', 'mps-official'}
        return
    assert {cell.recipe.partition('-')[0] for cell in cells} == set(VARIANTS)
    assert all(cell.config.endswith('_official.py') == cell.recipe.startswith('official') for cell in cells)


@pytest.mark.parametrize('name', RUNS_OF_METHODS)
def test_a_grid_of_methods_has_each_of_them_on_the_same_pictures(name):
    methods = read_grid_file(str(GRIDS[name]))['methods']
    cells = lay_out(name, methods=[], seeds=[1], datasets=['SUN397'] if name == 'speed' else [], shots=[16])
    datasets = {cell.config for cell in cells}
    assert len(cells) == len(methods) * len(datasets) and {cell.recipe for cell in cells} == set(methods)
    per_method = RUNS[name] // len(datasets)
    assert RUNS_OF_METHODS[name] == len(datasets) * ((len(methods) - 1) * per_method + 1)
    # One config file for all methods, so that picks, test pictures and targets are the same.
    assert {(cell.config, cell.method) for cell in cells} == {(config, name) for config in datasets for name in methods}
    assert all((cell.shots, cell.trains) == ((0, False) if cell.method == 'zero_shot' else (16, True)) for cell in cells)
    tasks = {read_cell_config(cell).get('task') for cell in cells[:3]}
    assert tasks == {dict(base_to_new='base_to_new', cross_data_set='transfer').get(name, 'few_shot')}


def test_the_configs_of_methods_get_the_recipe_of_the_task():
    cells = {cell.method: cell for cell in lay_out('base_to_new', methods=[], seeds=[1], datasets=['DTD'])}
    epochs = {name: read_cell_config(cells[name]).train_cfg.max_epochs for name in ('promptsrc', 'coop', 'tcp', 'mps')}
    assert epochs == dict(promptsrc=20, coop=200, tcp=50, mps=50)
    transfer = {cell.method: cell for cell in lay_out('cross_data_set', methods=[], seeds=[1])}
    assert read_cell_config(transfer['coop']).model.num_context == 4
    assert read_cell_config(transfer['tac']).train_cfg.max_epochs == 5


def test_named_methods_take_the_place_of_those_of_a_grid_and_changes_go_with_mps_alone():
    labels = [cell.recipe for cell in lay_out('main', methods=['coop', 'mps'], datasets=['DTD'], seeds=[1], shots=[1])]
    assert labels == ['coop', 'mps']
    cells = lay_out('components', methods=['mps', 'coop'], datasets=['DTD'], seeds=[1], shots=[1])
    assert [cell.recipe for cell in cells] == ['mps-ce', 'mps-ce_mar', 'mps-ce_hms', 'mps-full', 'coop']
    assert 'model.gram_loss.loss_weight' in cells[0].options and 'model.gram_loss.loss_weight' not in cells[4].options
    grid = read_grid_file(str(GRIDS['components']))
    assert quotable_labels(flags_of(methods=['mps', 'coop'], recipes=['default', 'official', 'ce', 'full']), grid) == {
        'mps-default-ce': 'ce',
        'mps-default-full': 'full',
        'mps-official-ce': 'ce',
        'mps-official-full': 'full',
    }


@pytest.mark.parametrize(
    'flags, message',
    [
        (dict(methods=['coop', 'coop']), "'coop' is named twice; expected each method once"),
        (dict(methods=['coop'], recipes=['linear_probe']), "recipes 'linear_probe' are none of a method; expected each"),
        (dict(methods=['coup']), "there is no method 'coup'"),
    ],
)
def test_methods_that_cannot_be_laid_out_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        lay_out('main', datasets=['DTD'], **flags)


@pytest.mark.parametrize('name', RUNS)
def test_a_dry_run_of_a_grid_lists_its_runs_and_misses_nothing_but_weights_and_data(name, tmp_path):
    lines, nowhere = [], dict(pretrained=str(tmp_path / 'no.pt'), data_root=str(tmp_path / 'no'))
    methods = ['mps', 'linear_probe'] if name in ('main', 'domain_generalization', 'speed') else ['mps']
    methods = methods if name in RUNS_OF_METHODS else []
    runs = RUNS[name] * max(1, len(methods))
    flags = flags_of(
        grid=str(GRIDS[name]),
        methods=methods,
        cfg_options=nowhere,
        work_dir=str(tmp_path / 'out'),
        runs_dir=None,
        dry_run=True,
        step_seconds=None,
        executor='local',
        slurm=None,
        shard=Shard(),
        devices=['cpu'],
        jobs=1,
        resume=True,
        keep_checkpoints=False,
    )
    assert run(flags, CONFIG_FOLDER, lines.append) == 1
    datasets = read_grid_file(str(GRIDS[name]))['datasets']
    assert sum(int(count) for line in lines for count in re.findall(r'\((\d+) runs\)$', line)) == runs
    assert lines[len(datasets)] == f'{runs} runs, 0 done before, {runs} to run'
    missing = len(datasets) + dict(domain_generalization=3, cross_data_set=11).get(name, 1)
    assert sum(line.startswith('MISSING') for line in lines) == missing
    assert lines[-1] == f'dry run: NOT ready, {missing} missing, see above'  # and no part is faulty


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_method_builds_on_every_data_set(variant):
    parts = PartsCheck()
    cells = [
        cell
        for name in ('main', 'domain_generalization')
        for cell in lay_out(name, seeds=[1], shots=[16], recipes=[variant], methods=['mps'])
    ]
    assert len(cells) == 11 + 1 and {cell.recipe for cell in cells} == {'mps'}
    assert {cell.config: parts.faults_of(read_cell_config(cell)) for cell in cells} == {cell.config: [] for cell in cells}


def test_the_recipe_paper_alone_is_the_default_and_one_recipe_needs_no_mention():
    assert {cell.recipe for cell in lay_out('components', datasets=['DTD'])} == {'ce', 'ce_mar', 'ce_hms', 'full'}
    official = lay_out('components', datasets=['DTD'], recipes=['official', 'ce'])
    assert {(cell.recipe, cell.config.endswith('_dtd_official.py')) for cell in official} == {('ce', True)}
    # A recipe that the grid does not compare, but that is defined beside those that it does.
    assert {cell.recipe for cell in lay_out('components', datasets=['DTD'], recipes=['alpha_0.5'])} == {'alpha_0.5'}
    with pytest.raises(ValueError, match="no config for data set 'DTD' with recipe 'cee'"):
        lay_out('components', datasets=['DTD'], recipes=['cee'])


def test_the_linear_probe_is_a_method_and_takes_no_changes_of_mps():
    cells = lay_out('main', methods=['mps', 'linear_probe'], seeds=[1], shots=[16])
    assert {cell.recipe for cell in cells} == {'mps', 'linear_probe'} and len(cells) == 22
    (cell,) = lay_out('domain_generalization', methods=['linear_probe'], seeds=[1])
    assert PartsCheck().faults_of(read_cell_config(cell)) == []
    with pytest.raises(ValueError, match="LinearProbeClassifier takes no 'gram_loss'; .* takes no 'sculpt_loss'"):
        lay_out('components', datasets=['DTD'], recipes=['linear_probe', 'ce'])


def test_domain_generalisation_tests_the_targets_and_insists_on_those_of_the_paper():
    cell = lay_out('domain_generalization')[0]
    cfg = read_cell_config(cell)
    assert list(cfg.test_cfg.targets) == ['imagenet_v2', 'imagenet_sketch', 'imagenet_a', 'imagenet_r']
    assert cfg.test_cfg.requested == ['imagenet_v2', 'imagenet_sketch'] and cell.with_targets
    assert not read_cell_config(lay_out('main', datasets=['ImageNet'])[0]).test_cfg.targets


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    """A random CLIP with as many blocks as ViT-B/16, and nothing else like it."""
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny', layers=12)


def tiny_config(recipe, variant, architecture, dataset='DTD'):
    cells = make_cells(
        [('', find_config(dataset, variant, CONFIG_FOLDER))],
        [2],
        [1],
        {recipe: DEFINITIONS[recipe]},
        dict(architecture=architecture, pretrained=None),
    )
    return read_cell_config(cells[0])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('recipe', DEFINITIONS)
def test_every_recipe_builds_and_takes_a_step(recipe, variant, architecture):
    cfg = tiny_config(recipe, variant, architecture)
    assert PartsCheck().faults_of(cfg) == []
    losses, model = step(cfg)
    total = sum(value for name, value in losses.items() if 'loss' in name)
    assert math.isfinite(total.item())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total.backward()
    assert trained and all(torch.isfinite(p.grad).all() for p in trained if p.grad is not None)


def step(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    model.class_names = ('cat', 'dog')
    model.text_prototypes = torch.randn(2, model.backbone.embed_dims)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 0)]
    return model([torch.randn(3, 3, 16, 16) for _ in range(2)], samples, mode='loss'), model


@pytest.mark.parametrize(
    'recipe, terms',
    [
        ('full', 'gram_global gram_local sculpt_layer0 sculpt_layer1'),
        ('ce', ''),
        ('ce_mar', 'gram_global gram_local'),
        ('ce_hms', 'sculpt_layer0 sculpt_layer1'),
        ('mar_global', 'gram_global sculpt_layer0 sculpt_layer1'),
        ('mar_local', 'gram_local sculpt_layer0 sculpt_layer1'),
        ('sculpt_output', 'gram_global gram_local sculpt_layer0'),
        ('sculpt_three', 'gram_global gram_local sculpt_layer0 sculpt_layer1 sculpt_layer2'),
        ('point_l1', 'point_cls sculpt_layer0 sculpt_layer1'),
        ('logit_kl', 'logit_kl sculpt_layer0 sculpt_layer1'),
        ('fine_tuning', ''),
    ],
)
def test_a_recipe_has_the_terms_that_its_name_says(recipe, terms, architecture):
    losses, _ = step(tiny_config(recipe, 'paper', architecture))
    assert {name for name in losses if 'loss' in name} == {'loss_ce', *(f'loss_{term}' for term in terms.split())}


@pytest.mark.parametrize('recipe', ALIASES)
def test_what_has_the_figures_of_the_method_computes_what_the_method_computes(recipe, architecture):
    losses, _ = step(tiny_config(recipe, 'paper', architecture))
    assert losses == step(tiny_config('full', 'paper', architecture))[0]
    assert losses != step(tiny_config('ce_mar', 'paper', architecture))[0]


def test_the_values_of_recipes_reach_the_model(architecture):
    def model_of(recipe, variant='paper'):
        return tiny_config(recipe, variant, architecture).model

    assert [model_of(f'alpha_{share}').head.alpha for share in ('0.0', '0.4', '1.0')] == [0, 0.4, 1]
    assert model_of('lambda1_0.25', 'official').gram_loss.loss_weight == 0.25
    assert model_of('lambda2_0.05').sculpt_loss.loss_weight == 0.05
    assert model_of('mar_p2').gram_loss.p == 2 and model_of('ce_on_tuned').head.supervise == 'tuned'
    assert list(model_of('depths_6_3_3').backbone.group_depths) == [6, 3, 3]
    assert model_of('no_adapters').backbone.adapters is False
    for variant in VARIANTS:
        assert model_of('sculpt_two', variant).sculpt_loss.normalize_text is True
        assert model_of('sculpt_two_raw_text', variant).sculpt_loss.normalize_text is False
        assert list(model_of('sculpt_three', variant).sculpt_loss.temperature_factors) == [1, 1, 2]
    assert model_of('point_cosine').gram_loss.loss_weight == 0
    assert model_of('point_cosine').point_loss.distance == 'cosine'
    assert tiny_config('wise_ft', 'paper', architecture).default_hooks.weight_interpolation == dict(
        type='WeightInterpolationHook', share=0.5
    )


def test_equal_names_are_equal_runs_so_that_grids_can_share_them():
    folders = [
        {cell.folder for cell in lay_out(name, datasets=['DTD'], shots=[16]) if cell.recipe == 'full'}
        for name in ('components', 'alpha', 'tuned_weights')
    ]
    assert len(folders[0]) == 3 and all(folder == folders[0] for folder in folders)
    # As a method it has another name; read_result finds what has the same config.
    keys = {cell.folder.name for cell in lay_out('main', datasets=['DTD'], shots=[16])}
    assert keys == {folder.name for folder in folders[0]}
