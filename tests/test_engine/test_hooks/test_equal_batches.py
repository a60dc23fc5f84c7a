"""Common batches are those of one process, and every process knows where their shares are equal."""

import uuid
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop
from tiny_digits import write_config
from torch.utils.data import DataLoader, TensorDataset

from mmpretrain_mps.datasets import FewShotSampler
from mmpretrain_mps.engine import command_line
from mmpretrain_mps.engine.hooks import EqualBatchesHook
from mmpretrain_mps.engine.hooks.equal_batches_hook import count_equal_batches
from mmpretrain_mps.utils.config_files import read_config_file


@pytest.fixture
def loader(monkeypatch):

    def build(samples, batch_size=4, rank=0, ranks=4, kind=DefaultSampler, drop_last=False, **options):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, ranks))
        dataset = TensorDataset(torch.arange(samples))
        sampler = kind(dataset, **{'shuffle': False, 'seed': 0, **options})
        return DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=drop_last)

    return build


@pytest.mark.parametrize(
    'samples, round_up, equal, all_of_them',
    [(10, True, 1, 1), (9, True, 1, 1), (8, False, 1, 1), (15, False, 0, 1), (31, False, 1, 2)],
)
def test_batches_are_equal_where_the_sampler_rounds_up_or_the_samples_divide(loader, samples, round_up, equal, all_of_them):
    dataloader = loader(samples, round_up=round_up)
    assert (count_equal_batches(dataloader, world_size=4), len(dataloader)) == (equal, all_of_them)


def test_a_batch_that_some_processes_do_not_have_is_refused_instead_of_waited_for(loader):
    with pytest.raises(ValueError, match='17 samples .* 4 processes in batches of 4 .* 2 batches .* and 1 for others'):
        count_equal_batches(loader(17, round_up=False), world_size=4)
    assert count_equal_batches(loader(17, round_up=False, ranks=1), world_size=1) == 5


def test_of_an_unknown_sampler_nothing_is_assumed():
    dataset = TensorDataset(torch.zeros(8))
    assert count_equal_batches(DataLoader(dataset, batch_size=4), world_size=2) == 0


@pytest.mark.parametrize('samples', range(1, 30))
@pytest.mark.parametrize('ranks, batch_size', [(2, 4), (4, 2), (3, 3), (4, 1)])
def test_common_batches_are_those_of_one_process(loader, samples, ranks, batch_size):
    common = [batch.tolist() for (batch,) in loader(samples, ranks * batch_size, ranks=1, shuffle=True)]
    dealt, equal = [], set()
    for rank in range(ranks):
        dataloader = loader(samples, batch_size, rank, ranks, FewShotSampler, shuffle=True)
        steps = len(dataloader)
        dataloader.sampler.deal_batches(batch_size)
        dealt.append([batch.tolist() for (batch,) in dataloader])
        equal.add(count_equal_batches(dataloader, ranks))
        # Loops count their steps before the sampler knows the batch size.
        assert len(dealt[-1]) == len(dataloader) == steps == len(common)
    for step, expected in enumerate(common):
        shares = [batches[step] for batches in dealt]
        sizes = [len(share) for share in shares]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        assert all((min(sizes) == max(sizes)) == (step < steps) for steps in equal)
        together = sorted(sum(shares, []))
        if len(expected) >= ranks:
            assert together == sorted(expected)
        else:
            assert len(together) == ranks and set(expected) <= set(together)


def test_whoever_rounds_nothing_up_or_drops_the_last_batch_is_dealt_out_to_as_before(loader):
    sampler = loader(7, 2, ranks=2, kind=FewShotSampler, round_up=False).sampler
    sampler.deal_batches(2)
    assert (len(sampler), sampler.num_repeated) == (4, 0)
    dropping = loader(7, 2, ranks=2, kind=FewShotSampler, drop_last=True)
    run(dropping)
    assert dropping.sampler.num_repeated == 1


