"""Metrics of features in the validations of a training."""

import json

import pytest
from mmengine.config import Config
from tiny_digits import ROOT, write_config
from tiny_run import call

EVALUATOR = """
train_cfg = dict(max_epochs=2, val_interval=1)
val_evaluator = [dict(type='BranchAccuracy'), dict(type='GramDistortion'), dict(type='ClassSeparability'),
                 dict(type='GromovWassersteinDistance', max_pictures=20, random_starts=1)]
"""


@pytest.fixture(autouse=True)
def unformatted_configs(monkeypatch):
    """mmengine lays the text of a config out several times per run, which takes longer than these runs."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: repr(config.to_dict())))


def validations(folder):
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line['step']: line for line in lines if 'accuracy/fused' in line}


def train(config, work_dir):
    return call(ROOT / 'tools' / 'train.py', config, '--work-dir', work_dir, '--cfg-options', 'num_shots=1')


def test_naming_a_metric_is_enough_to_have_its_figures_of_every_epoch(tmp_path):
    pytest.importorskip('ot')
    config = write_config(tmp_path, more=EVALUATOR)
    assert train(config, tmp_path / 'work') == 0
    epochs = validations(tmp_path / 'work')
    assert list(epochs) == [1, 2]
    for figures in epochs.values():
        assert 0 < figures['gw/exact'] <= figures['gw/bound'] and 0 < figures['gw/tightness'] <= 1
        assert {'gram/global', 'gram/local', 'separability/zero_shot/before_end_2/silhouette'} <= set(figures)
    # The frozen branch, that of the second validation included, is what it was.
    frozen = [
        {name: value for name, value in figures.items() if name.startswith('separability/zero_shot')}
        for figures in epochs.values()
    ]
    assert frozen[0] == pytest.approx(frozen[1], rel=1e-5)
    assert epochs[1]['gram/global'] != epochs[2]['gram/global']


def test_without_the_hook_a_metric_says_what_it_needs(tmp_path, capsys):
    config = write_config(
        tmp_path, epochs=1, more="val_evaluator = dict(type='GramDistortion')\ncustom_hooks = [dict(type='ClassNamesHook')]"
    )
    assert train(config, tmp_path / 'work') == 2
    assert "GramDistortion needs 'tuned_features' in the predictions" in capsys.readouterr().err
