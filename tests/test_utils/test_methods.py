"""--method: what a method owns is replaced, what it does not own stays, cases follow data set, shots and CLIP."""

import argparse

import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps import mini_clip
from mmpretrain_mps.benchmark.grid import config_key
from mmpretrain_mps.engine import command_line
from mmpretrain_mps.utils.methods import (
    METHOD_FOLDER,
    Situation,
    applies,
    changes_of,
    method_names,
    other_values,
    read_method,
    replace_method,
)

DIGITS, IMAGENET = 'mps_mini_16shot_digits.py', 'mps_vitb16_16shot_imagenet.py'
OWN_FILES = sorted(path.relative_to(CONFIG_FOLDER) for path in CONFIG_FOLDER.glob('[a-z]*/[a-z]*_*.py'))
ALL_METHODS = (
    'amu_tuning',
    'clip_adapter',
    'clip_lora',
    'coop',
    'ivlp',
    'linear_probe',
    'mps',
    'promptsrc',
    'tac',
    'tcp',
    'textrefiner',
    'tip_adapter',
    'tip_adapter_f',
    'zero_shot',
)


def read(config, *flags):
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    return command_line.read_config(str(CONFIG_FOLDER / config), parser.parse_args(list(map(str, flags))))


def key(cfg, *without):
    for name in without:
        cfg.pop(name, None)
    return config_key(cfg, 'last')


def test_every_method_has_a_base_file_of_its_name():
    assert tuple(method_names()) == ALL_METHODS
    for name in ALL_METHODS:
        content = read_method(name)
        assert content.method.name == name and content.method.label
        # In a config, the base files of the method, a data set and the runtime stand side by side.
        assert not set(content) & {'train_dataloader', 'default_hooks', 'custom_hooks', 'num_shots', 'seed'}


@pytest.mark.parametrize('name', ALL_METHODS)
def test_base_files_of_method_data_and_runtime_make_a_whole_config(name, tmp_path):
    path = tmp_path / 'whole.py'
    bases = [CONFIG_FOLDER / '_base_' / part for part in (f'methods/{name}.py', 'datasets/dtd.py')]
    path.write_text(f'_base_ = {[*map(str, bases), str(CONFIG_FOLDER / "default_runtime.py")]}')
    cfg = Config.fromfile(path)
    assert cfg.model.type == read_method(name).model.type and cfg.train_dataloader.dataset.dataset.type == 'CLIPDTD'


@pytest.mark.parametrize('config', sorted(path.name for path in CONFIG_FOLDER.glob('mps_*.py')))
def test_the_configs_of_mps_and_the_probe_are_what_the_method_gives(config):
    recipe = ('--recipe', 'official') if config.endswith('_official.py') else ()
    method = 'linear_probe' if config.endswith('_linear_probe.py') else 'mps'
    # A probe takes no step: what its config inherits as an optimizer does not matter.
    unused = ('optim_wrapper', 'auto_scale_lr') if method == 'linear_probe' else ()
    assert key(read(config), *unused) == key(read(config, '--method', method, *recipe), *unused)


@pytest.mark.parametrize('config', OWN_FILES, ids=lambda path: path.stem)
def test_the_config_file_of_a_method_is_what_the_method_gives(config):
    method = config.parent.name
    assert config.name.startswith(f'{method}_') and method in ALL_METHODS
    model, *_, data = config.stem[len(method) + 1 :].split('_')
    assert key(read(config)) == key(read(f'mps_{model}_16shot_{data}.py', '--method', method))


def test_every_method_has_config_files_for_imagenet_digits_and_own_pictures():
    theirs = {name: {path.stem for path in OWN_FILES if path.parent.name == name} for name in ALL_METHODS}
    for name in set(ALL_METHODS) - {'mps', 'linear_probe', 'zero_shot'}:
        assert theirs[name] == {
            f'{name}_{rest}'
            for rest in ('vitb16_16shot_imagenet', 'vitb16_16shot_custom', 'mini_16shot_digits', 'mini_16shot_custom')
        }


