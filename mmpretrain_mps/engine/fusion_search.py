"""Pictures by which something of a trained model is chosen, and the search of how its bias is added."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from ..datasets import FewShotDataset
from ..datasets.base import SplitDataset
from ..models.classifiers.description import check_class_names
from ..models.classifiers.frozen_image_classifier import ImageFeatures
from ..models.fusion.fusion_search import choose_best, search_grid
from .extraction import extract_share
from .hooks.loops import unwrapped
from .test_pictures import shows_test_pictures

if TYPE_CHECKING:
    from mmengine.runner import Runner

SETS = ('val', 'whole_val', 'test')
ON_TEST_PICTURES = 'chosen on test pictures, as the released code does: figures of these pictures are too high'


class ChoicePictures:
    """Frozen features of the pictures by which something is chosen, computed once and shared by the processes.

    Args:
        runner (Runner): Whose loaders are meant.
        pictures (str): ``'val'``: those of ``val_dataloader``, ``min(K, 4)`` of each class at most, as the protocol has it;
            ``'whole_val'``: the whole data set that they are drawn from; ``'test'``: those of ``test_dataloader``,
            which are then no longer unseen.
        dataloader (dict, optional): Config of a loader in the place of ``val_dataloader``.
        setting (str): What asks for them, as errors name it.

    Raises:
        ValueError: If there are no such pictures, or those for validation are the test pictures.
    """

    def __init__(self, runner: Runner, pictures: str = 'val', dataloader: dict | None = None, setting: str = 'search'):
        if pictures not in SETS:
            raise ValueError(f'{setting}: pictures must be one of {SETS}, but is {pictures!r}')
        loader = dataloader or (runner._test_dataloader if pictures == 'test' else runner._val_dataloader)
        if not loader:
            name = 'test_dataloader' if pictures == 'test' else 'val_dataloader'
            raise ValueError(
                f'{setting} needs pictures of {name}, but the config has none: set '
                f'train_cfg.{setting}=None, which leaves it out, or train_cfg.{setting}.dataloader'
            )
        if (
            pictures != 'test'
            and isinstance(loader, dict)
            and isinstance(runner._test_dataloader, (dict, type(None)))
            and shows_test_pictures(loader, runner._test_dataloader)
        ):
            raise ValueError(
                f'{setting} would choose by val_dataloader, which shows the test pictures; give it '
                f"others, or say train_cfg.{setting}.pictures='test'"
            )
        self.pictures, self._features = pictures, None
        self._labels: Any = None  # a tensor, once they are extracted
        self.dataset = _build(loader, pictures)
        if pictures == 'val':
            self.dataset = _few_of_each_class(self.dataset, runner._train_dataloader)
        settings = loader if isinstance(loader, dict) else vars(loader)
        self._batch_size, self._num_workers = settings.get('batch_size') or 1, settings.get('num_workers') or 0

    def __len__(self):
        return len(self.dataset)

    def describe(self) -> str:
        """Return number, subset and name of the data set."""
        metainfo = getattr(self.dataset, 'metainfo', {})
        return f'{len(self)} {self.pictures} pictures of {metainfo.get("dataset_name", type(self.dataset).__name__)}'

    def count_right(self, runner: Runner, inners: Sequence[float], alphas: Sequence[float]) -> torch.Tensor:
        """Count right predictions of all pictures for every pair of numbers.

        Args:
            runner (Runner): With the model.
            inners (Sequence[float]): Numbers of the bias.
            alphas (Sequence[float]): Its weights.

        Returns:
            Tensor: ``(number of inners, number of alphas)``, int64, the same in every process.
        """
        model = unwrapped(runner.model)
        if self._labels is None:
            self._extract(model)
        right = torch.zeros(len(inners), len(alphas), dtype=torch.int64)
        if len(self._labels):
            right = model.count_right(self._features, self._labels, inners, alphas)
        all_reduce(right)
        return right

    def _extract(self, model):
        check_class_names(getattr(self.dataset, 'metainfo', {}).get('classes'), model.class_names, self.describe(), 'the model')

        def compute(batch: dict[str, Any]) -> list[torch.Tensor]:
            """Return labels and frozen features of a batch."""
            data = model.data_preprocessor(batch, training=False)
            features = model.frozen_features(data['inputs'])
            labels = torch.cat([sample.gt_label for sample in data['data_samples']])
            return [part for part in (labels, *features) if part is not None]

        model.eval()
        parts = extract_share(self.dataset, compute, self._batch_size, self._num_workers, what=self.describe())
        # A process without a picture has no features either.
        self._labels, *features = parts or [torch.zeros(0, dtype=torch.int64)]
        self._features = ImageFeatures(*features) if features else None


class FusionSearch:
    """Search of the number of a bias and of its weight, on a grid, for the highest accuracy.

    `Tip-Adapter <https://arxiv.org/abs/2207.09519>`_ searches so in its released code: values from 0.1 towards the end
    of the scale, which is not reached; among equals the first one counts, the number in the outer loop.

    Args:
        runner (Runner): The runner.
        scale (Sequence[float]): Ends of the grid, of the number and of the weight.
        steps (Sequence[int]): Numbers of values of both.
        **pictures: Of :class:`ChoicePictures`.

    Raises:
        ValueError: If the grid is not one, or there are no pictures.
    """

    def __init__(self, runner: Runner, scale: Sequence[float], steps: Sequence[int] = (200, 20), **pictures: Any):
        if len(scale) != 2 or len(steps) != 2 or min(scale) <= 0 or min(steps) < 1:
            raise ValueError(f'search needs two ends above 0 and two numbers of steps, but got {scale=}, {steps=}')
        self.scale, self.steps = tuple(scale), tuple(steps)
        self.pictures = ChoicePictures(runner, **pictures)

    def run(self, runner: Runner) -> None:
        """Search, and let the model predict with what was found.

        Args:
            runner (Runner): With a model whose layer is there.
        """
        model = unwrapped(runner.model)
        before = model.inner, model.head.alpha
        inners, alphas = (search_grid(end, steps) for end, steps in zip(self.scale, self.steps))
        inners = inners if model.inner_matters else [model.inner]
        found = choose_best(self.pictures.count_right(runner, inners, alphas), len(self.pictures), inners, alphas)
        start = 100 * self.pictures.count_right(runner, *([value] for value in before)).item() / len(self.pictures)
        model.set_fusion(found.inner, found.alpha)
        name = model.inner_name
        runner.logger.info(
            f'search of {name} and alpha on {self.pictures.describe()}: {name} {found.inner:.6g}, alpha '
            f'{found.alpha:.6g} with {found.accuracy:.2f} % right; before {name} {before[0]:.6g}, alpha '
            f'{before[1]:.6g} with {start:.2f} %'
        )
        if self.pictures.pictures == 'test':
            runner.logger.warning(f'{name} and alpha are {ON_TEST_PICTURES}')


class BestEpoch:
    """Keeps the layer of the epoch with the most right predictions, the first one among equals.

    What is kept travels in checkpoints, in mmengine's message hub.

    Args:
        runner (Runner): The runner.
        pictures (str): Of :class:`ChoicePictures`.
    """

    KEY = 'best_epoch_of_layer'

    def __init__(self, runner: Runner, pictures: str):
        self.pictures = ChoicePictures(runner, pictures, setting='best_epoch_on')

    def forget(self, runner: Runner) -> None:
        """Start anew: runs of one name share their message hub."""
        runner.message_hub.runtime_info.pop(self.KEY, None)

    def look(self, runner: Runner) -> None:
        """Compare the epoch that has just ended with the best one so far."""
        model = unwrapped(runner.model)
        right = self.pictures.count_right(runner, [model.inner], [model.head.alpha]).item()
        if right > (runner.message_hub.runtime_info.get(self.KEY) or dict(right=-1))['right']:
            layer = getattr(model, model.layer_name).detach().cpu().clone()
            runner.message_hub.update_info(self.KEY, dict(right=right, epoch=runner.epoch + 1, layer=layer))

    def take(self, runner: Runner) -> None:
        """Give the model the layer of the best epoch."""
        best, model = runner.message_hub.get_info(self.KEY), unwrapped(runner.model)
        getattr(model, model.layer_name).data.copy_(best['layer'])
        share = 100 * best['right'] / len(self.pictures)
        runner.logger.info(f'epoch {best["epoch"]} is the best one on {self.pictures.describe()}: {share:.2f} % right')
        if self.pictures.pictures == 'test':
            runner.logger.warning(f'the epoch is {ON_TEST_PICTURES}')


def _build(loader, pictures):
    if isinstance(loader, DataLoader):
        if pictures == 'whole_val':
            raise ValueError("pictures='whole_val' needs the config of val_dataloader, but got a DataLoader")
        return loader.dataset
    config = copy.deepcopy(loader['dataset'])
    if pictures == 'whole_val' and config.get('type') == 'FewShotDataset':
        config = config['dataset']
    dataset = DATASETS.build(config)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def _few_of_each_class(dataset, train):
    """Draw as many validation pictures as the protocol allows, where a config validates on all there are.

    Methods that choose by them would otherwise see more labels than those that do not. A part of the pictures that was asked
    for by ``indices`` stays what it is.
    """
    train = train.get('dataset', {}) if isinstance(train, dict) else vars(train.dataset)
    if not isinstance(dataset, SplitDataset) or dataset._indices is not None or not train.get('num_shots'):
        return dataset
    return FewShotDataset(dataset, num_shots=train['num_shots'], seed=train.get('seed', 1), subset='val')