def run(dataloader, ranks=1):
    """Call the hook as a training does; return what the model was told in each step, and the warnings."""
    told, warnings = [], []
    runner = SimpleNamespace(
        model=SimpleNamespace(equal_batches=None),
        train_dataloader=dataloader,
        _train_loop=None,
        logger=SimpleNamespace(warning=warnings.append),
    )
    hook = EqualBatchesHook()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmpretrain_mps.engine.hooks.equal_batches_hook.is_training', lambda runner: True)
        patch.setattr('mmpretrain_mps.engine.hooks.equal_batches_hook.get_world_size', lambda: ranks)
        hook.before_run(runner)
        hook.before_train(runner)
        for step in range(2 * len(dataloader)):
            hook.before_train_iter(runner, step)
            told.append(runner.model.equal_batches)
    return told, warnings


def test_the_hook_tells_the_model_in_every_step_and_the_log_where_pictures_are_repeated(loader):
    assert run(loader(5, ranks=1)) == ([True] * 4, [])
    assert run(loader(10, 2, ranks=2, kind=FewShotSampler), ranks=2) == ([True] * 6, [])
    assert run(loader(11, 2, ranks=2, kind=FewShotSampler), ranks=2) == ([True, True, False] * 2, [])
    told, warnings = run(loader(13, 2, ranks=2, kind=FewShotSampler), ranks=2)
    assert all(told) and warnings == [
        'the last step of an epoch differs from that of one process: of 13 pictures it is left fewer than there are '
        'processes (2), and shows 1 of the epoch once more'
    ]


def run_once(dataset, **loader):
    """Call the hook as a training of one epoch does."""
    dataloader = DataLoader(dataset, **loader)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = dataloader
    runner = SimpleNamespace(train_dataloader=dataloader, model=torch.nn.Linear(1, 1), epoch=3, logger=None, _train_loop=loop)
    hook = EqualBatchesHook()
    hook.before_run(runner)
    hook.before_train_epoch(runner)


class WantsEpochs(TensorDataset):
    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch


def test_an_epoch_without_a_step_is_refused():
    with pytest.raises(
        ValueError,
        match=r'an epoch has no step: .* its 9 pictures for each process do not fill one of '
        'batch_size=10; use a smaller batch_size, or drop_last=False',
    ):
        run_once(TensorDataset(torch.arange(9)), batch_size=10, drop_last=True)
    run_once(TensorDataset(torch.arange(10)), batch_size=10, drop_last=True)
    run_once(TensorDataset(torch.arange(9)), batch_size=10)


def test_the_data_set_hears_of_the_epoch_whatever_its_sampler():
    for kind in (DefaultSampler, torch.utils.data.SequentialSampler):
        dataset = WantsEpochs(torch.arange(4))
        run_once(torch.utils.data.ConcatDataset([dataset]), sampler=kind(dataset), batch_size=2)
        assert dataset.epoch == 3


@pytest.mark.parametrize('batch_size, drop_last, steps', [(8, False, 4), (8, True, 3), (30, True, 1), (31, True, 1)])
def test_what_is_no_whole_batch_is_dropped_unless_it_is_the_only_one(tmp_path, capsys, batch_size, drop_last, steps):
    """30 pictures; the loop and the schedules know of as many steps as are taken."""
    cfg = read_config_file(write_config(tmp_path, epochs=2))
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(tmp_path / 'w'), 'none', uuid.uuid4().hex
    cfg.train_dataloader.update(batch_size=batch_size, drop_last=drop_last)
    cfg.train_dataloader.dataset.num_shots = 3
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = command_line.build_runner(cfg, ('train_dataloader',))
    runner.train()
    assert (runner.iter, runner.max_iters) == (2 * steps, 2 * steps)
    assert ('train_dataloader.drop_last does not apply' in capsys.readouterr().out) == (drop_last and batch_size > 30)
    assert runner.cfg.train_dataloader.drop_last == drop_last  # what the config says, for the resumed run to compare
