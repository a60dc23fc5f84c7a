"""mmpretrain's own tools on the configs of this project, as its users know them."""

import runpy
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
from tiny_digits import write_config

from mmpretrain_mps.models.backbones.linear import force_onednn

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return str(write_config(tmp_path_factory.mktemp('tools'), epochs=3))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a tool of mmpretrain in this process, in an empty folder."""

    def run_tool(name, *flags):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, flags)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')

    return run_tool


@pytest.mark.parametrize('onednn', [False, True])
def test_operations_are_counted_whatever_library_multiplies(run, config, capsys, onednn):
    with force_onednn(onednn):
        run('analysis_tools/get_flops.py', config, '--shape', '16')
    assert 'Input shape: (3, 16, 16)' in capsys.readouterr().out


@pytest.mark.parametrize('flags', [(), ('--vis-stage', 'backbone')])
def test_features_are_written_for_t_sne(run, config, tmp_path, flags):
    try:
        run(
            'visualization/vis_tsne.py',
            config,
            '--work-dir',
            tmp_path,
            '--device',
            'cpu',
            '--max-num-class',
            '3',
            '--max-num-samples',
            '2',
            *flags,
        )
    except TypeError as error:  # its call of scikit-learn's t-SNE is of releases before 1.7
        assert 'n_iter' in str(error)
    (features,) = tmp_path.rglob('feat_5.npy')
    found = np.load(features)
    assert found.shape == (6, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_learning_rates_are_simulated(run, config, tmp_path):
    run('visualization/vis_scheduler.py', config, '--save-path', tmp_path / 'rates.png', '--not-show')
    assert (tmp_path / 'rates.png').stat().st_size > 1000
