import pytest
import torch
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.runner import Runner

from mmpretrain_mps.evaluation import BranchAccuracy

PICTURES = 11  # no multiple of 2 or 4, so that samplers repeat some of them


class CountingAccuracy(BranchAccuracy):
    """Also reports how many pictures were counted."""

    def compute_metrics(self, results):
        return dict(super().compute_metrics(results), counted=len(results))


def evaluate(rank, num_ranks, folder):
    """Test a tiny classifier through mmengine's Runner and its loop."""
    import tiny_run

    from mmpretrain_mps.engine.launch import fit_wrapper_to_cpu
    config = Config.fromfile(tiny_run.write_config(folder))
    config.update(work_dir=str(folder / 'work_dir'), launcher='pytorch' if num_ranks > 1 else 'none', log_level='ERROR')
    config.merge_from_dict({'test_dataloader.dataset.length': PICTURES, 'test_dataloader.batch_size': 2})
    config.test_evaluator = [CountingAccuracy(topk=(1, 2))]
    config.train_dataloader = config.train_cfg = config.optim_wrapper = config.param_scheduler = None
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    fit_wrapper_to_cpu(config)
    torch.manual_seed(0)  # the same random classifier everywhere
    return {name: float(value) for name, value in Runner.from_cfg(config).test().items()}


@pytest.mark.parametrize('num_ranks', [2, 4])
def test_every_picture_is_counted_once_on_any_number_of_processes(num_ranks, tmp_path, one):
    ranks = run_ranks(evaluate_rank, num_ranks, tmp_path, str(tmp_path))
    assert all(metrics == one for metrics in ranks)


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    metrics = run_ranks(evaluate_rank, 1, tmp_path_factory.mktemp('one'), str(tmp_path_factory.mktemp('run')))[0]
    assert metrics['accuracy/counted'] == PICTURES
    # A picture too many or too few would show in these fractions.
    correct = metrics['accuracy/fused'] / 100 * PICTURES
    assert 0 < correct < PICTURES and correct == pytest.approx(round(correct))
    return metrics


def evaluate_rank(rank, num_ranks, folder):
    from pathlib import Path
    own = Path(folder) / f'rank{rank}'
    own.mkdir()
    return evaluate(rank, num_ranks, own)
