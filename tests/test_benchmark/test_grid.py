import json

import pytest
from mmengine.config import Config
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark.grid import find_config, make_cells, read_cell_config, read_grid_file
from mmpretrain_mps.benchmark.selection import shows_test_pictures
from mmpretrain_mps.utils.option_values import Typed

CONFIG = """
num_shots = 16
seed = 1
workers = 0
randomness = dict(seed=seed)
model = dict(type='Anything', weight=1.0)
train_dataloader = dict(
    num_workers=workers,
    dataset=dict(type='FewShotDataset', num_shots=num_shots, seed=seed, dataset=dict(subset='train')))
val_dataloader = dict(num_workers=workers, dataset=dict(type='Digits', subset='val', pipeline=[]))
test_dataloader = dict(num_workers=workers, dataset=dict(type='Digits', subset='test', pipeline=[]))
val_evaluator = test_evaluator = dict(type='BranchAccuracy')
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict(type='DomainGeneralizationLoop', targets=dict(one=dict(type='Other')))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mps_mini_16shot_digits.py'
    path.write_text(CONFIG)
    return str(path)


def changed(config, *replacements):
    text = CONFIG
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    with open(config, 'w') as file:
        file.write(text)
    return config


def test_a_config_that_is_named_alone_is_that_of_the_package(tmp_path, monkeypatch):
    by_path = make_cells(
        [str(CONFIG_FOLDER / 'mps_mini_16shot_digits.py')], [1, 4], [1], options={'train_cfg.max_epochs': Typed('3')}
    )
    monkeypatch.chdir(tmp_path)
    for name in ('mps_mini_16shot_digits.py', 'configs/mps_mini_16shot_digits.py'):
        cells = make_cells([name], [1, 4], [1], options={'train_cfg.max_epochs': Typed('3')})
        assert cells == by_path
        with pytest.raises(ValueError, match='the config has 50 there, expected a number'):
            make_cells([name], [1], [1], options={'train_cfg.max_epochs': Typed('abc')})
    (tmp_path / 'mps_mini_16shot_digits.py').write_text(CONFIG)  # one's own comes first
    assert make_cells(['mps_mini_16shot_digits.py'], [1], [1])[0].config == 'mps_mini_16shot_digits.py'


def test_shots_and_seed_reach_every_place_of_the_config(config):
    cells = make_cells([config], [2, 4], [7])
    assert [(cell.shots, cell.seed) for cell in cells] == [(2, 7), (4, 7)]
    cfg = read_cell_config(cells[1])
    assert cfg.train_dataloader.dataset.num_shots == 4
    assert cfg.train_dataloader.dataset.seed == cfg.randomness.seed == 7


def test_the_key_follows_the_content_and_not_the_file(config, tmp_path):
    key = make_cells([config], [2], [1])[0].key
    (tmp_path / 'elsewhere').mkdir()
    copy = tmp_path / 'elsewhere' / 'renamed.py'
    copy.write_text(CONFIG.replace('workers = 0', 'workers = 4') + "log_level = 'DEBUG'\n")
    assert make_cells([str(copy)], [2], [1])[0].key == key
    assert make_cells([changed(config, ('weight=1.0', 'weight=2.0'))], [2], [1])[0].key != key


def test_keys_differ_by_shots_seed_recipe_selection_and_targets(config):
    keys = {cell.key for cell in make_cells([config], [1, 2], [1, 2], {'a': {}, 'b': {'model.weight': 2.0}})}
    keys |= {make_cells([config], [1], [1], select='val')[0].key, make_cells([config], [1], [1], with_targets=True)[0].key}
    assert len(keys) == 10


def test_recipes_change_the_config_and_name_the_folder(config):
    cells = make_cells([config], [1], [1], {'full': {}, 'light': {'model.weight': 0.5}})
    assert [read_cell_config(cell).model.weight for cell in cells] == [1.0, 0.5]
    assert [cell.folder.parts[0] for cell in cells] == ['mps_mini_16shot_digits-full', 'mps_mini_16shot_digits-light']
    assert cells[1].folder.name == f'1shots_seed1-{cells[1].key[:10]}'


def test_the_last_epoch_is_reported_without_a_look_at_validation(config):
    cfg = read_cell_config(make_cells([config], [1], [1])[0])
    assert cfg.val_dataloader is None and 'save_best' not in cfg.default_hooks.checkpoint
    assert cfg.test_cfg.targets is None


def test_selection_by_validation_validates_every_epoch_and_keeps_the_best(config):
    cfg = read_cell_config(make_cells([config], [1], [1], select='val', with_targets=True)[0])
    assert cfg.default_hooks.checkpoint.save_best == 'accuracy/fused' and cfg.train_cfg.val_interval == 1
    assert cfg.test_cfg.targets == dict(one=dict(type='Other'))
    rare = changed(config, ('val_interval=10', 'val_interval=5'))
    assert read_cell_config(make_cells([rare], [1], [1], select='val')[0]).train_cfg.val_interval == 5


def test_selection_on_test_is_refused_when_asked_for(config):
    with pytest.raises(ValueError, match='selection on the test split is refused'):
        make_cells([config], [1], [1], select='test')
    with pytest.raises(ValueError, match="select is 'best', expected 'last' or 'val'"):
        make_cells([config], [1], [1], select='best')


@pytest.mark.parametrize(
    'val',
    [
        "subset='test', pipeline=[]",
        "subset='test', pipeline=[dict(type='Other')], test_mode=True",
        "subset='test', class_names=['a'], pipeline=[]",
    ],
)
@pytest.mark.parametrize(
    'select, hook', [('val', "type='AtomicCheckpointHook'"), ('last', "type='AtomicCheckpointHook', save_best='auto'")]
)
def test_selection_on_test_is_refused_when_validation_shows_test_pictures(config, val, select, hook):
    changed(config, ("subset='val', pipeline=[]", val), ("type='AtomicCheckpointHook'", hook))
    with pytest.raises(ValueError, match='refused: .* chooses by val_dataloader, which shows the test pictures'):
        make_cells([config], [1], [1], select=select)


def test_early_stopping_on_test_pictures_is_selection_too(config):
    changed(config, ("subset='val'", "subset='test'"))
    with open(config, 'a') as file:
        file.write("custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/fused')]\n")
    with pytest.raises(ValueError, match='refused: EarlyStoppingHook'):
        make_cells([config], [1], [1])


def test_looking_at_test_pictures_without_choosing_by_them_is_allowed(config):
    changed(config, ("subset='val'", "subset='test'"))
    assert make_cells([config], [1], [1])


def test_the_same_annotation_file_is_the_same_pictures_and_a_wrapper_hides_nothing():
    test = dict(dataset=dict(type='CustomDataset', data_root='x', ann_file='list.txt', pipeline=[1]))
    same = dict(dataset=dict(type='CustomDataset', data_root='x', ann_file='list.txt', pipeline=[2], test_mode=True))
    other = dict(dataset=dict(type='CustomDataset', data_root='x', ann_file='val.txt', pipeline=[1]))
    wrapped = dict(dataset=dict(type='FewShotDataset', subset='val', dataset=dict(type='Digits', subset='test')))
    assert shows_test_pictures(same, test) and not shows_test_pictures(other, test)
    assert shows_test_pictures(wrapped, None) and not shows_test_pictures(None, test)


def test_selection_by_validation_needs_a_validation_split(config):
    changed(
        config,
        (
            "val_dataloader = dict(num_workers=workers, dataset=dict(type='Digits', subset='val', pipeline=[]))",
            'val_dataloader = None',
        ),
    )
    with pytest.raises(ValueError, match='has no validation split'):
        make_cells([config], [1], [1], select='val')


@pytest.mark.parametrize(
    'shots, seeds, message',
    [
        ([], [1], r'shots are \[\]; expected whole numbers from 1 on'),
        ([0], [1], r'shots are \[0\]; expected whole numbers from 1 on'),
        ([1, 1], [1], r'shots are \[1, 1\]; expected each number once'),
        ([1], [-1], r'seeds are \[-1\]; expected whole numbers from 0 on'),
        ([1], ['2'], r"seeds are \['2'\]; expected whole numbers from 0 on"),
    ],
)
def test_axes_that_make_no_sense_are_refused(config, shots, seeds, message):
    with pytest.raises(ValueError, match=message):
        make_cells([config], shots, seeds)


def test_a_cell_that_is_there_twice_is_refused(config):
    with pytest.raises(ValueError, match='two cells of the grid are the same'):
        make_cells([config, config], [1], [1])


def test_a_misspelt_option_is_refused_before_anything_runs(config):
    with pytest.raises(ValueError, match="'modle.weight' .did you mean 'model'"):
        make_cells([config], [1], [1], options={'modle.weight': 2})
    with pytest.raises(FileNotFoundError, match='nowhere.py does not exist'):
        make_cells(['nowhere.py'], [1], [1])


def test_a_data_set_is_found_by_name_and_recipe(tmp_path):
    for name in (
        'mps_vitb16_16shot_oxford_pets.py',
        'mps_vitb16_16shot_oxford_pets_official.py',
        'mps_vitb16_16shot_custom.py',
        'mps_mini_16shot_custom.py',
    ):
        (tmp_path / name).write_text('')
    assert find_config('OxfordPets', 'paper', tmp_path).endswith('_oxford_pets.py')
    assert find_config('oxford-pets', 'official', tmp_path).endswith('_oxford_pets_official.py')
    with pytest.raises(ValueError, match="no config for data set 'custom' with recipe 'paper' and setting 'base2new'"):
        find_config('custom', 'paper', tmp_path, 'base2new')
    with pytest.raises(ValueError, match="no config for data set 'Cars'.*expected one of custom, oxfordpets"):
        find_config('Cars', 'paper', tmp_path)
    with pytest.raises(ValueError, match='several configs .mps_mini_16shot_custom.py, mps_vitb16_16shot_custom.py'):
        find_config('custom', 'paper', tmp_path)


def test_a_grid_file_is_read_whatever_its_form(tmp_path):
    content = dict(configs=['a.py'], shots=[1, 2], recipes=dict(full={}, light={'model.weight': 0.5}))
    (tmp_path / 'grid.json').write_text(json.dumps(content))
    (tmp_path / 'grid.py').write_text('\n'.join(f'{name} = {value!r}' for name, value in content.items()))
    Config(content).dump(str(tmp_path / 'grid.yaml'))
    for ending in ('json', 'py', 'yaml'):
        assert read_grid_file(str(tmp_path / f'grid.{ending}')) == content
    (tmp_path / 'wrong.yaml').write_text('shot: [1]\n')
    with pytest.raises(ValueError, match="wrong.yaml holds 'shot'; expected configs, datasets, setting, methods, shots"):
        read_grid_file(str(tmp_path / 'wrong.yaml'))
    with pytest.raises(FileNotFoundError, match='grid file .*none.yaml does not exist'):
        read_grid_file(str(tmp_path / 'none.yaml'))


@pytest.mark.parametrize(
    'text, message',
    [
        ('shots: 16', 'grid.yaml: shots is 16; expected a list'),
        ('recipes: full', "grid.yaml: recipes is 'full'; expected a list or a mapping"),
        ('definitions: [full]', "grid.yaml: definitions is ['full']; expected a mapping"),
        ('recipes: {full: 5}', 'grid.yaml: recipes.full is 5; expected a mapping of changes'),
        ('definitions: {full: [a]}', "grid.yaml: definitions.full is ['a']; expected a mapping of changes"),
        ('methods: coop', "grid.yaml: methods is 'coop'; expected a list"),
        ('setting: [base2new]', "grid.yaml: setting is ['base2new']; expected a text"),
        ('targets: sketch', "grid.yaml: targets is 'sketch'; expected true or false"),
    ],
)
def test_a_value_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / 'grid.yaml').write_text(text)
    with pytest.raises(ValueError) as caught:
        read_grid_file(tmp_path / 'grid.yaml')
    assert str(caught.value).endswith(message)
