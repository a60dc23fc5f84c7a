"""Common batches are dealt out to the processes, which know how many pictures the others have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...datasets.samplers import FewShotSampler, announce_epoch, check_wrappers
from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader


@HOOKS.register_module()
class EqualBatchesHook(Hook):
    """Let N processes have the batches of one, and tell the classifier where these are equally large in all processes.

    The sampler learns the batch size, so that :class:`FewShotSampler` deals out the last, smaller batch of an epoch as
    it deals out the others and repeats no picture for it, unless there are fewer than processes. Where the shares are
    known to be equal, the classifier need not ask for their sizes, which on a GPU the host would wait for.

    With ``drop_last``, and with mmengine's ``DefaultSampler``, samples are repeated until all processes have equally
    many. With ``round_up=False`` nothing is ever repeated.
    """

    # Before ViewBankHook, which takes its plan from the sampler's order.
    priority = 'HIGHEST'

    def __init__(self):
        self._equal_steps = 0

    def before_run(self, runner: Runner) -> None:
        """Tell the sampler of a training the batch size, and refuse epochs without a step or with equal copies.

        Args:
            runner (Runner): After it built the loops of the task at hand.

        Raises:
            ValueError: If an epoch has no batch, or a wrapper repeats the views of a picture.
        """
        if not is_training(runner):
            return
        loader = runner.train_dataloader
        check_wrappers(loader.dataset)
        if not len(loader):
            raise ValueError(
                f'an epoch has no step: train_dataloader drops the last batch that is not full, and its {len(loader.sampler)} '
                f'pictures for each process do not fill one of batch_size={loader.batch_size}; use a smaller batch_size, or '
                'drop_last=False'
            )
        if hasattr(loader.sampler, 'deal_batches') and loader.batch_size and not loader.drop_last:
            loader.sampler.deal_batches(loader.batch_size)

    def before_train(self, runner: Runner) -> None:
        """Look at the sampler, and refuse what would end in processes that wait for each other for ever.

        Args:
            runner (Runner): The runner of the training.

        Raises:
            ValueError: If some processes would have one batch more than others.
        """
        if not is_training(runner):
            return
        loader = runner.train_dataloader
        self._equal_steps = count_equal_batches(loader, get_world_size())
        self._tell(runner, 0)
        repeated = getattr(loader.sampler, 'num_repeated', 0)
        if repeated and not loader.drop_last:
            runner.logger.warning(
                'the last step of an epoch differs from that of one process: of '
                f'{len(loader.dataset)} pictures it is left fewer than there are processes '
                f'({get_world_size()}), and shows {repeated} of the epoch once more'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the data set the epoch where its sampler does not: every epoch would show the same views.

        Args:
            runner (Runner): The runner of the training.
        """
        if is_training(runner) and not isinstance(runner.train_dataloader.sampler, FewShotSampler):
            announce_epoch(runner.train_dataloader.dataset, runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        """Tell the classifier whether the batch at hand is equally large in all processes.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): Step of the epoch, or of a training that counts no epochs.
            data_batch (dict, optional): Not used.
        """
        self._tell(runner, batch_idx % len(runner.train_dataloader))

    def _tell(self, runner, step):
        unwrapped(runner.model).equal_batches = step < self._equal_steps


def count_equal_batches(dataloader: DataLoader, world_size: int) -> int:
    """Return how many batches of an epoch, from its start, have the same size in all processes.

    Args:
        dataloader (DataLoader): Of one process; its sampler deals samples out in turn.
        world_size (int): Number of processes.

    Returns:
        int: As far as it is certain.

    Raises:
        ValueError: If processes would have different numbers of batches.
    """
    sampler, batch = dataloader.sampler, dataloader.batch_size
    if world_size == 1:
        return len(dataloader)
    if not hasattr(sampler, 'total_size') or not batch:
        return 0  # a sampler of another kind, of which nothing is known
    samples = sampler.total_size
    counts = [-(-(samples - rank) // world_size) for rank in (0, world_size - 1)]
    most, least = (count // batch if dataloader.drop_last else -(-count // batch) for count in counts)
    if most != least:
        raise ValueError(
            f'{samples} samples dealt out to {world_size} processes in batches of {batch} without rounding up are '
            f'{most} batches for some processes and {least} for others, which would wait for ever; use round_up=True '
            'in the sampler of train_dataloader, or another batch size'
        )
    return len(dataloader) - (counts[0] != counts[1] and not dataloader.drop_last)
