"""Views of a training that are cropped, resized and flipped on the device."""

from typing import cast

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...datasets import FewShotDataset
from ...datasets.view_boxes import ViewBoxes
from ...models.caches.picture_bank import PictureBank
from ...models.caches.view_bank import format_bytes
from ...models.computation.devices import free_on_device
from ...models.data_preprocessor import CLIPDataPreprocessor
from .loops import unwrapped
from .view_bank_hook import ViewBankHook

_GPU = 'cuda'
# Of the device's free memory, what decoded pictures may take where nobody asked for them; the training has the rest.
_SHARE_OF_DEVICE = 0.1


@HOOKS.register_module()
class DeviceViewsHook(Hook):
    """Put the decoded pictures of a small training set on the device, and cut every view out of them there.

    Processes that load then draw crop boxes and flips alone, from the random numbers that the views would be drawn from,
    and :class:`CLIPDataPreprocessor` does the rest, see :func:`.crop_and_resize`. The pixels are those of the pipeline, so
    that it makes no difference to a training. How much may be decoded says ``cache_limit_mb`` of the data set.

    Args:
        views_on_device (bool | str): True, False, or ``'auto'``: on GPUs, if the pictures fit. At the top of a config and by
            ``--cfg-options views_on_device=False`` the same.

    Raises:
        ValueError: If it is none of these.
    """

    def __init__(self, views_on_device: bool | str = 'auto'):
        if views_on_device is not True and views_on_device is not False and views_on_device != 'auto':
            raise ValueError(f"views_on_device is {views_on_device!r}, expected True, False or 'auto'")
        self.views_on_device = views_on_device
        self._on = False

    def before_train(self, runner: Runner) -> None:
        """Decide, decode the pictures and give them to the model.

        Args:
            runner (Runner): The runner of the training.

        Raises:
            ValueError: If views are to be made on the device whatever the run, and this one does not allow it.
        """
        # The pictures lie where the model computes, which is known now.
        device = next(unwrapped(runner.model).parameters()).device
        if not self.views_on_device or (self.views_on_device == 'auto' and device.type != _GPU):
            return
        try:
            check_run(runner)
            bank = make_bank(runner.train_dataloader.dataset, device, self.views_on_device == 'auto')
        except ValueError as error:
            if self.views_on_device == 'auto':
                runner.logger.info(f'views_on_device=auto is off: {error}')
                return
            raise ValueError(f'views_on_device=True: {error}; use views_on_device=auto or False') from None
        unwrapped(runner.model).data_preprocessor.picture_bank, self._on = bank, True
        runner.logger.info(
            f'views are cropped, resized and flipped on {device}, from {len(bank)} decoded pictures '
            f'({format_bytes(bank.num_bytes)}) there'
        )

    def after_train(self, runner: Runner) -> None:
        """Let the pictures go; the data set shows views again."""
        if self._on:
            unwrapped(runner.model).data_preprocessor.picture_bank = None
            runner.train_dataloader.dataset.set_view_boxes(None)
        self._on = False


def check_run(runner: Runner) -> None:
    """Refuse a run whose training takes something else than batches of views from its data set.

    Args:
        runner (Runner): Of a training.

    Raises:
        ValueError: Names what was found and what is expected.
    """
    parts = [
        ('the training data set', runner.train_dataloader.dataset, FewShotDataset),
        ('the data preprocessor', unwrapped(runner.model).data_preprocessor, CLIPDataPreprocessor),
    ]
    for what, part, kind in parts:
        if not isinstance(part, kind):
            raise ValueError(f'{what} is {type(part).__name__}, expected {kind.__name__}')
    if getattr(runner.train_loop, 'takes_no_steps', False):
        raise ValueError(f'{type(runner.train_loop).__name__} looks at the pictures once, not in every epoch')
    if any(isinstance(hook, ViewBankHook) and hook.view_bank for hook in runner.hooks):
        raise ValueError('view_bank draws the views before the training')
    if runner.cfg.get('compile'):
        raise ValueError('compile of the runner would take the pictures into its graph; model.compile does not')


def make_bank(dataset: FewShotDataset, device: torch.device | str, sparing: bool = False) -> PictureBank:
    """Decode the pictures and put them on the device, and have the data set show boxes.

    Args:
        dataset (FewShotDataset): Of a training; changed.
        device (torch.device | str): Where the pictures are to lie.
        sparing (bool): Refuse to take more than a tenth of what is free there.

    Returns:
        PictureBank: For ``picture_bank`` of the data preprocessor.

    Raises:
        ValueError: Says what does not allow it; the data set is as it was then.
    """
    # A pipeline that does not fit is found out before anything is decoded.
    dataset.set_view_boxes([])
    dataset.set_view_boxes(None)
    pictures = dataset.keep_decoded()
    if pictures is None:
        raise ValueError(
            'the decoded pictures are not kept in memory: cache_images of the training data set is False, '
            'they take more than its cache_limit_mb, or its pipeline does not start by loading'
        )
    if sparing:
        free, needed = free_on_device(device), sum(picture.nbytes for picture in pictures)
        if needed > _SHARE_OF_DEVICE * free:
            raise ValueError(
                f'the decoded pictures take {format_bytes(needed)}, more than a tenth of the {format_bytes(free)} that '
                f'are free on {device}'
            )
    boxes = cast(ViewBoxes, dataset.set_view_boxes([picture.shape[:2] for picture in pictures]))
    try:
        return PictureBank(pictures, boxes.size, boxes.interpolation, device)
    except ValueError:
        dataset.set_view_boxes(None)
        raise
