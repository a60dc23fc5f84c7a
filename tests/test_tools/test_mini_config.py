"""The embedded default through both kinds of tools, in a run of two epochs."""

import json
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from tiny_run import ROOT, call

from mmpretrain_mps.benchmark.cell_run import figures_of
from mmpretrain_mps.engine import TemperatureHook

CONFIG = ROOT / 'configs' / 'mps_mini_16shot_digits.py'
EVIDENCE = CONFIG.with_name(f'{CONFIG.stem}_evidence.py')
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
# mmpretrain's tools do not carry a short cut such as num_shots=2 to where it is used.
# Spelt out to the last entry, for mmpretrain's tools carry nothing on by themselves.
TWO_EPOCHS = (
    '--cfg-options',
    'train_dataloader.dataset.num_shots=2',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'param_scheduler.1.T_max=2',
    'param_scheduler.1.end=2',
    'default_hooks.checkpoint.interval=1',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a finished run: our tools, both epochs at once."""
    folder = tmp_path_factory.mktemp('mini')
    assert call(ROOT / 'tools' / 'train.py', CONFIG, '--work-dir', folder / 'ours', *TWO_EPOCHS) == 0
    return folder


def test_the_checkpoint_holds_tuned_weights_and_says_what_they_belong_to(folder):
    checkpoint = torch.load(folder / 'ours' / 'epoch_2.pth', weights_only=True)
    assert not any('zero_shot' in name for name in checkpoint['state_dict'])
    assert checkpoint['meta']['base']['architecture'] == 'mps-mini'
    origin = checkpoint['meta']['origin']
    assert (origin['dataset_name'], origin['num_shots'], origin['seed']) == ('Digits', 2, 1)
    momenta = checkpoint['optimizer']['state']
    assert len(momenta) == len(checkpoint['optimizer']['param_groups'][0]['params'])


def test_mmpretrains_own_tools_interrupted_and_resumed_give_the_same_weights(folder, monkeypatch):
    command = (STOCK / 'train.py', CONFIG, '--work-dir', folder / 'stock')

    set_temperature = TemperatureHook.before_train_epoch

    def interrupted(hook, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt
        set_temperature(hook, runner)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TemperatureHook, 'before_train_epoch', interrupted)
        call(*command, *TWO_EPOCHS)
    assert not (folder / 'stock' / 'epoch_2.pth').exists()
    assert call(*command, '--resume', *TWO_EPOCHS) == 0
    files = [folder / name / 'epoch_2.pth' for name in ('ours', 'stock')]
    ours, theirs = (torch.load(file, weights_only=True)['state_dict'] for file in files)
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_both_test_tools_agree(folder):
    for name, tool in (('ours', ROOT / 'tools' / 'test.py'), ('stock', STOCK / 'test.py')):
        assert (
            call(
                tool,
                CONFIG,
                folder / 'ours' / 'epoch_2.pth',
                '--work-dir',
                folder / 'test',
                '--out',
                folder / f'{name}.json',
                '--out-item',
                'metrics',
                '--cfg-options',
                'test_cfg.targets=None',
            )
            == 0
        )
    ours, theirs = (json.loads((folder / f'{name}.json').read_text()) for name in ('ours', 'stock'))
    assert {'accuracy/fused', 'accuracy/tuned', 'accuracy/zero_shot'} <= set(ours) and ours == theirs


def test_the_evidence_config_measures_geometry_and_forgetting(folder):
    others = ('mnist', 'symbols')
    assert (
        call(
            ROOT / 'tools' / 'test.py',
            EVIDENCE,
            folder / 'ours' / 'epoch_2.pth',
            '--work-dir',
            folder / 'test',
            '--out',
            folder / 'evidence.json',
            '--out-item',
            'metrics',
            '--cfg-options',
            *(f'test_cfg.targets.{name}=None' for name in others),
            'test_cfg.targets.letters.per_font=1',
        )
        == 0
    )
    metrics = json.loads((folder / 'evidence.json').read_text())
    for prefix in ('', 'letters/'):
        names = {f'{prefix}{metric}/{branch}' for metric in ('accuracy', 'ece') for branch in ('fused', 'tuned', 'zero_shot')}
        assert names <= set(metrics)
    geometry = {f'gram/{name}' for name in ('global', 'local', 'feature_cosine')}
    geometry |= {
        f'separability/{branch}/{layer}/{figure}'
        for branch in ('tuned', 'zero_shot')
        for layer in ('output', *(f'before_end_{start}' for start in range(1, 5)))
        for figure in ('scatter_ratio', 'centroid_accuracy', 'silhouette')
    }
    assert geometry <= set(metrics)
    # Of the source alone: targets cost no more than their predictions.
    assert not any(name.startswith(('letters/gram', 'letters/separability')) for name in metrics)
    assert set(figures_of(metrics)) == set(metrics)
    # The concepts are known without tuning, and two epochs do not wipe them out.
    assert metrics['letters/accuracy/zero_shot'] > 70 and metrics['letters/accuracy/tuned'] > 50


def test_the_linear_probe_of_the_letters_trains_and_is_tested_on_them_alone(tmp_path):
    config = ROOT / 'configs' / 'mps_mini_4shot_letters_linear_probe.py'
    assert call(ROOT / 'tools' / 'train.py', config, '--work-dir', tmp_path, '--cfg-options', 'num_shots=1') == 0
    assert (
        call(
            ROOT / 'tools' / 'test.py',
            config,
            tmp_path / 'epoch_1.pth',
            '--work-dir',
            tmp_path,
            '--out',
            tmp_path / 'metrics.json',
            '--out-item',
            'metrics',
        )
        == 0
    )
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert {name.split('/')[0] for name in metrics if '/' in name} == {'accuracy', 'ece'}
    # 45 letters, one picture each: far above chance, far below what tuning reaches.
    assert 20 < metrics['accuracy/tuned'] < 50 and metrics['accuracy/zero_shot'] == 50


def test_the_evidence_configs_train_like_the_one_that_they_inherit():
    plain, evidence, gw = (Config.fromfile(path) for path in (CONFIG, EVIDENCE, EVIDENCE.with_name(f'{EVIDENCE.stem}_gw.py')))
    for name in ('model', 'optim_wrapper', 'param_scheduler', 'train_dataloader', 'val_dataloader', 'randomness'):
        assert plain[name] == evidence[name] == gw[name]
    targets = plain.test_cfg.targets
    assert set(evidence.test_cfg.targets) == {'mnist', 'letters', 'symbols'}
    assert evidence.test_cfg.targets['mnist'] == targets['mnist']
    assert gw.train_cfg == {**plain.train_cfg, 'val_interval': 1}
    for cfg, gromov_wasserstein in ((evidence, False), (gw, True)):
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            types = [metric['type'] for metric in (evaluator if isinstance(evaluator, list) else [evaluator])]
            assert 'BranchAccuracy' in types and ('GromovWassersteinDistance' in types) == gromov_wasserstein


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.class_names=[nine,eight]', 'classes'),
        ('model.backbone.group_depths=(4,5,3)', 'group_depths'),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_message(folder, capsys, option, message):
    command = (ROOT / 'tools' / 'test.py', CONFIG, folder / 'ours' / 'epoch_2.pth', '--work-dir', folder / 'refused')
    assert call(*command, '--cfg-options', option, 'test_cfg.targets=None') == 2
    output = capsys.readouterr().err
    assert output.count('error: ') == 1 and message in output


def test_resuming_with_other_pictures_is_refused(folder, capsys):
    command = (ROOT / 'tools' / 'train.py', CONFIG, '--work-dir', folder / 'ours', '--resume', '--cfg-options')
    assert call(*command, 'num_shots=4') == 2
    assert 'the checkpoint was trained on other pictures: ' in capsys.readouterr().err