@pytest.mark.parametrize('name', ALL_METHODS)
def test_data_seed_shots_and_clip_of_the_config_stay(name):
    flags = ('num_shots=2', 'seed=7', 'data_root=/d', 'architecture=ViT-B-32', 'pretrained=/w.pt')
    cfg, before = read(IMAGENET, '--method', name, '--cfg-options', *flags), read(IMAGENET, '--cfg-options', *flags)
    assert (cfg.model.architecture, cfg.model.pretrained) == ('ViT-B-32', '/w.pt')
    assert cfg.test_dataloader == before.test_dataloader and cfg.test_cfg == before.test_cfg
    assert cfg.randomness == before.randomness == dict(seed=7)
    assert cfg.method.name == name and 'cases' not in cfg.method
    if name == 'zero_shot':
        assert cfg.train_dataloader is None and cfg.train_cfg is None
        return
    train, theirs = cfg.train_dataloader.dataset, before.train_dataloader.dataset
    assert (train.num_shots, train.seed) == (2, 7) and train.dataset.type == theirs.dataset.type
    assert train.dataset.data_root == '/d'
    steps = [step for step in train.dataset.pipeline if step.type == 'CLIPTestTransform' or step.type == 'DualView']
    assert {**steps[0].get('transforms', steps)[0], **dict(architecture='ViT-B-32', pretrained='/w.pt')} == (
        steps[0].get('transforms', steps)[0]
    )


def test_it_does_not_matter_which_method_the_config_is_of():
    def given(config, name):
        # CLIP-LoRA writes fewer checkpoints: how many epochs there were between two is forgotten.
        return key(read(config, '--method', name, '--cfg-options', 'default_hooks.checkpoint.interval=10'))

    expected = {name: given(DIGITS, name) for name in ALL_METHODS}
    others = (
        'promptsrc/promptsrc_mini_16shot_digits.py',
        'clip_lora/clip_lora_mini_16shot_digits.py',
        'mps_mini_16shot_digits_linear_probe.py',
        'tac/tac_mini_16shot_digits.py',
    )
    for config in others:
        for name in ALL_METHODS:
            assert given(config, name) == expected[name], (config, name)


# Epochs (or steps) that the cards of the methods give: 1, 4 and 16 shots of DTD, 16 of ImageNet.
@pytest.mark.parametrize(
    'name, lengths',
    [
        ('coop', (50, 100, 200, 50)),
        ('clip_adapter', (50, 100, 200, 50)),
        ('tcp', (50, 50, 50, 25)),
        ('promptsrc', (50, 50, 50, 50)),
        ('textrefiner', (10, 10, 10, 10)),
        ('tac', (20, 20, 20, 5)),
        ('tip_adapter_f', (20, 20, 20, 20)),
        ('amu_tuning', (50, 50, 50, 50)),
        ('clip_lora', (500, 2000, 8000, 8000)),
    ],
)
def test_the_length_of_a_training_and_of_its_schedule_follow_the_shots(name, lengths):
    for (data, shots), length in zip((('dtd', 1), ('dtd', 4), ('dtd', 16), ('imagenet', 16)), lengths):
        cfg = read(f'mps_vitb16_16shot_{data}.py', '--method', name, '--cfg-options', f'num_shots={shots}')
        assert cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs')) == length
        last = cfg.param_scheduler[-1]
        assert (last.T_max, last.end, last.by_epoch) == (length, length, name != 'clip_lora')


def test_options_have_the_last_word_over_cases_and_the_schedule_follows_them():
    cfg = read(
        'mps_vitb16_16shot_dtd.py',
        '--method',
        'mps',
        '--recipe',
        'official',
        '--cfg-options',
        'train_cfg.max_epochs=7',
        'model.gram_loss.loss_weight=3.0',
        'batch_size=5',
    )
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval, cfg.param_scheduler[-1].T_max) == (7, 7, 7)
    assert cfg.model.gram_loss.loss_weight == 3 and cfg.model.sculpt_loss.temperature.start == 0.5
    assert cfg.train_dataloader.batch_size == 5


