"""Whole trainings whose epochs end with a step of fewer pictures, by one process and by several."""

import pytest
import tiny_digits
import torch
from many_ranks import run_ranks

# 15 pictures in common batches of 8: the last one of an epoch has 7. A smooth Gram loss, since at the start, where both
# branches are equal, the gradient of |difference| is the sign of rounding errors.
OPTIONS = (
    'num_shots=3',
    'train_dataloader.dataset.dataset.class_subset=base',
    'val_dataloader.dataset.class_subset=base',
    'model.gram_loss.p=2',
)
VARIANTS = dict(plain=(), bank=('view_bank=4',))


def train_all(rank, num_ranks, config, folder):
    """All trainings in one start of the processes."""
    for name, more in VARIANTS.items():
        train(rank, num_ranks, config, folder, name, 8, more)
    if num_ranks == 4:
        train(rank, num_ranks, config, folder, 'repeated', 4)


def train(rank, num_ranks, config, folder, name, common, more=()):
    options = (*OPTIONS, *more, f'train_dataloader.batch_size={common // num_ranks}')
    tiny_digits.train(rank, num_ranks, config, f'{folder}/{name}{num_ranks}', options)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Folder of all runs, each named by its variant and its number of processes."""
    folder = tmp_path_factory.mktemp('uneven')
    config = str(tiny_digits.write_config(folder, epochs=2))
    train_all(0, 1, config, str(folder))
    for count in (2, 4):
        run_ranks(train_all, count, folder / f'meeting{count}', config, str(folder))
    return folder


@pytest.mark.parametrize('count', [2, 4])
@pytest.mark.parametrize('variant', VARIANTS)
def test_the_weights_are_those_of_one_process(folder, variant, count):
    ours, expected = (torch.load(folder / f'{variant}{number}' / 'epoch_2.pth', weights_only=True) for number in (count, 1))
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(ours[part], expected[part], rtol=1e-5, atol=1e-5)
    assert ours['meta']['iter'] == expected['meta']['iter'] == 2 * 2


def test_the_log_says_where_the_last_step_is_another_one(folder):

    def lines(name):
        logs = ''.join(path.read_text() for path in (folder / name).rglob('*.log'))
        return [line.split('WARNING - ')[1] for line in logs.split('\n') if 'the last step of an epoch differs' in line]

    assert lines('plain2') == lines('plain4') == []
    assert lines('repeated4') == [
        'the last step of an epoch differs from that of one process: of 15 pictures it is left fewer than there are '
        'processes (4), and shows 1 of the epoch once more'
    ]
