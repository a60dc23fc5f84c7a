from pathlib import Path

import pytest
import torch
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import METRICS

from mmpretrain_mps.engine.launch import fit_wrapper
from mmpretrain_mps.evaluation import BranchAccuracy

PICTURES = 11  # no multiple of 2 or 4, so that samplers repeat some of them


@METRICS.register_module()
class CountingAccuracy(BranchAccuracy):
    """Also reports how many pictures were counted."""

    def compute_metrics(self, results):
        return dict(super().compute_metrics(results), counted=len(results))


def evaluate(rank, num_ranks, folder):
    """Test a tiny classifier through mmengine's Runner and its loop."""
    import tiny_run

    folder = Path(folder) / f'rank{rank}'
    folder.mkdir()
    config = Config.fromfile(tiny_run.write_config(folder))
    config.merge_from_dict(
        {
            'test_dataloader.dataset.length': PICTURES,
            'test_dataloader.batch_size': 2,
            'launcher': 'pytorch',
            'test_evaluator': dict(type='CountingAccuracy', topk=(1, 2)),
            'work_dir': str(folder),
            'log_level': 'ERROR',
        }
    )
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
    ):
        config[key] = None
    fit_wrapper(config)
    torch.manual_seed(0)  # the same random classifier everywhere
    return {name: float(value) for name, value in Runner.from_cfg(config).test().items()}


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one')
    metrics = run_ranks(evaluate, 1, folder, str(folder))[0]
    assert metrics['accuracy/counted'] == PICTURES
    # A picture too many or too few would show in this fraction.
    correct = metrics['accuracy/fused'] / 100 * PICTURES
    assert 0 < correct < PICTURES and correct == pytest.approx(round(correct))
    return metrics


@pytest.mark.parametrize('num_ranks', [2, 4])
def test_every_picture_is_counted_once_on_any_number_of_processes(num_ranks, tmp_path, one):
    assert all(metrics == one for metrics in run_ranks(evaluate, num_ranks, tmp_path, str(tmp_path)))