def test_cases_of_a_task_are_taken_in_that_task():
    cfg = read('mps_vitb16_16shot_caltech101_base2new.py', '--method', 'promptsrc')
    assert cfg.train_cfg.max_epochs == 20
    assert cfg.default_hooks.epoch_average == dict(type='EpochAverageHook', weights=dict(mean=15, std=1))
    assert cfg.train_dataloader.dataset.dataset.class_subset == 'base'
    transfer = read('mps_vitb16_16shot_imagenet_crossdata.py', '--method', 'promptsrc')
    assert (transfer.model.text_depth, transfer.model.vision_depth, transfer.train_cfg.max_epochs) == (3, 3, 20)
    assert read(IMAGENET, '--method', 'promptsrc').model.text_depth == 9


def test_crops_of_glyphs_stay_whatever_a_method_crops_and_other_pictures_get_its_crops():
    assert read(DIGITS, '--method', 'coop').train_dataloader.dataset.views == dict(num_views=1)
    assert read(DIGITS, '--method', 'tac').train_dataloader.dataset.views == dict(num_views=4, reference='squash')
    assert read(IMAGENET, '--method', 'coop').train_dataloader.dataset.views == dict(num_views=1, scale=(0.08, 1.0))
    changed = read(DIGITS, '--method', 'coop', '--cfg-options', 'train_dataloader.dataset.views.scale=(0.5,1.0)')
    assert changed.train_dataloader.dataset.views.scale == (0.5, 1.0)


def test_validation_within_training_stays_as_often_and_at_the_end_it_stays_at_the_end():
    assert read('mps_mini_16shot_digits_evidence_gw.py', '--method', 'coop').train_cfg.val_interval == 1
    assert read(DIGITS, '--method', 'coop').train_cfg.val_interval == 200


def test_hooks_of_a_method_come_and_go_with_it():
    hooks = read('promptsrc/promptsrc_mini_16shot_digits.py').default_hooks
    assert hooks.epoch_average.type == 'EpochAverageHook'
    without = read('promptsrc/promptsrc_mini_16shot_digits.py', '--method', 'coop').default_hooks
    assert 'epoch_average' not in without and without.checkpoint == hooks.checkpoint
    rarer = read(DIGITS, '--method', 'clip_lora').default_hooks.checkpoint
    assert rarer == {**hooks.checkpoint, 'interval': 10} and rarer.type == 'AtomicCheckpointHook'


def test_conditions_of_a_case_hold_together():
    here = Situation('official', 'few_shot', 'DTD', 'ViT-B-16', 4)
    assert applies({}, here) and applies(dict(recipe='official', datasets=['DTD'], min_shots=4), here)
    for condition in (
        dict(recipe='default'),
        dict(datasets=['EuroSAT']),
        dict(min_shots=8),
        dict(tasks=['transfer']),
        dict(architectures=['mps-mini']),
    ):
        assert not applies({'recipe': 'official', 'datasets': ['DTD'], **condition}, here)
    case = {'set': {'a.b': 1}, 'set_per_shot': {'train_cfg.max_iters': 500}}
    assert changes_of(case, here) == {'a.b': 1, 'train_cfg.max_iters': 2000}


def test_a_file_of_another_method_says_where_the_recipe_differs_for_other_shots():
    cfg = Config.fromfile(CONFIG_FOLDER / 'coop' / 'coop_mini_16shot_digits.py')
    assert other_values(cfg, dict(num_shots=4)) == {'train_cfg.max_epochs': 100}
    assert other_values(cfg, dict(num_shots=1)) == {'train_cfg.max_epochs': 50}
    assert other_values(cfg, dict(num_shots=8)) == other_values(cfg, dict(seed=3)) == other_values(cfg, None) == {}
    assert other_values(cfg, {'num_shots': 1, 'train_cfg.max_epochs': 3}) == {}


def test_the_tools_say_so(capsys):
    read('coop/coop_mini_16shot_digits.py', '--cfg-options', 'num_shots=2')
    expected = 'keeps its values for 2 shots, too, where the recipe of CoOp has train_cfg.max_epochs=100; --method coop'
    assert expected in capsys.readouterr().out


