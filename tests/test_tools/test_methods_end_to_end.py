"""--method and --zero-shot as a user gives them to the tools; config files of base files with mmpretrain's own tools."""

import json
from pathlib import Path
from unittest import mock

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from tiny_clip import save_tiny_clip
from tiny_digits import CONFIG_FOLDER, ROOT, write_config
from tiny_run import call

from mmpretrain_mps.apis import MPSInferencer

TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
SHORT = ('--cfg-options', 'train_cfg.max_epochs=2', 'num_shots=1')


@pytest.fixture(scope='module', autouse=True)
def unformatted():
    """mmengine formats the text of the whole config again and again, which takes longer than these runs."""
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        yield


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config of MPS-Tuning on a random tiny CLIP, and a run of another method on it."""
    folder = tmp_path_factory.mktemp('methods')
    config = write_config(folder)
    assert call(TRAIN, config, '--method', 'clip_adapter', '--work-dir', folder / 'run', *SHORT) == 0
    return config, folder / 'run' / 'epoch_2.pth'


def described(checkpoint):
    return json.loads(bytes(torch.load(checkpoint, weights_only=True)['state_dict']['_extra_state'].tolist()))


def test_a_config_is_trained_by_another_method_and_tested_by_it(trained, capsys):
    config, checkpoint = trained
    assert described(checkpoint)['method'] == 'clip_adapter'
    assert call(TEST, config, checkpoint, '--method', 'clip_adapter', '--work-dir', checkpoint.parent) == 0
    assert capsys.readouterr().out.strip().split('\n')[-1].startswith('fused')
    # The written config is whole: it needs no --method any more.
    assert call(TEST, checkpoint.parent / 'tiny_digits.py', checkpoint, '--work-dir', checkpoint.parent) == 0


def test_a_method_without_its_search_is_saved_and_says_that_there_was_none(trained, tmp_path):
    options = ('--cfg-options', 'train_cfg.search=None', 'num_shots=1')
    assert call(TRAIN, trained[0], '--method', 'tip_adapter', '--work-dir', tmp_path, *options) == 0
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert not state['fusion_point'].any() and state['cache_keys'].isfinite().all()


def test_amu_tuning_of_the_embedded_clip_needs_no_download_and_gains_on_it(tmp_path):
    options = ('--cfg-options', 'train_cfg.max_epochs=4', 'num_shots=8', 'val_dataloader.dataset.indices=150')
    with mock.patch('mmpretrain_mps.models.loading.clip_loader.reachable', lambda host: False):
        assert (
            call(TRAIN, CONFIG_FOLDER / 'mps_mini_16shot_digits.py', '--method', 'amu_tuning', '--work-dir', tmp_path, *options)
            == 0
        )
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    found = next(line for line in map(json.loads, lines) if 'accuracy/fused' in line)
    assert found['accuracy/fused'] > found['accuracy/zero_shot'] and found['accuracy/tuned'] > 50


def test_the_checkpoint_of_a_method_is_refused_by_another_one(trained, capsys):
    config, checkpoint = trained
    assert call(TEST, config, checkpoint, '--method', 'coop', '--work-dir', checkpoint.parent / 'refused') == 2
    error = capsys.readouterr().err
    expected = 'is of the method clip_adapter, but the model is one of coop; the tools take --method clip_adapter'
    assert expected in error and 'Traceback' not in error


def test_zero_shot_clip_is_tested_without_a_checkpoint(trained, capsys):
    config, checkpoint = trained
    assert call(TEST, config, '--zero-shot', '--work-dir', checkpoint.parent / 'zero') == 0
    rows = dict(line.split() for line in capsys.readouterr().out.strip().split('\n')[-3:])
    assert len(rows) == 3 and len(set(rows.values())) == 1


@pytest.mark.parametrize(
    'flags, message',
    [
        ((TEST, '{config}'), 'expected CONFIG CHECKPOINT, or CONFIG --zero-shot'),
        ((TEST, '{config}', 'some.pth', '--zero-shot'), '--zero-shot tests CLIP as it is: leave out the checkpoint'),
        ((TEST, '{config}', '--zero-shot', '--method', 'coop'), '--zero-shot tests CLIP as it is: leave out the checkpoint, --m'),
        ((TRAIN, '{config}', '--method', 'zero_shot'), 'zero-shot CLIP trains nothing'),
        ((TRAIN, '{config}', '--method', 'tip_adapter', '--cfg-options', 'train_cfg.max_epochs=4'), "takes no 'max_epochs'"),
        ((TRAIN, '{config}', '--method', 'coup'), "there is no method 'coup'"),
        ((TRAIN, '{config}', '--method', 'coop', '--cfg-options', 'model.gram_loss.loss_weight=1'), "'gram_loss'"),
        ((TRAIN, '{config}', '--method', 'coop', '--recipe', 'paper'), "argument --recipe: invalid choice: 'paper'"),
    ],
)
def test_what_does_not_fit_ends_in_one_message_and_status_2(trained, tmp_path, capsys, flags, message):
    flags = [str(part).format(config=trained[0]) for part in flags]
    assert call(*flags, '--work-dir', tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


def test_mmpretrains_own_tools_train_and_test_a_config_of_base_files(tmp_path, capsys):
    architecture = save_tiny_clip(tmp_path / 'clip')
    bases = [CONFIG_FOLDER / '_base_' / part for part in ('methods/clip_adapter.py', 'datasets/digits.py')]
    pipeline = "[dict(type='LoadRGBImage'), {}, dict(type='PackInputs')]"
    prepared = f"dict(type='CLIP{{}}Transform', architecture={architecture!r}, pretrained=None)"
    views = f"dict(type='DualView', num_views=2, transforms=[{prepared.format('Train')}])"
    config = tmp_path / 'whole.py'
    config.write_text(f"""
