"""Trainings of a layer that starts from features of the training pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS

from ...datasets import FewShotDataset
from ...models.classifiers.logit_bias_classifier import LogitBiasClassifier
from ..extraction import DrawnViews, mean_over_views
from ..fusion_search import BestEpoch, FusionSearch
from ..hooks.loops import unwrapped, wrap_anew
from ..sharding import ShardedDataParallel
from .training_free_loop import TrainingFreeLoop

if TYPE_CHECKING:
    from mmengine.runner import EpochBasedTrainLoop as _Loop
    from mmengine.runner import Runner
    from torch import nn
    from torch.utils.data import DataLoader
else:
    _Loop = object  # the loops that inherit from it are train loops


class _StartsFromFeatures(_Loop):
    """What both loops have in common: the start before the first epoch, and the search after the last one."""

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        passes: int = 1,
        search: dict | None = None,
        best_epoch_on: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(runner, dataloader, **kwargs)
        name, model = type(self).__name__, unwrapped(runner.model)
        if not isinstance(model, LogitBiasClassifier):
            raise ValueError(
                f'{name} starts a layer from features of pictures, but {type(model).__name__} has none; '
                'expected TipAdapterClassifier or AMUTuningClassifier'
            )
        if isinstance(runner.model, ShardedDataParallel):
            raise ValueError(
                f'{name} does not go with ShardedDataParallel: the layer has its size only once its '
                'pictures are known; leave the sharding out'
            )
        if not isinstance(self.dataloader.dataset, FewShotDataset):
            raise ValueError(
                f'{name} draws views of the training pictures, which FewShotDataset does, but the data '
                f'set is a {type(self.dataloader.dataset).__name__}'
            )
        self.views = DrawnViews(self.dataloader.dataset, passes)
        self.search = None if search is None or self._cannot_search(search) else FusionSearch(runner, **search)
        self.best_epoch = None if best_epoch_on is None else BestEpoch(runner, best_epoch_on)

    def _cannot_search(self, search):
        """Say that a search by validation pictures has none; one that was asked for by other pictures has an error."""
        if search.get('dataloader') or search.get('pictures', 'val') != 'val' or self.runner._val_dataloader:
            return False
        model = unwrapped(self.runner.model)
        self.runner.logger.warning(
            'there is no search, since the config has no validation pictures: '
            f'{model.inner_name} {model.inner:g} and alpha {model.head.alpha:g} stay what '
            'they are'
        )
        return True

    def run(self) -> nn.Module:
        """Start the layer where no checkpoint brought it, then train."""
        model = unwrapped(self.runner.model)
        if self.best_epoch is not None and not self._epoch:
            self.best_epoch.forget(self.runner)
        if not model.has_started:
            labels = torch.from_numpy(self.dataloader.dataset.get_gt_labels())
            model.check_labels(labels)
            features, labels = mean_over_views(self.views, self._start_features, self.dataloader.num_workers)
            model.start_from(features, labels)
            self.runner.logger.info(
                f'{model.layer_name} of {type(model).__name__} starts from {len(labels)} pictures '
                f'in {self.views.num_views} views each'
            )
        wrap_anew(self.runner)
        return super().run()

    def _start_features(self, pictures):
        model = unwrapped(self.runner.model)
        (inputs,) = model.data_preprocessor(dict(inputs=[pictures], data_samples=None))['inputs']
        with self.runner.optim_wrapper.optim_context(self.runner.model):
            return model.start_features(inputs).float()

    def finish_epoch(self) -> None:
        """Look at the epoch; after the last one choose what is to be chosen, before hooks save it."""
        if self.best_epoch is not None:
            self.best_epoch.look(self.runner)
        if self._epoch + 1 < self._max_epochs:
            return
        if self.best_epoch is not None:
            self.best_epoch.take(self.runner)
        if self.search is not None:
            self.search.run(self.runner)


@LOOPS.register_module()
class FeatureStartLoop(_StartsFromFeatures, EpochBasedTrainLoop):
    """Training by epochs of a :class:`LogitBiasClassifier`: Tip-Adapter-F, AMU-Tuning.

    Its layer starts from features of the training pictures, averaged over freshly drawn views (several processes share
    them). After the last epoch the number of the bias and its weight are searched, and saved with the model. None of
    this happens again where a run is resumed behind it.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the training pictures, a :class:`FewShotDataset`.
        passes (int): Views of each picture that the layer starts from.
        search (dict, optional): ``scale``, ``steps``, ``pictures`` and ``dataloader`` of :class:`FusionSearch`; None
            keeps the numbers of the config, and so does ``pictures='val'`` (with a warning) where there are none.
        best_epoch_on (str, optional): Pictures by which the best epoch is chosen, see :class:`ChoicePictures`; None for
            the last epoch. ``'test'`` is what released codes do.
        **kwargs: As in mmengine's ``EpochBasedTrainLoop``.

    Raises:
        ValueError: If model, data set or pictures are not such that it could work.
    """

    def run_epoch(self) -> None:
        """Train for an epoch; see mmengine's ``EpochBasedTrainLoop``."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        self.finish_epoch()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class CacheLoop(_StartsFromFeatures, TrainingFreeLoop):
    """The same without training: Tip-Adapter, whose memory is there after one look at the pictures.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): As in :class:`FeatureStartLoop`.
        passes (int): As in :class:`FeatureStartLoop`.
        search (dict, optional): As in :class:`FeatureStartLoop`.
        **kwargs: As in :class:`TrainingFreeLoop`.

    Raises:
        ValueError: As :class:`FeatureStartLoop`.
    """

    def work(self) -> None:
        """Search; the memory is there already."""
        self.finish_epoch()
