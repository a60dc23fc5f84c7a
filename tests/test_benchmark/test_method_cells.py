"""Cells of a grid that compares methods: what they run, where they lie, which of them are the same run."""

import json

import pytest
from mmengine.config import Config
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark.cell_run import RESULT_FILE, RESULT_FORMAT, read_result
from mmpretrain_mps.benchmark.grid import Treatment, find_config, make_cells, read_cell_config
from mmpretrain_mps.benchmark.parts import PartsCheck
from mmpretrain_mps.benchmark.progress import Progress
from mmpretrain_mps.benchmark.selection import apply_selection, choice_pictures
from mmpretrain_mps.utils.methods import method_names

DIGITS = str(CONFIG_FOLDER / 'mps_mini_16shot_digits.py')


def lay_out(*names, config=DIGITS, shots=(1, 16), seeds=(1, 2), recipe='default', **flags):
    treatments = [Treatment(name, name, recipe) for name in names]
    return make_cells([config], list(shots), list(seeds), treatments=treatments, **flags)


@pytest.mark.parametrize('recipe', ['default', 'official'])
def test_every_method_is_sound_on_the_digits_and_on_a_data_set_of_the_field(recipe):
    parts = PartsCheck()
    for config in (DIGITS, find_config('DTD', 'paper', CONFIG_FOLDER), find_config('DTD', 'paper', CONFIG_FOLDER, 'base2new')):
        cells = lay_out(*method_names(), config=config, shots=[4], seeds=[1], recipe=recipe)
        faults = {cell.recipe: parts.faults_of(read_cell_config(cell)) for cell in cells}
        assert faults == {name: [] for name in method_names()}


def test_a_method_that_trains_nothing_is_one_cell_without_shots():
    cells = lay_out('coop', 'zero_shot')
    assert [(cell.method, cell.shots, cell.seed) for cell in cells] == [
        ('coop', 1, 1),
        ('coop', 1, 2),
        ('coop', 16, 1),
        ('coop', 16, 2),
        ('zero_shot', 0, 1),
    ]
    zero_shot = cells[-1]
    assert not zero_shot.trains and zero_shot.name == 'mps_mini_16shot_digits zero_shot'
    cfg = read_cell_config(zero_shot)
    assert cfg.train_dataloader is None and cfg.val_dataloader is None and cfg.model.type == 'ZeroShotClassifier'
    # It has no best epoch on validation pictures either.
    assert lay_out('zero_shot', select='val')[0].key == zero_shot.key


def test_a_run_is_found_whatever_it_is_called(tmp_path):
    (own,) = make_cells([DIGITS], [4], [1], {'full': {}})
    (method,) = lay_out('mps', shots=[4], seeds=[1])
    assert method.key == own.key and method.folder != own.folder
    (tmp_path / own.folder).mkdir(parents=True)
    content = dict(
        format=RESULT_FORMAT,
        hash=own.key,
        recipe='full',
        config='other.py',
        method='',
        metrics={},
        shots=4,
        seed=1,
        dataset='Digits',
    )
    (tmp_path / own.folder / RESULT_FILE).write_text(json.dumps(content))
    found = read_result(tmp_path, method)
    assert (found['recipe'], found['method'], found['config']) == ('mps', 'mps', 'mps_mini_16shot_digits.py')
    assert read_result(tmp_path, own)['recipe'] == 'full'
    assert read_result(tmp_path, lay_out('coop', shots=[4], seeds=[1])[0]) is None


def test_methods_have_the_same_pictures_and_their_own_lengths():
    cells = {(cell.method, cell.shots): read_cell_config(cell) for cell in lay_out('coop', 'mps', seeds=[3])}
    assert [cells['coop', shots].train_cfg.max_epochs for shots in (1, 16)] == [50, 200]
    for shots in (1, 16):
        first, second = (cells[name, shots].train_dataloader.dataset for name in ('coop', 'mps'))
        assert (first.num_shots, first.seed, first.dataset.type) == (second.num_shots, second.seed, second.dataset.type)
        assert cells['coop', shots].test_dataloader == cells['mps', shots].test_dataloader


def test_validation_pictures_stay_where_the_training_chooses_by_them():
    by_method = {cell.method: read_cell_config(cell) for cell in lay_out('tip_adapter', 'mps', shots=[4], seeds=[1])}
    assert by_method['tip_adapter'].val_dataloader.dataset.subset == 'val' and by_method['mps'].val_dataloader is None
    (without,) = lay_out('tip_adapter', shots=[4], seeds=[1], options={'train_cfg.search': None})
    assert read_cell_config(without).val_dataloader is None
    (imagenet,) = lay_out('tip_adapter', config=str(CONFIG_FOLDER / 'mps_vitb16_16shot_imagenet.py'), shots=[4], seeds=[1])
    assert read_cell_config(imagenet).val_dataloader is None  # there are none


def test_what_a_training_chooses_by_is_known_and_validation_by_test_pictures_is_refused():
    def cfg_of(**train):
        return Config(
            dict(
                train_cfg=train,
                val_dataloader=dict(dataset=dict(type='Digits', subset='test')),
                test_dataloader=dict(dataset=dict(type='Digits', subset='test')),
            )
        )

    assert choice_pictures(cfg_of(max_epochs=1)) == set()
    assert choice_pictures(cfg_of(search=dict(scale=(1, 1)))) == {'val'}
    assert choice_pictures(cfg_of(search=dict(pictures='test'), best_epoch_on='test')) == {'test'}
    assert choice_pictures(cfg_of(search=dict(pictures='val', dataloader=dict(batch_size=1)))) == set()
    with pytest.raises(ValueError, match='train_cfg chooses by val_dataloader, which shows the test pictures'):
        apply_selection(cfg_of(search=dict(scale=(1, 1))), 'last')


def test_the_official_recipe_of_tip_adapter_says_that_it_chooses_by_test_pictures():
    imagenet = str(CONFIG_FOLDER / 'mps_vitb16_16shot_imagenet.py')
    official = {
        cell.method: read_cell_config(cell)
        for cell in lay_out('tip_adapter', 'tip_adapter_f', 'coop', config=imagenet, shots=[16], seeds=[1], recipe='official')
    }
    assert {name: choice_pictures(cfg) for name, cfg in official.items()} == dict(
        tip_adapter={'test'}, tip_adapter_f={'test'}, coop=set()
    )


def test_progress_goes_on_from_cells_without_shots():
    lines, cells = [], lay_out('zero_shot', 'coop', shots=[4], seeds=[1])
    progress = Progress(cells, [None, None], 1, lines.append)
    progress.ended(cells[0], dict(metrics={'accuracy/fused': 91.1}, seconds=dict(training=0.0)), 10.0)
    assert 'zero_shot: 91.10 %, 10 s; about 10 s left' in lines[-1]
