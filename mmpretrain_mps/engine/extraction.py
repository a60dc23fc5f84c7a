"""One look at every picture of a data set, shared by the processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, cast

import torch
from mmengine.dataset import default_collate
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset, Subset

from ..datasets.pre_drawn_views import START_STREAM, PreDrawnViews

if TYPE_CHECKING:
    from ..datasets.few_shot import FewShotDataset

_REPORT_SECONDS = 20.0
# Most views that go through a network together.
_VIEWS = 64


def extract_share(
    dataset: Dataset,
    compute: Callable,
    batch_size: int = 64,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    what: str = 'pictures',
) -> list[torch.Tensor]:
    """Compute rows for this process's share of a data set: every ``R``-th item of ``R`` processes, none twice.

    Args:
        dataset (Dataset): ``N`` items.
        compute (Callable): From a batch to a sequence of tensors with a row for each of its items.
        batch_size (int): Items at once.
        num_workers (int): Processes that load.
        collate_fn (Callable, optional): Makes batches of items. Defaults to mmengine's ``default_collate``.
        what (str): What the items are, for the log.

    Returns:
        list[Tensor]: On the host, in the order of the data set; empty if there is no item for this process.
    """
    share = Subset(dataset, range(get_rank(), len(cast(Sized, dataset)), get_world_size()))
    loader = DataLoader(share, batch_size, num_workers=num_workers, collate_fn=collate_fn or default_collate)
    rows, reported = [], time.monotonic()
    with torch.no_grad():
        for index, batch in enumerate(loader, 1):
            rows.append([tensor.cpu() for tensor in compute(batch)])
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                MMLogger.get_current_instance().info(f'{what}: batch {index} of {len(loader)}')
    return [torch.cat(parts) for parts in zip(*rows)]


def put_together(share: Sequence[torch.Tensor], total: int) -> list[torch.Tensor]:
    """Put the shares of all processes together, in the order of the data set.

    Args:
        share (Sequence[Tensor]): Of :func:`extract_share`.
        total (int): Items of the data set, ``N``.

    Returns:
        list[Tensor]: ``(N, ...)`` each, the same in every process.
    """
    shares = [part for part in all_gather_object(list(share)) if part]
    whole = []
    for parts in zip(*shares):
        rows = parts[0].new_empty(total, *parts[0].shape[1:])
        for rank, part in enumerate(parts):
            rows[rank :: get_world_size()] = part
        whole.append(rows)
    return whole


class DrawnViews(Dataset):
    """The same number of freshly drawn views of every training picture, and its class.

    Views follow from the seed of the augmentation and the picture alone. They are others than those of any epoch and of
    a view bank, as in a release that draws them from one random stream.

    Args:
        dataset (FewShotDataset): Whose pipeline draws views.
        num_views (int): For each picture, ``V``.

    Raises:
        ValueError: If the pipeline does not draw views, or more than ``num_views`` at once.
    """

    def __init__(self, dataset: FewShotDataset, num_views: int):
        self.dataset, self.num_views = dataset, num_views
        self.views = PreDrawnViews(
            dataset.pipeline, num_views, len(dataset), cast(int, dataset.augment_seed), START_STREAM, 'passes'
        )

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        record = self.dataset.get_data_info(index)
        return self.views.load(record), int(record['gt_label'])


def mean_over_views(dataset: DrawnViews, compute: Callable, num_workers: int = 0) -> tuple:
    """Compute the mean features of the views of every picture, in all processes together.

    Args:
        dataset (DrawnViews): ``N`` pictures in ``V`` views.
        compute (Callable): From views ``(n, 3, H, W)``, uint8, to features ``(n, A)``.
        num_workers (int): Processes that load.

    Returns:
        tuple[Tensor, Tensor]: Means ``(N, A)`` and labels ``(N,)``, the same in every process.
    """

    def compute_means(batch: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean features of the views of a batch."""
        views, labels = batch
        # A single picture can have more views than go through a network together.
        features = torch.cat([compute(part) for part in views.flatten(0, 1).split(_VIEWS)])
        return features.unflatten(0, (len(views), dataset.num_views)).mean(1), labels

    share = extract_share(
        dataset,
        compute_means,
        max(1, _VIEWS // dataset.num_views),
        num_workers,
        _stack,
        f'{dataset.num_views} views of every training picture',
    )
    return tuple(put_together(share, len(dataset)))


def _stack(items):
    views, labels = zip(*items)
    return torch.stack(views), torch.tensor(labels)
