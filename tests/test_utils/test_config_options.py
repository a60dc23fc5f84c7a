"""Options of the command line: misspelt ones are refused, short cuts reach every place."""

import copy

import pytest
from mmengine.config import Config

from mmpretrain_mps.utils import apply_options, check_option_names, propagate


@pytest.fixture
def cfg():
    return Config(
        dict(
            seed=1,
            num_shots=16,
            data_root='data/x',
            randomness=dict(seed=1),
            train_dataloader=dict(
                batch_size=32, dataset=dict(type='Few', num_shots=16, seed=1, dataset=dict(data_root='data/x', split='train'))
            ),
            test_dataloader=dict(batch_size=100, dataset=dict(data_root='data/other', seed=7)),
            hooks=[dict(type='A', seed=1), dict(type='B', nested=[dict(seed=True)])],
        )
    )


def test_a_top_level_value_reaches_every_entry_that_was_written_with_it(cfg):
    apply_options(cfg, {'seed': 3, 'num_shots': 4, 'data_root': '/d'})
    assert (cfg.seed, cfg.randomness.seed, cfg.train_dataloader.dataset.seed, cfg.hooks[0].seed) == (3, 3, 3, 3)
    assert cfg.num_shots == cfg.train_dataloader.dataset.num_shots == 4
    assert cfg.data_root == cfg.train_dataloader.dataset.dataset.data_root == '/d'


def test_entries_with_another_value_stay_as_they_are(cfg):
    propagate(cfg, {'seed': 3, 'data_root': '/d'})
    assert cfg.test_dataloader.dataset.seed == 7
    assert cfg.test_dataloader.dataset.data_root == 'data/other'
    assert cfg.hooks[1].nested[0].seed is True  # equal to 1 in Python, but a switch


def test_an_explicit_nested_option_wins_over_the_short_cut(cfg):
    apply_options(cfg, {'train_dataloader.dataset.seed': 9, 'seed': 3})
    assert (cfg.seed, cfg.randomness.seed, cfg.train_dataloader.dataset.seed) == (3, 3, 9)


def test_a_value_can_be_replaced_by_none_and_back():
    cfg = Config(dict(data_root=None, loader=dict(data_root=None, other=None)))
    apply_options(cfg, {'data_root': '/d'})
    assert (cfg.loader.data_root, cfg.loader.other) == ('/d', None)


def test_a_misspelt_option_is_refused_with_the_nearest_names(cfg):
    with pytest.raises(ValueError, match=r"'num_shot' \(did you mean 'num_shots'\?\)"):
        check_option_names(cfg, {'num_shot': 4})
    with pytest.raises(ValueError, match=r"'train_dataloder\.batch_size' \(did you mean 'train_dataloader'"):
        apply_options(cfg, {'train_dataloder.batch_size': 4})
    assert cfg.num_shots == 16


def test_options_stay_as_they_are_and_mean_the_same_when_they_are_applied_again(cfg):
    options = {'train_dataloader.dataset': dict(_delete_=True, type='Other')}
    for _ in range(2):
        again = copy.deepcopy(cfg)
        apply_options(again, options)
        assert again.train_dataloader.dataset == dict(type='Other')


@pytest.mark.parametrize(
    'name, hint',
    [
        ('batch_size', "'train_dataloader.batch_size' or 'test_dataloader.batch_size'"),
        ('dataset.num_shots', "'train_dataloader.dataset.num_shots'"),
        ('lr', "'optim_wrapper.optimizer.lr'"),  # and neither what a method would change nor a copy that is put in already
    ],
)
def test_an_option_without_its_section_is_refused_with_the_places_that_have_it(cfg, name, hint):
    cfg.optim_wrapper = dict(optimizer=dict(lr=0.1))
    cfg.method = dict(cases=[dict(set={'train_cfg.lr': 1, 'batch_size': 2})])
    cfg.train_pipeline = [dict(lr=1)]
    with pytest.raises(ValueError) as raised:
        check_option_names(cfg, {name: 4})
    assert str(raised.value).endswith(f'{name!r} (did you mean {hint}?)')


def test_new_keys_below_a_section_and_keys_of_the_runner_are_allowed(cfg):
    apply_options(cfg, {'train_dataloader.drop_last': True, 'load_from': 'x.pth', 'find_unused_parameters': True})
    assert cfg.train_dataloader.drop_last and cfg.load_from == 'x.pth'


def test_no_options_change_nothing(cfg):
    before = cfg.pretty_text
    apply_options(cfg, None)
    assert cfg.pretty_text == before


def test_schedules_end_with_a_shorter_training():
    cfg = Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=50, val_interval=50),
            param_scheduler=[dict(type='ConstantLR', begin=0, end=2), dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50)],
        )
    )
    apply_options(cfg, {'train_cfg.max_epochs': 10})
    assert cfg.train_cfg == dict(by_epoch=True, max_epochs=10, val_interval=10)
    assert cfg.param_scheduler == [
        dict(type='ConstantLR', begin=0, end=2),
        dict(type='CosineAnnealingLR', T_max=10, begin=1, end=10),
    ]


def test_a_schedule_that_would_start_behind_the_end_of_the_training_is_left_out():
    cfg = Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=50, val_interval=50),
            param_scheduler=[dict(type='ConstantLR', begin=0, end=2), dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50)],
        )
    )
    apply_options(cfg, {'train_cfg.max_epochs': 1})
    assert cfg.param_scheduler == [dict(type='ConstantLR', begin=0, end=2)]


def test_schedules_that_are_options_themselves_are_left_alone():
    cfg = Config(dict(train_cfg=dict(max_epochs=50), param_scheduler=[dict(type='CosineAnnealingLR', T_max=50, end=50)]))
    apply_options(cfg, {'train_cfg.max_epochs': 10, 'param_scheduler.0.T_max': 30})
    assert cfg.param_scheduler[0] == dict(type='CosineAnnealingLR', T_max=30, end=50)
