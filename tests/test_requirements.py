import importlib.metadata
import subprocess
import sys

import pytest
import torch

from mmpretrain_mps._requirements import SUPPORTED, check_requirements

GOOD = {'torch': '2.8.0+cu128', 'mmengine': '0.10.7', 'mmcv-lite': '2.2.0', 'mmpretrain': '1.2.0', 'open_clip_torch': '3.3.0'}


def versions(**changes):
    installed = {**GOOD, **{name.replace('_lite', '-lite'): value for name, value in changes.items()}}

    def version_of(name):
        if installed.get(name) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    return version_of


def test_supported_versions_pass():
    check_requirements(version_of=versions())
    check_requirements(version_of=versions(torch='2.8.0rc1'))
    check_requirements()


def test_full_mmcv_stands_in_for_mmcv_lite():
    check_requirements(version_of=versions(mmcv_lite=None, mmcv='2.1.0'))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(torch='2.7.1'), 'needs torch >=2.8, but torch 2.7.1 is installed'),
        (dict(mmpretrain='1.1.0'), 'needs mmpretrain >=1.2,<1.3, but mmpretrain 1.1.0'),
        (dict(mmcv_lite=None), 'needs mmcv or mmcv-lite >=2.0,<2.4, but none is installed'),
        (dict(open_clip_torch='2.24.0'), 'open_clip_torch 2.24.0 is installed'),
        (dict(mmengine='odd'), 'mmengine odd is installed'),
    ],
)
def test_a_wrong_version_is_named_with_what_is_needed(changes, message):
    with pytest.raises(ImportError) as error:
        check_requirements(version_of=versions(**changes))
    assert message in str(error.value)
    assert 'pip install -c constraints.txt' in str(error.value)


def test_all_faults_are_listed_at_once():
    with pytest.raises(ImportError) as error:
        check_requirements(version_of=versions(torch='1.13', mmpretrain=None))
    assert 'torch 1.13' in str(error.value) and 'mmpretrain >=1.2,<1.3, but none' in str(error.value)


def test_the_bounds_are_those_of_the_installation():
    declared = '\n'.join(importlib.metadata.requires('mmpretrain_mps')).replace(' ', '')
    for names, specifier in SUPPORTED:
        lower = specifier.split(',')[0]
        assert any(f'{name}{lower}' in declared or f',{lower}' in declared for name in names), (names, specifier)


def test_importing_registers_every_part_without_network_or_gpu():
    code = """
import socket
def refuse(*args, **kwargs): raise OSError('no network at import')
socket.socket.connect = refuse
socket.create_connection = refuse
import mmpretrain_mps
from mmpretrain.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
wanted = {MODELS: ['MPSCLIPClassifier', 'DualBranchViT', 'GramAlignLoss', 'HierarchicalSculptLoss', 'LogitsFusionHead'],
          DATASETS: ['Digits', 'FewShotDataset'], TRANSFORMS: ['DualView', 'LoadRGBImage', 'CLIPTestTransform'],
          HOOKS: ['TemperatureHook', 'ClassNamesHook', 'PlainCheckpointHook'], METRICS: ['BranchAccuracy']}
assert all(registry.get(name) is not None for registry, names in wanted.items() for name in names)
"""
    done = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', code],
        capture_output=True,
        text=True,
        env={**__import__('os').environ, 'CUDA_VISIBLE_DEVICES': ''},
    )
    assert done.returncode == 0, done.stderr


def test_no_test_sees_a_gpu_unless_it_is_asked_for(request):
    if request.config.getoption('--gpu'):
        pytest.skip('the GPUs were asked for')
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
