"""The ImageNet config with the real ViT-B/16 shape, on a tree in ImageNet's layout with very few pictures."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_run import ROOT, call

TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
CONFIG = ROOT / 'configs' / 'mps_vitb16_16shot_imagenet.py'
CLASSES = {'n01440764': 'tench', 'n02422106': 'hartebeest', 'n04355933': 'sunglasses', 'n04356056': 'sunglasses'}


def write_tree(root):
    """ImageNet's folders with two training pictures and one test picture in each of four classes."""
    rng = np.random.default_rng(0)
    folder = root / 'imagenet'
    for wnid in CLASSES:
        for part, names in (('train', ('a', 'b')), ('val', ('c',))):
            (folder / 'images' / part / wnid).mkdir(parents=True)
            for name in names:
                pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / 'images' / part / wnid / f'{wnid}_{name}.JPEG')
    (folder / 'classnames.txt').write_text(''.join(f'{wnid} {name}\n' for wnid, name in CLASSES.items()))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A data root and an open_clip state dict of the real ViT-B/16, in half precision to spare the disk."""
    folder = tmp_path_factory.mktemp('imagenet')
    write_tree(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model('ViT-B-16-quickgelu').half()
    torch.save(model.state_dict(), folder / 'vit_b_16.pt')
    return folder


@pytest.fixture
def options(folder, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    return [
        '--cfg-options',
        f'data_root={folder}',
        f'pretrained={folder / "vit_b_16.pt"}',
        'num_shots=1',
        'architecture=ViT-B-16-quickgelu',
        'train_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=1',
    ]


def test_trains_and_tests_end_to_end(folder, options):
    assert call(TRAIN, CONFIG, '--work-dir', folder / 'run', *options) == 0
    file = folder / 'run' / 'epoch_1.pth'
    checkpoint = torch.load(file, weights_only=True)
    weights = sum(value.numel() * value.element_size() for value in checkpoint['state_dict'].values()) / 1e6
    assert 124 < weights < 126
    # Momentum doubles what resuming needs; the frozen half of the model is not in the file.
    assert file.stat().st_size / 1e6 < 260
    log = next((folder / 'run').glob('*/vis_data/*.json')).read_text().splitlines()
    entries = [json.loads(line) for line in log]
    losses = [entry['loss'] for entry in entries if 'loss' in entry]
    assert not losses or all(np.isfinite(losses))
    assert (
        call(
            TEST, CONFIG, file, '--work-dir', folder / 'run', '--out', folder / 'metrics.json', '--out-item', 'metrics', *options
        )
        == 0
    )
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert {'accuracy/fused', 'accuracy/tuned', 'accuracy/zero_shot'} <= set(metrics)
    assert all(metrics[f'accuracy/{name}'] in (0, 25, 50, 75, 100) for name in ('fused', 'tuned', 'zero_shot'))


def test_without_data_and_weights_one_message_names_both(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('mmpretrain_mps.models.loading.clip_loader.reachable', lambda host: False)
    assert call(TRAIN, CONFIG, '--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={tmp_path / "nowhere"}') == 2
    error = capsys.readouterr().err
    assert "weights 'openai' of ViT-B-16 are missing" in error and 'pretrained=/path/to' in error
    assert str(tmp_path / 'nowhere') in error and 'classnames.txt does not exist' in error
    assert 'https://image-net.org' in error
    assert 'Traceback' not in error
