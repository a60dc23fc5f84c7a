"""Models that take the picture without augmentation as a last view, and those that would take it for one more view."""

import argparse

import pytest
import tiny_digits

from mmpretrain_mps.engine import command_line


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return str(tiny_digits.write_config(tmp_path_factory.mktemp('reference')))


def train(config, method, folder, views, **options):
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    arguments = parser.parse_args(['--method', method, '--work-dir', str(folder)])
    arguments.cfg_options = {'num_shots': 1, 'train_cfg.max_epochs': 1, **options}
    cfg = command_line.read_config(config, arguments)
    cfg.train_dataloader.dataset.views = views
    runner = command_line.build_runner(cfg, ('train_dataloader',))
    runner.train()
    return runner


def test_a_pipeline_without_the_plain_picture_is_refused_before_the_training(config, tmp_path):
    with pytest.raises(
        ValueError,
        match=r'TACClassifier compares views with the picture without augmentation, which the '
        r'training pipeline does not give; set train_dataloader.dataset.views=dict\(',
    ):
        train(config, 'tac', tmp_path, dict(num_views=3), **{'model.sentences': None})


def test_other_methods_refuse_the_plain_picture(config, tmp_path):
    with pytest.raises(ValueError, match='CoOpClassifier would take the picture without augmentation'):
        train(config, 'coop', tmp_path, dict(num_views=2, reference='squash'))


def test_a_view_bank_is_refused_where_nothing_is_frozen(config, tmp_path):
    options = {'model.sentences': None, 'view_bank': 4}
    with pytest.raises(ValueError, match='TACClassifier has no frozen part to keep'):
        train(config, 'tac', tmp_path, dict(num_views=2, reference='squash'), **options)