_base_ = {[*map(str, bases), str(CONFIG_FOLDER / 'default_runtime.py')]}
model = dict(architecture={architecture!r}, pretrained=None)
train_dataloader = dict(batch_size=10, dataset=dict(
    num_shots=1, views=dict(num_views=1), dataset=dict(pipeline={pipeline.format(views)})))
val_dataloader = dict(dataset=dict(pipeline={pipeline.format(prepared.format('Test'))}))
test_dataloader = dict(dataset=dict(pipeline={pipeline.format(prepared.format('Test'))}))
train_cfg = dict(max_epochs=1, val_interval=1)
""")
    assert call(STOCK / 'train.py', config, '--work-dir', tmp_path / 'stock') == 0
    checkpoint = tmp_path / 'stock' / 'epoch_1.pth'
    assert described(checkpoint)['method'] == 'clip_adapter'
    call(STOCK / 'test.py', config, checkpoint, '--work-dir', tmp_path / 'stock')
    assert 'accuracy/fused' in capsys.readouterr().out


def test_the_inferencer_takes_the_method_of_a_checkpoint(trained):
    config, checkpoint = trained
    picture = torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()
    whole = MPSInferencer(str(checkpoint.parent / 'tiny_digits.py'), str(checkpoint), device='cpu')
    by_method = MPSInferencer(str(config), str(checkpoint), method='clip_adapter', device='cpu')
    first, second = (classify([picture])[0] for classify in (whole, by_method))
    assert first['pred_class'] == second['pred_class'] and first['pred_score'] == pytest.approx(second['pred_score'])
    cfg = Config.fromfile(config)
    MPSInferencer(cfg, str(checkpoint), method='clip_adapter', device='cpu')
    assert cfg.model.type == 'MPSCLIPClassifier'  # the caller's stays
    with pytest.raises(ValueError, match="there is no method 'coup'"):
        MPSInferencer(cfg, str(checkpoint), method='coup')
