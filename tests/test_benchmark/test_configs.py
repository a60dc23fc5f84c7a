import pytest
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark.grid import find_config, make_cells, read_cell_config, read_grid_file
from mmpretrain_mps.benchmark.parts import PartsCheck

# Of the released code: epochs, weight of alignment, temperature at start and end.
OFFICIAL = {
    'ImageNet': (50, 2, 0.1, 0.05),
    'Caltech101': (100, 0.5, 0.1, 0.05),
    'OxfordPets': (100, 2, 0.5, 0.07),
    'StanfordCars': (200, 0.5, 0.1, 0.05),
    'Flowers102': (200, 0.5, 0.1, 0.05),
    'Food101': (50, 2, 0.5, 0.07),
    'FGVCAircraft': (200, 0.5, 0.1, 0.05),
    'SUN397': (50, 2, 0.1, 0.05),
    'DTD': (100, 0.5, 0.5, 0.07),
    'EuroSAT': (200, 0.5, 0.5, 0.07),
    'UCF101': (100, 0.5, 0.5, 0.07),
}


def read(name, recipe, **flags):
    cells = make_cells([(recipe, find_config(name, recipe, CONFIG_FOLDER))], [4], [2], **flags)
    return read_cell_config(cells[0])


@pytest.mark.parametrize('name', OFFICIAL)
def test_each_data_set_has_a_config_by_both_recipes(name):
    paper, official = read(name, 'paper'), read(name, 'official')
    for cfg in (paper, official):
        assert cfg.test_dataloader.dataset.type == cfg.train_dataloader.dataset.dataset.type
        assert (cfg.train_dataloader.dataset.num_shots, cfg.train_dataloader.dataset.seed) == (4, 2)
        assert cfg.train_dataloader.batch_size == (64 if name == 'ImageNet' else 32)
        assert cfg.param_scheduler[1].T_max == cfg.train_cfg.max_epochs
    assert (paper.train_cfg.max_epochs, paper.model.gram_loss.loss_weight) == (50, 0.5)
    temperature = official.model.sculpt_loss.temperature
    assert OFFICIAL[name] == (
        official.train_cfg.max_epochs,
        official.model.gram_loss.loss_weight,
        temperature.start,
        temperature.end,
    )


@pytest.mark.parametrize('name', OFFICIAL)
@pytest.mark.parametrize('shots', [1, 2, 4, 8, 16])
def test_the_released_loader_drops_the_last_batch_of_every_data_set_with_any_shots(name, shots):
    official, paper = (
        make_cells([(recipe, find_config(name, recipe, CONFIG_FOLDER))], [shots], [1]) for recipe in ('official', 'paper')
    )
    assert read_cell_config(official[0]).train_dataloader.drop_last
    assert not read_cell_config(paper[0]).train_dataloader.get('drop_last')


@pytest.mark.parametrize('name', OFFICIAL)
def test_each_data_set_has_a_linear_probe_of_sound_parts(name):
    cfg, paper = read(name, 'linear_probe', options=dict(data_root='/data')), read(name, 'paper')
    assert PartsCheck().faults_of(cfg) == []
    assert (cfg.model.type, cfg.train_cfg.type, cfg.model.head.alpha) == ('LinearProbeClassifier', 'LinearProbeLoop', 1)
    assert cfg.train_dataloader.dataset.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    # The pictures are those of the method.
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    assert (train.num_shots, train.seed, train.dataset.type) == (4, 2, paper.train_dataloader.dataset.dataset.type)
    assert test.type == train.dataset.type and test.data_root == train.dataset.data_root == '/data'


def test_the_architecture_and_weights_of_a_linear_probe_reach_its_pictures():
    options = dict(architecture='ViT-L-14', pretrained='/my.pt')
    cfg = read('DTD', 'linear_probe', options=options)
    transforms = [loader.pipeline[1] for loader in (cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset)]
    assert all({**part, **options} == part for part in [cfg.model, *transforms])


def test_selection_by_validation_works_where_there_is_a_validation_split_and_is_refused_where_not():
    assert read('EuroSAT', 'paper', select='val').val_dataloader.dataset.subset == 'val'
    with pytest.raises(ValueError, match='has no validation split'):
        read('ImageNet', 'paper', select='val')


def test_the_grid_of_view_banks_differs_in_nothing_else_and_tests_on_both_splits():
    grid = read_grid_file(CONFIG_FOLDER / 'grids' / 'mini_view_bank.yaml')
    cells = make_cells(
        [CONFIG_FOLDER.parent / grid['configs'][0]],
        grid['shots'],
        grid['seeds'],
        grid['recipes'],
        grid['cfg_options'],
        with_targets=True,
    )
    assert len({cell.key for cell in cells}) == len(cells) == 4 * 5
    sizes = {}
    for cell in cells[::5]:
        cfg = read_cell_config(cell)
        assert cfg.test_cfg.targets == dict(validation=dict(type='Digits', subset='val'))
        (sizes[cell.recipe],) = (hook.view_bank for hook in cfg.custom_hooks if hook.type == 'ViewBankHook')
    assert sizes == dict(new_views=0, view_bank_4=4, view_bank_16=16, view_bank_64=64)