def test_a_config_that_was_written_by_a_run_is_read_as_it_is(tmp_path):
    cfg = read(DIGITS, '--method', 'coop', '--cfg-options', 'train_cfg.max_epochs=3', 'num_shots=4')
    cfg.dump(tmp_path / 'dumped.py')
    again = read(tmp_path / 'dumped.py')
    assert again.train_cfg.max_epochs == 3 and key(again) == key(cfg)
    assert again.method == dict(name='coop', label='CoOp', recipe='default', hooks={})


@pytest.mark.parametrize(
    'flags, message',
    [
        (('--method', 'coup'), "there is no method 'coup': expected one of amu_tuning, clip_adapter"),
        (('--recipe', 'official'), '--recipe official is of a method'),
        (('--method', 'coop', '--cfg-options', 'num_shot=4'), "'num_shot' (did you mean 'num_shots'?)"),
        (('--method', 'coop', '--cfg-options', 'task=transport'), "task 'transport' is unknown; expected 'few_shot' or"),
        (('--method', 'coop', '--cfg-options', 'train_dataloader=None'), 'coop is trained, but the config has no train'),
    ],
)
def test_what_does_not_fit_is_refused(flags, message):
    if 'train_dataloader=None' in flags:
        cfg = Config.fromfile(CONFIG_FOLDER / 'zero_shot' / 'zero_shot_mini_digits.py')
        with pytest.raises(ValueError, match=message):
            replace_method(cfg, 'coop')
        return
    with pytest.raises(ValueError) as caught:
        read(DIGITS, *flags)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    'line, message',
    [
        ("method = dict(name='mine', label='Mine', cases=[dict(shots=[1], set={})])", "a case holds 'shots'; expected some of"),
        ("method = dict(name='mine', label='Mine', cases=[dict(recipe='paper', set={})])", "recipe 'paper' is unknown"),
        ("method = dict(name='mine')", 'lacks method.label'),
        ("default_hooks = dict()\nmethod = dict(name='mine', label='Mine')", 'holds default_hooks; expected model'),
    ],
)
def test_a_faulty_method_file_is_refused_by_name(tmp_path, line, message):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{METHOD_FOLDER / 'coop.py'}'\n" + line.replace('method = dict(', 'method = dict(_delete_=True, '))
    with pytest.raises(ValueError) as caught:
        read_method(str(path))
    assert message in str(caught.value) and 'mine.py' in str(caught.value)


def test_ones_own_method_is_a_file_like_those(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{METHOD_FOLDER / 'mps.py'}'\nmodel = dict(head=dict(alpha=0.1))\n"
        "method = dict(_delete_=True, name='mine', label='Mine', cases=[])\n"
    )
    cfg = read(DIGITS, '--method', path)
    assert (cfg.model.head.alpha, cfg.method.name, cfg.model.architecture) == (0.1, 'mine', 'mps-mini')
    assert cfg.work_dir.endswith('mps_mini_16shot_digits-mine')


def test_the_probe_needs_a_test_pipeline_and_others_a_training_pipeline(tmp_path):
    cfg = Config.fromfile(CONFIG_FOLDER / DIGITS)
    cfg.test_dataloader = None
    with pytest.raises(ValueError, match='linear_probe takes training pictures as they are prepared for testing'):
        replace_method(cfg, 'linear_probe')
    cfg = Config.fromfile(CONFIG_FOLDER / 'mps_mini_16shot_digits_linear_probe.py')
    cfg.pop('train_pipeline')
    with pytest.raises(ValueError, match='has no DualView, and the config no train_pipeline'):
        replace_method(cfg, 'coop')


@pytest.mark.parametrize('name', ALL_METHODS)
def test_the_model_of_every_method_is_registered(name):
    kind = read_method(name).model.type
    if MODELS.get(kind) is None:
        pytest.skip(f'{kind} is not here yet')
    assert MODELS.get(kind).__module__.startswith('mmpretrain_mps.')


def test_ones_own_mini_clip_takes_the_recipes_of_the_embedded_one():
    architecture = f'local-dir:{mini_clip.folder()}'
    cfg = read(
        'mps_mini_16shot_custom.py', '--method', 'ivlp', '--cfg-options', f'architecture={architecture}', 'pretrained=None'
    )
    assert cfg.model.architecture == architecture and cfg.model.text_depth == 3
