"""Whether all processes have equally many pictures in every batch."""
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from .loops import unwrapped


@HOOKS.register_module()
class EqualBatchesHook(Hook):
    """Tell the classifier whether batches are equally large in all processes, so that it need not ask in every step.

    They are where the sampler rounds up (mmengine's default): it repeats samples until every process has as many. With
    ``round_up=False`` nothing is repeated and the last batch may differ by one picture between processes.
    """

    def before_train(self, runner):
        """Look at the sampler, and refuse what would end in processes that wait for each other for ever.

        Args:
            runner (Runner): The runner of the training.

        Raises:
            ValueError: If some processes would have one batch more than others.
        """
        model = unwrapped(runner.model)
        model.equal_batches = has_equal_batches(runner.train_dataloader, get_world_size())


def has_equal_batches(dataloader, world_size):
    """Return whether each batch has the same size in all processes.

    Args:
        dataloader (DataLoader): Of one process; its sampler deals samples out in turn.
        world_size (int): Number of processes.

    Returns:
        bool: True where it is certain.

    Raises:
        ValueError: If processes would have different numbers of batches.
    """
    sampler = dataloader.sampler
    if world_size == 1 or getattr(sampler, 'round_up', False):
        return True
    samples, batch = len(dataloader.dataset), dataloader.batch_size
    if not hasattr(sampler, 'round_up') or not batch:
        return False  # a sampler of another kind, of which nothing is known
    counts = [-(-(samples - rank) // world_size) for rank in (0, world_size - 1)]
    most, least = (count // batch if dataloader.drop_last else -(-count // batch) for count in counts)
    if most != least:
        raise ValueError(
            f'{samples} samples dealt out to {world_size} processes in batches of {batch} without rounding up are {most} '
            f'batches for some processes and {least} for others, which would wait for ever; use round_up=True in '
            'the sampler of train_dataloader, or another batch size')
    return counts[0] == counts[1]
