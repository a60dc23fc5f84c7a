"""Names by which mim and mmpretrain find the configs, and what a wheel holds of them."""

import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model, list_models
from sklearn.datasets import load_digits
from tiny_run import ROOT

from mmpretrain_mps.apis import MPSInferencer
from mmpretrain_mps.model_index import MIM
from mmpretrain_mps.utils.methods import method_names

SHIPPED = ROOT / 'mmpretrain_mps' / 'checkpoints' / 'mps-mini_16shot_digits.pth'


def test_every_config_has_a_name_and_every_method_a_collection():
    configs = {
        path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').glob('*.py') if path.name != 'default_runtime.py'
    }
    configs |= {
        path.relative_to(ROOT / 'configs') for method in method_names() for path in (ROOT / 'configs' / method).glob('*.py')
    }
    from mmpretrain.apis import ModelHub

    known = {
        Path(model.config).relative_to(MIM / 'configs')
        for model in ModelHub._models_dict.values()
        if isinstance(model.config, str) and str(MIM) in model.config
    }
    assert known == configs
    assert {'mps-mini_16shot_digits', 'tip-adapter-f-vitb16_16shot_imagenet'} <= set(list_models('*16shot*'))


def test_the_index_is_that_of_the_configs():
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'make_model_index.py'), '--check'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_published_accuracies_name_their_source():
    content = Config.fromfile(ROOT / 'configs' / 'amu_tuning' / 'metafile.yml')
    (model,) = (model for model in content.Models if 'Results' in model)
    assert model.Results[0] == {'Task': 'Image Classification', 'Dataset': 'ImageNet-1k', 'Metrics': {'Top 1 Accuracy': 74.93}}
    assert (
        'arXiv 2508.12877' in model.Metadata['Source of Results'] and 'not measured here' in model.Metadata['Source of Results']
    )


def test_a_model_is_built_by_its_name():
    assert type(get_model('zero-shot-mini_digits')).__name__ == 'ZeroShotClassifier'


def test_the_checkpoint_of_the_package_is_small_and_knows_digits():
    digits, model = load_digits(), get_model('mps-mini_16shot_digits', pretrained=True)
    held_out = range(1500, 1560)
    pictures = (digits.images[held_out] * 255 / 16).astype(np.uint8)
    results = MPSInferencer(model)([np.repeat(picture[..., None], 3, 2) for picture in pictures])
    assert np.mean([result['pred_label'] == digits.target[index] for index, result in zip(held_out, results)]) > 0.9
    content = torch.load(SHIPPED, weights_only=True)
    assert set(content) == {'meta', 'state_dict'} and SHIPPED.stat().st_size < 2.1e6


def test_a_published_checkpoint_holds_what_predictions_need_and_nothing_of_the_machine():
    publish = runpy.run_path(str(ROOT / 'tools' / 'publish.py'))['published']
    cfg = "load_from = '/home/me/a.pth'\nmodel = dict(\n    type='A')\nwork_dir = '/home/me/runs'\n"
    checkpoint = dict(meta=dict(cfg=cfg, epoch=5, time='now', base={'sha256': 'x'}), state_dict={'a': 1}, optimizer={'state': 2})
    assert publish(checkpoint) == dict(
        meta=dict(base={'sha256': 'x'}, epoch=5, cfg="model = dict(\n    type='A')\n"), state_dict={'a': 1}
    )


@pytest.mark.slow
def test_a_wheel_holds_what_works_outside_a_checkout(tmp_path):
    tracked = (
        subprocess.run(
            ['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True, text=True, check=True
        )
        .stdout.rstrip('\0')
        .split('\0')
    )
    for name in tracked:  # a wheel is built in the folder of its sources, which stays clean
        if not name.startswith(('tests/', 'results/')):
            (tmp_path / 'sources' / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / 'sources' / name, follow_symlinks=False)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '--disable-pip-version-check',
            '-w',
            str(tmp_path),
            str(tmp_path / 'sources'),
        ],
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / 'site')
    assert {f'mmpretrain_mps/.mim/{name}' for name in tracked if name.startswith(('configs/', 'tools/', 'model-index'))} <= names
    notices = [f'mmpretrain_mps/{folder}/NOTICE.md' for folder in ('mini_clip', 'pictograms')]
    for file in ('LICENSE', *notices):
        assert any(name.endswith(f'.dist-info/licenses/{file}') for name in names)
    assert {'mmpretrain_mps/py.typed', *notices} <= names
    assert {name for name in tracked if name.startswith('mmpretrain_mps/pictograms/')} <= names
    code = (
        'import mmpretrain_mps, mmpretrain; print(mmpretrain_mps.__file__); '
        "print(type(mmpretrain.get_model('zero-shot-mini_digits')).__name__)"
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONPATH': str(tmp_path / 'site'), 'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path)},
    )
    assert str(tmp_path / 'site/mmpretrain_mps/__init__.py') in done.stdout and 'ZeroShotClassifier' in done.stdout
