"""A few pictures per class out of any data set, always the same ones."""

import copy
import logging
from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from . import index_file as index_files
from .base import SplitDataset
from .few_shot_source import build_dataset, describe, describe_foreign, item_of, pipeline_of
from .image_cache import ImageCache
from .pre_drawn_views import PreDrawnViews
from .sampling import MAX_VAL_SHOTS, few_shot_picks
from .seeding import seeded
from .split import check_templates, hash_rows, shorten
from .split_readers import readable_name
from .transforms import LoadRGBImage, with_views
from .view_boxes import ViewBoxes


@DATASETS.register_module()
class FewShotDataset(Dataset):
    """Few-shot training or validation pictures of any mmpretrain data set with class names.

    The pictures follow from (data set, ``num_shots``, ``seed``) by the rule of :mod:`.sampling`, or stand in an index
    file. They are drawn from all classes before ``class_subset`` of the data set chooses among them, as the field
    does. Classes with too few pictures give all they have and are named in a warning.

    A sample is a function of (``augment_seed``, epoch, index) only: neither workers nor global random state nor what
    was drawn before have a say. :class:`FewShotSampler` announces the epoch, through wrappers too, and for other samplers
    :class:`EqualBatchesHook` does; without either, every epoch is like the first.

    ``metainfo`` is the data set's, with ``num_shots``, ``seed`` and ``picks_id``, the SHA-256 of the ordered picks.
    Where the data set does not come from this package, ``dataset_name``, ``split_id`` (of the rows of its training
    set) and ``templates`` are added.

    Args:
        dataset (dict | Dataset): The data set to draw from, with the pipeline to apply.
        num_shots (int, optional): Pictures per class; for ``val`` as well, which gets ``min(num_shots, 4)``.
        seed (int, optional): Seed of the picks.
        subset (str): 'train' or 'val'; of a data set of this package, ``dataset`` must show the same subset. The val
            picks continue the random stream of the training picks. Defaults to 'train'.
        index_file (str, optional): Index file that holds the picks, instead of ``num_shots`` and ``seed``.
        train_dataset (dict | Dataset, optional): For ``subset='val'`` of a data set from elsewhere: its training set,
            whose labels move the random stream on.
        templates (str | Sequence[str], optional): Prompt templates instead of the data set's own.
        augment_seed (int, optional): Seed of the augmentation. Defaults to the seed of the picks.
        cache_images (bool | str): Keep decoded pictures in memory: True, False or 'auto' (if all fit). Only where the
            pipeline starts with ``LoadRGBImage`` or ``LoadImageFromFile``. Defaults to 'auto'.
        cache_limit_mb (float): Limit for it in MiB, per process of a distributed run. Defaults to 1024.
        lazy_init (bool): Read nothing before it is needed. Defaults to False.
        views (dict, optional): Other views than those of the pipeline of ``dataset``, a config: ``num_views`` of its
            :class:`DualView`, arguments of the augmentation in it, such as ``scale``. See :func:`.transforms.with_views`.

    Raises:
        ValueError: If arguments contradict each other or the data set, or it has no class names.
    """

    def __init__(
        self,
        dataset: dict | Dataset,
        num_shots: int | None = None,
        seed: int | None = None,
        subset: str = 'train',
        index_file: str | None = None,
        train_dataset: dict | Dataset | None = None,
        templates: str | Sequence[str] | None = None,
        augment_seed: int | None = None,
        cache_images: bool | str = 'auto',
        cache_limit_mb: float = 1024,
        lazy_init: bool = False,
        views: dict | None = None,
    ):
        if subset not in ('train', 'val'):
            raise ValueError(f'FewShotDataset: subset is {subset!r}, expected train or val.')
        if index_file is None and (num_shots is None or seed is None):
            raise ValueError(
                f'FewShotDataset: num_shots is {num_shots!r} and seed is {seed!r}, expected whole numbers, or an index_file.'
            )
        if templates is not None:
            templates = (templates,) if isinstance(templates, str) else tuple(templates)
            check_templates(templates, 'FewShotDataset: templates')
        self.subset, self.num_shots, self.seed, self.augment_seed = subset, num_shots, seed, augment_seed
        self.index_file, self.templates = index_file, templates
        if views:
            if not isinstance(dataset, dict):
                raise ValueError(
                    f'FewShotDataset: views is {views!r}, which needs the config of a data set, but it got '
                    f'a {type(dataset).__name__}.'
                )
            dataset = {**dataset, 'pipeline': with_views(dataset.get('pipeline') or (), **views)}
        self._dataset: dict | Dataset | None = dataset
        self._train_dataset: dict | Dataset | None = train_dataset
        self._cache = ImageCache(cache_images, cache_limit_mb)
        # Workers that live on from epoch to epoch hold copies of this object, but not of shared memory.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._pre_drawn: PreDrawnViews | None = None
        self._boxes: ViewBoxes | None = None
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Build the data set, draw, and let go of the pictures that were not drawn."""
        if self._fully_initialized:
            return
        dataset = build_dataset(self._dataset)
        if isinstance(dataset, SplitDataset):
            source = describe(dataset, self.subset)
        else:
            source = describe_foreign(dataset, self._train_dataset, self.subset)
        indices = self._read_picks(dataset, source) if self.index_file else self._draw_picks(source)
        if not indices:
            raise ValueError(
                f'{source.name}: the subset "{self.subset}" gives no picture for the labels '
                f'{source.used_labels.start}..{source.used_labels.stop - 1}, expected some.'
            )
        if self.augment_seed is None:
            self.augment_seed = self.seed
        self._records = [dict(dataset.get_data_info(index), sample_idx=i) for i, index in enumerate(indices)]
        self.pipeline = pipeline_of(dataset)
        picks = [(item_of(record, index, dataset), int(record['gt_label'])) for index, record in zip(indices, self._records)]
        self._metainfo = dict(
            dataset.metainfo,
            classes=tuple(source.classes[label] for label in source.used_labels),
            templates=tuple(self.templates or source.templates),
            dataset_name=source.name,
            split_id=source.split_id,
            num_shots=self.num_shots,
            seed=self.seed,
            picks_id=hash_rows(picks),
        )
        self._index = self._make_index(source, picks)
        self._dataset = self._train_dataset = None  # the pictures that were not drawn need no memory any more
        self._fully_initialized = True

    @property
    def metainfo(self) -> dict:
        """dict: See the class."""
        self.full_init()
        return copy.deepcopy(self._metainfo)

    @property
    def index(self) -> index_files.IndexFile:
        """IndexFile: The picks, ready for :func:`.index_file.write`."""
        self.full_init()
        return self._index

    @property
    def CLASSES(self) -> tuple[str, ...]:
        """Tuple of the class names, under the name that mmpretrain's tools look for."""
        return self.metainfo['classes']

    def set_epoch(self, epoch: int) -> None:
        """Augment as in ``epoch`` (counted from 0), in all workers; called in the main process before they start."""
        self.full_init()
        self._epoch.fill_(epoch)
        if self._pre_drawn is not None:
            return  # every picture was read once, before
        if self._loads_first() and 'img' not in self._records[0]:  # what is in memory already needs no second place
            self._cache.fill(self._records, self.pipeline.transforms[0])

    def set_view_bank(self, size: int | None) -> PreDrawnViews | None:
        """Show numbers of pre-drawn views instead of pictures from now on, or pictures again.

        The inputs of a sample are then ``dict(pictures=index, views=numbers)``, both int64, and the epoch decides which
        of the ``size`` views these are; :class:`CLIPDataPreprocessor` looks them up. Called before workers start.

        Args:
            size (int, optional): Views per picture; None ends it.

        Returns:
            PreDrawnViews: Draws the views, and says which of them an epoch shows; None at the end.

        Raises:
            ValueError: If the pipeline is not one of several views, or ``size`` is too small.
        """
        self.full_init()
        self._pre_drawn = None
        if size is not None:
            self._pre_drawn = PreDrawnViews(self.pipeline, size, len(self), cast(int, self.augment_seed))
        return self._pre_drawn

    def keep_decoded(self) -> list[np.ndarray] | None:
        """Decode all pictures and keep them, within ``cache_limit_mb``; called before workers start.

        Returns:
            list[ndarray] | None: ``(H, W, 3)`` each, uint8. None if ``cache_images`` or the limit does not let all be kept, or
            the pipeline does not start by loading.
        """
        self.full_init()
        return self._cache.all(self._records, self.pipeline.transforms[0]) if self._loads_first() else None

    def set_view_boxes(self, sizes: Sequence[tuple[int, int]] | None) -> ViewBoxes | None:
        """Show crop boxes and flips of views instead of their pixels from now on, or views again.

        They are drawn from the random numbers that the views would be drawn from, and :class:`CLIPDataPreprocessor` cuts
        the views out on the device, where a hook has put the pictures. Called before workers start.

        Args:
            sizes (Sequence[tuple[int, int]], optional): Height and width of each decoded picture; None ends it.

        Returns:
            ViewBoxes | None: Draws them.

        Raises:
            ValueError: If the pipeline has steps whose work would not be done.
        """
        self.full_init()
        self._boxes = None if sizes is None else ViewBoxes(self.pipeline.transforms, sizes)
        return self._boxes

    def get_data_info(self, index: int) -> dict:
        """Return what the pipeline is given for sample ``index``."""
        self.full_init()
        return copy.deepcopy(self._records[index])

    def get_gt_labels(self) -> np.ndarray:
        """Return all labels, int64 ``(N,)``."""
        self.full_init()
        return np.array([record['gt_label'] for record in self._records], np.int64)

    def get_cat_ids(self, index: int) -> list:
        """Return the label of sample ``index`` in a list, as mmengine's wrappers ask for it."""
        return [int(self.get_data_info(index)['gt_label'])]

    def __len__(self) -> int:
        self.full_init()
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        record = self.get_data_info(index)
        index = record['sample_idx']  # of negative ones, too
        if self._pre_drawn is not None:
            sample = DataSample(metainfo=dict(sample_idx=index)).set_gt_label(record['gt_label'])
            return dict(
                inputs=dict(pictures=torch.tensor(index), views=self._pre_drawn.shown(int(self._epoch))[index]),
                data_samples=sample,
            )
        if self._boxes is not None:
            with seeded(cast(int, self.augment_seed), int(self._epoch), index):
                return self._boxes.load(record)
        loaded = self._cache.get(index) if self._loads_first() else None
        with seeded(cast(int, self.augment_seed), int(self._epoch), index):
            if loaded is None:
                return self.pipeline(record)
            for transform in self.pipeline.transforms[1:]:
                loaded = transform(loaded)
            return loaded

    def __repr__(self) -> str:
        if not self._fully_initialized:
            return f'{type(self).__name__}(not initialized)'
        return (
            f'{type(self).__name__}({self._metainfo["dataset_name"]}, subset={self.subset}, '
            f'num_shots={self.num_shots}, seed={self.seed}, {len(self)} pictures of '
            f'{len(self._metainfo["classes"])} classes)'
        )

    def _loads_first(self):
        """Whether the pipeline starts by loading; tools that put their own kind of pipeline in see every step."""
        if type(self.pipeline) is not Compose or not self.pipeline.transforms:
            return False
        return isinstance(self.pipeline.transforms[0], (LoadRGBImage, LoadImageFromFile))

    def _draw_picks(self, source):
        picks = few_shot_picks(source.labels['train'], self.num_shots, self.seed, source.labels['val'])
        self._report_short_classes(source)
        labels = source.labels[self.subset]
        shown = [position for position, label in enumerate(labels) if label in source.used_labels]
        index_of = {position: index for index, position in enumerate(shown)}
        return [index_of[position] for position in getattr(picks, self.subset) if position in index_of]

    def _read_picks(self, dataset, source):
        index = index_files.read(self.index_file)
        for name in ('num_shots', 'seed'):
            if getattr(self, name) not in (None, getattr(index, name)):
                raise ValueError(
                    f'{index.path} has {name} {getattr(index, name)}, but the config says {getattr(self, name)}: leave '
                    'it out, or name the file that fits. (augment_seed changes the augmentation alone.)'
                )
        self.num_shots, self.seed = index.num_shots, index.seed
        self._compare_names(index, source)
        rows = [
            (item_of(entry, i, dataset), int(entry['gt_label']) + source.used_labels.start)
            for i, entry in enumerate(map(dataset.get_data_info, range(len(dataset))))
        ]
        index = index._replace(rows=[row for row in index.rows if row[1] in source.used_labels])
        return index_files.locate(index, rows, source.name, self.subset, source.split_id, len(source.classes))

    def _compare_names(self, index, source):
        # Names may be overridden, and do not change the picks; but a name that moved to another label would go unseen.
        pairs = [
            (label, theirs, ours)
            for label, (theirs, ours) in enumerate(zip(index.classes, source.classes))
            if readable_name(theirs) != readable_name(ours)
        ]
        if pairs:
            label, theirs, ours = pairs[0]
            print_log(
                f'{index.path}: {len(pairs)} of {len(index.classes)} class names are not those of {source.name}, '
                f'class {label} is {theirs!r} there and {ours!r} here; pictures are found by path and label.',
                logger='current',
                level=logging.WARNING,
            )

    def _make_index(self, source, picks):
        rows = tuple((item, label + source.used_labels.start) for item, label in picks)
        return index_files.IndexFile(source.name, self.subset, self.num_shots, self.seed, source.split_id, source.classes, rows)

    def _report_short_classes(self, source):
        asked = self.num_shots if self.subset == 'train' else min(self.num_shots, MAX_VAL_SHOTS)
        counts = Counter(int(label) for label in source.labels[self.subset])
        short = [label for label in source.used_labels if counts[label] < asked]
        if short:
            listed = shorten([f'"{source.classes[label]}" ({counts[label]})' for label in short], limit=20)
            print_log(
                f'{source.name}: {len(short)} of {len(source.used_labels)} classes have fewer than {asked} pictures in '
                f'"{self.subset}" and give all they have: {listed}.',
                logger='current',
                level=logging.WARNING,
            )
