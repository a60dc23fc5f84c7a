"""A few pre-drawn views per picture, whose frozen features are computed once per training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from ...datasets import FewShotDataset
from ...models.caches.view_bank import DTYPES, STORAGES, BankLayout, ViewBank, check_space, choose_storage, format_bytes
from ...models.classifiers import CLIPClassifier
from ...models.data_preprocessor import CLIPDataPreprocessor
from ..sharding import NO_VIEW_BANK, ShardedDataParallel
from .loops import is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

    from ...datasets.pre_drawn_views import PreDrawnViews

# Most views that go through the frozen part together while the bank is filled.
_BATCH = 64


@HOOKS.register_module()
class ViewBankHook(Hook):
    """Train on ``view_bank`` pre-drawn views per picture, so that a training step runs the tuned part alone.

    Without it, every epoch draws new views. With it, every epoch shows ``num_views`` different ones of those that were
    drawn at the start, which is another augmentation; therefore it is off unless asked for. Which views there are and
    which of them an epoch shows follows from the seed of the augmentation: it is the same after resuming, and for any
    number of processes. Each process keeps the views that it will itself be asked for, which the sampler's order tells
    beforehand, so that filling never costs more than training without the bank does.

    It goes with accumulation, mixed precision, gradient checkpointing and ``model.compile``. Losses and gradients are
    those of the same views without a bank, up to the rounding of products in batches of another size, unless ``dtype``
    keeps less than was computed. Only in the very first step that rounding is all there is to the alignment's gradient:
    both branches are equal then, and the differences of their Gram matrices are exactly zero without a bank.

    Args:
        view_bank (int): Views per picture, at least ``num_views``; 0 switches it off. At the top of a config and by
            ``--cfg-options view_bank=16`` the same.
        storage (str): ``'ram'``; ``'disk'``: a file in the work folder, which is gone when the training is; ``'device'``:
            the memory of the GPU, from which a step takes its views without the host. Defaults to ``'auto'``: the GPU if
            the bank takes at most a quarter of what is free there, else ``'ram'``.
        max_bytes (float): Most bytes of the bank, for each process. Defaults to 4e9.
        dtype (str, optional): ``'bfloat16'`` or ``'float16'`` halve the bank and round; ``'float32'``. Defaults to the
            types that the features are computed in, float32 without mixed precision.

    Raises:
        ValueError: If an argument is not one of these.
    """

    # Before texts are encoded: what is too large is to be known before any work is done.
    priority = 'VERY_HIGH'

    def __init__(self, view_bank: int = 0, storage: str = 'auto', max_bytes: float = 4e9, dtype: str | None = None):
        if isinstance(view_bank, bool) or not isinstance(view_bank, int) or view_bank < 0:
            raise ValueError(f'view_bank is {view_bank!r}, expected a number of views per picture, or 0')
        if storage not in ('auto', *STORAGES):
            raise ValueError(f"storage of ViewBankHook is {storage!r}, expected 'auto' or one of {STORAGES}")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f'dtype of ViewBankHook is {dtype!r}, expected one of {sorted(DTYPES)} or None')
        self.view_bank, self.storage, self.max_bytes, self.dtype = view_bank, storage, max_bytes, dtype
        self._layout: Any = None  # a BankLayout, once the run is known
        self._place = storage
        self._trained = False

    def before_run(self, runner: Runner) -> None:
        """Plan the bank, say its size, and refuse what cannot be.

        Args:
            runner (Runner): Just before it loads or resumes.

        Raises:
            ValueError: If the bank would be larger than ``max_bytes`` or the space that there is, or the run is none
                that it can serve.
        """
        # A runner that has trained may test or validate afterwards, which starts with this hook as well.
        if not self.view_bank or not is_training(runner) or self._trained:
            return
        if isinstance(runner.model, ShardedDataParallel):
            raise ValueError(NO_VIEW_BANK.format(self.view_bank))
        check_run(runner)
        dataset = runner.train_dataloader.dataset
        self._check_drawing(runner, dataset)
        views = dataset.set_view_bank(self.view_bank)
        shown = views_of_training(runner.train_dataloader.sampler, views, len(dataset), runner.max_epochs)
        sample = _frozen_features(runner, views.load(dataset.get_data_info(0))[:1])
        self._layout = BankLayout(sample, shown, self.dtype)
        device = unwrapped(runner.model).data_preprocessor.device
        self._place = choose_storage(self._layout, device) if self.storage == 'auto' else self.storage
        if self._layout.num_bytes > self.max_bytes:
            raise ValueError(self._too_large(runner, views.num_views))
        check_space(self._layout, self._place, runner.work_dir, device)
        runner.logger.info(f'view bank in {self._place}: {self._layout.describe()} (max_bytes: {format_bytes(self.max_bytes)})')

    def before_train(self, runner: Runner) -> None:
        """Fill the bank and give it to the model.

        Args:
            runner (Runner): The runner of the training.
        """
        if self._layout is None:
            return
        start, dataset = time.perf_counter(), runner.train_dataloader.dataset
        device = unwrapped(runner.model).data_preprocessor.device
        bank = ViewBank(self._layout, self._place, runner.work_dir, device)
        views = _UsedViews(dataset, dataset.set_view_bank(self.view_bank), self._layout.shown)
        loader = DataLoader(
            views, max(1, _BATCH // self.view_bank), collate_fn=torch.cat, num_workers=runner.train_dataloader.num_workers
        )
        row = 0
        # The plan is of the whole training also where it is resumed: equal batches give equal bits.
        for batch in loader:
            # A single picture can have more views than go through the frozen part together.
            for pictures in batch.split(_BATCH):
                bank.write(row, _frozen_features(runner, pictures))
                row += len(pictures)
        unwrapped(runner.model).data_preprocessor.view_bank = bank
        runner.logger.info(f'view bank filled with {row} views in {time.perf_counter() - start:.1f} s')

    def after_train(self, runner: Runner) -> None:
        """Let the bank go; the data set shows pictures again."""
        if self._layout is not None:
            unwrapped(runner.model).data_preprocessor.view_bank = self._layout = None
            runner.train_dataloader.dataset.set_view_bank(None)
        self._trained = True

    def _check_drawing(self, runner, dataset):
        """Refuse what would fill the memory before it is known how many views are cached: all views are drawn."""
        height, width = getattr(unwrapped(runner.model), 'image_size', (1, 1))
        # The order of all views of an epoch, 4 bytes of chance and 8 of places each; the pixels of one picture's views.
        needed = self.view_bank * max(12 * len(dataset), 3 * height * width)
        if needed > self.max_bytes:
            raise ValueError(
                f'view_bank={self.view_bank} views of {len(dataset)} pictures take '
                f'{format_bytes(needed)} while they are drawn, but max_bytes allows '
                f'{format_bytes(self.max_bytes)}; use a smaller view_bank, or 0 (off)'
            )

    def _too_large(self, runner, least):
        layout = self._layout
        fitting = int(self.max_bytes // (layout.bytes_per_view * len(layout.shown)))
        fewer = f'view_bank={fitting} fits, ' if fitting >= least else ''
        here = next(
            (
                f'custom_hooks.{index}.'
                for index, hook in enumerate(runner.cfg.get('custom_hooks') or ())
                if hook['type'] == type(self).__name__
            ),
            '',
        )
        return (
            f'the view bank would take {format_bytes(layout.num_bytes)} of {self._place}, but max_bytes allows '
            f'{format_bytes(self.max_bytes)}: {layout.describe()}. What can be changed: {fewer}'
            f'{here}max_bytes={layout.num_bytes} if there is so much, {here}storage=disk, '
            f'{here}dtype=bfloat16, fewer pictures, or view_bank=0 (off)'
        )


def check_run(runner: Runner) -> None:
    """Refuse a run whose draws are not known beforehand, or whose model takes nothing but pictures.

    Args:
        runner (Runner): Of a training.

    Raises:
        ValueError: Names the part that does not go with a view bank, and what does.
    """
    model, loader = unwrapped(runner.model), runner.train_dataloader
    parts = [
        ('the train loop', runner.train_loop, EpochBasedTrainLoop),
        ('the training data set', loader.dataset, FewShotDataset),
        ('the training sampler', loader.sampler, DefaultSampler),
        ('the data preprocessor', model.data_preprocessor, CLIPDataPreprocessor),
    ]
    for what, part, kind in parts:
        if not isinstance(part, kind):
            raise ValueError(f'view_bank: {what} is {type(part).__name__}, expected {kind.__name__}')
    if getattr(runner.train_loop, 'takes_no_steps', False):
        raise ValueError(
            f'view_bank: {type(runner.train_loop).__name__} takes no steps that views could be cached for; use view_bank=0'
        )
    if not isinstance(model, CLIPClassifier) or type(model).frozen_features is CLIPClassifier.frozen_features:
        raise ValueError(
            f'view_bank: {type(model).__name__} has no frozen part to keep, since what it trains enters before '
            'the first block or it trains nothing step by step; use view_bank=0'
        )
    if getattr(model.backbone, 'tune_stem', False):
        raise ValueError('view_bank: with backbone.tune_stem nothing of the tuned branch is frozen that could be cached')
    if runner.cfg.get('compile'):
        raise ValueError(
            'view_bank does not go with compile of the runner, which takes the look-up into its graph; use model.compile=True'
        )


def views_of_training(sampler: DefaultSampler, views: PreDrawnViews, pictures: int, max_epochs: int) -> torch.Tensor:
    """List the views that a process is asked for during the whole training.

    Args:
        sampler (DefaultSampler): Of this process; left at the epoch where it is.
        views (PreDrawnViews): Of its data set.
        pictures (int): Pictures of the data set, ``N``.
        max_epochs (int): Length of the training.

    Returns:
        Tensor: ``(N, V)``, bool.
    """
    shown = torch.zeros(pictures, views.size, dtype=torch.bool)
    before = sampler.epoch
    for epoch in range(max_epochs):
        sampler.set_epoch(epoch)
        drawn = torch.tensor(list(sampler))
        shown[drawn[:, None], views.shown(epoch)[drawn]] = True
    sampler.set_epoch(before)
    return shown


class _UsedViews(Dataset):
    """The views that are used ``(n, 3, H, W)`` of every picture that has some."""

    def __init__(self, dataset: FewShotDataset, views: PreDrawnViews, shown: torch.Tensor):
        self.dataset, self.views, self.shown = dataset, views, shown
        self.pictures = shown.any(1).nonzero().flatten().tolist()

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, position):
        picture = self.pictures[position]
        return self.views.load(self.dataset.get_data_info(picture))[self.shown[picture]]


def _frozen_features(runner, pictures):
    """Run the frozen part on pictures ``(n, 3, H, W)`` in the precision of a training step."""
    model = unwrapped(runner.model)
    (inputs,) = model.data_preprocessor(dict(inputs=[pictures], data_samples=None))['inputs']
    with torch.no_grad(), runner.optim_wrapper.optim_context(runner.model):
        return model.frozen_features(inputs)
