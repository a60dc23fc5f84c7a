"""A training that is resumed with another number of processes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_digits
import torch
from many_ranks import run_ranks

from mmpretrain_mps.engine.hooks.processes_hook import ProcessesHook, describe_change

# 40 pictures in common batches of 12: the last one of an epoch has 4. A smooth Gram loss, since at the start, where both
# branches are equal, the gradient of |difference| is the sign of rounding errors.
OPTIONS = ('num_shots=4', 'model.gram_loss.p=2', 'default_hooks.checkpoint.max_keep_ckpts=-1')


def train(rank, num_ranks, config, common, work_dir, resume=None):
    options = (*OPTIONS, f'train_dataloader.batch_size={common // num_ranks}')
    return tiny_digits.train(rank, num_ranks, config, str(Path(work_dir)), options, resume)


def train_several(rank, num_ranks, config, runs):
    """Several trainings in one start of the processes."""
    return [train(rank, num_ranks, config, *arguments) for arguments in runs]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Folders of runs; each started with as many processes as the first number says and went on with the second."""
    folder = tmp_path_factory.mktemp('counts')
    config = str(tiny_digits.write_config(folder, epochs=3))
    half = {count: str(folder / str(count) / 'epoch_1.pth') for count in (1, 2)}
    found = {'one': train(0, 1, config, 12, folder / '1')}
    found['two'], found['1 to 2'] = run_ranks(
        train_several, 2, folder / 'two', config, [(12, str(folder / '2')), (12, str(folder / '1 to 2'), half[1])]
    )[0]
    found['2 to 4'], found['2 to 4, larger'] = run_ranks(
        train_several,
        4,
        folder / 'four',
        config,
        [(12, str(folder / '2 to 4'), half[2]), (24, str(folder / '2 to 4, larger'), half[2])],
    )[0]
    found['2 to 1'] = train(0, 1, config, 12, folder / '2 to 1', half[2])
    return folder, found


@pytest.mark.parametrize('name', ['2', '1 to 2', '2 to 4', '2 to 1'])
def test_with_the_same_common_batch_the_weights_are_those_of_an_uninterrupted_run(runs, name):
    folder, _ = runs
    ours, expected = (torch.load(folder / run / 'epoch_3.pth', weights_only=True) for run in (name, '1'))
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(ours[part], expected[part], rtol=1e-5, atol=1e-5)
    assert ours['meta']['iter'] == expected['meta']['iter'] == 12
    assert [state['last_step'] for state in ours['param_schedulers']] == [
        state['last_step'] for state in expected['param_schedulers']
    ]


def test_with_another_common_batch_the_steps_are_counted_as_if_it_had_always_been_so(runs):
    folder, found = runs
    assert found['2 to 4, larger']['iterations'] == 3 * 2
    larger = torch.load(folder / '2 to 4, larger' / 'epoch_3.pth', weights_only=True)
    assert larger['meta']['processes'] == dict(count=4, batch=6, steps=2)
    assert larger['meta']['epoch'] == 3 and larger['meta']['iter'] == 6
    uninterrupted = torch.load(folder / '1' / 'epoch_3.pth', weights_only=True)
    # Rates by epoch end where they should, although there were fewer steps.
    assert larger['optimizer']['param_groups'][0]['lr'] == uninterrupted['optimizer']['param_groups'][0]['lr']


def test_the_log_says_it_in_one_line(runs):
    folder, _ = runs

    def lines(name):
        logs = ''.join(path.read_text() for path in (folder / name).rglob('*.log'))
        return [line.split('WARNING - ')[1] for line in logs.split('\n') if 'trained with' in line]

    assert lines('2 to 1') == [
        'trained with 2 processes x 6 until epoch 1, goes on with 1 process x 12: the common '
        'batch stays 12 pictures, 4 steps per epoch; learning rates go on as they were'
    ]
    assert lines('2 to 4, larger') == [
        'trained with 2 processes x 6 until epoch 1, goes on with 4 processes x 6: the common batch changes from 12 to '
        '24 pictures, the steps per epoch from 4 to 2; learning rates go on as they were; train_dataloader.batch_size=3 '
        'would keep the common batch'
    ]
    assert lines('1') == lines('2') == []


def test_without_gathering_the_line_says_what_each_process_compares():
    line = describe_change(dict(count=2, batch=4, steps=4), dict(count=1, batch=8, steps=4), 2, 'none')
    assert "with gather='none' each process now compares 8 pictures instead of 4" in line


def test_another_number_of_steps_within_a_schedule_by_iteration_is_refused(monkeypatch):
    from mmengine.runner import EpochBasedTrainLoop

    from mmpretrain_mps.engine.hooks import processes_hook

    monkeypatch.setattr(processes_hook, 'is_training', lambda runner: True)
    loader = torch.utils.data.DataLoader(range(6), batch_size=2)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(_resume=True, train_dataloader=loader, train_loop=loop)
    checkpoint = dict(
        meta=dict(epoch=2, iter=4, processes=dict(count=2, batch=2, steps=2)),
        param_schedulers=[dict(by_epoch=False, _global_step=4, end=100)],
    )
    with pytest.raises(ValueError, match='from 2 to 3 while a schedule by iteration is at step 4 of 100; keep the common'):
        ProcessesHook().after_load_checkpoint(runner, checkpoint)
