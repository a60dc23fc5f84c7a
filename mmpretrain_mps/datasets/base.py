"""Base class of the data sets of this package."""

import os.path as osp
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from logging import WARNING
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from .split import (
    SUBSETS,
    Split,
    check_classes,
    check_files,
    check_split,
    check_templates,
    class_range,
    find_equal_names,
    hash_split,
    shorten,
)


class SplitDataset(BaseDataset, metaclass=ABCMeta):
    """A data set that knows its whole split, and shows one subset of it.

    Subclasses implement :meth:`read_split`, and :meth:`read_image` where pictures do not lie in files. They state
    where the pictures lie by ``FOLDER`` (below ``data_root``) and ``IMAGE_FOLDER`` (below ``FOLDER``).

    Everything is checked before the first picture is read: rows, labels, names, templates, and whether the files of
    the subset in use exist (those of all subsets where it is 'train', since what is trained is tested later).
    ``metainfo`` holds ``classes``, ``templates``, ``dataset_name`` and ``split_id``, the SHA-256 of the rows of all
    subsets, equal for every subset. Records of the data list have ``img_path`` (or ``img``, uint8 RGB ``(H, W, 3)``),
    ``gt_label``, ``sample_idx``, and ``item``, the path or index as the split gives it.
    ``split_labels`` (subset -> labels of its rows) and ``split_classes`` tell of all classes, ``label_range`` which of
    them are in use.

    Args:
        data_root (str): The folder that holds the data set's ``FOLDER``. Defaults to ''.
        subset (str): 'train', 'val' or 'test'. Defaults to 'train'.
        class_names (Sequence[str], optional): Names to use instead of the split's own, in the order of its labels.
        templates (str | Sequence[str], optional): Prompt templates to use instead of the split's own.
        class_subset (str): 'all', 'base' (the first half of the labels, rounded up) or 'new' (the others, labels
            counted from 0 again). Defaults to 'all'.
        files_checked (bool): Look whether the files exist: of the subset, for 'train' of all. Defaults to True.
        allow_duplicates (bool): Let a picture occur in several rows. Defaults to False.
        allow_outside (bool): Let pictures lie outside of the image folder, by their path or by links. Defaults to False.
        **kwargs: ``pipeline``, ``test_mode``, ``lazy_init``, ``indices``, ``serialize_data`` and ``max_refetch`` of
            :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: For an unknown subset and for a split that does not hold together.
        FileNotFoundError: For missing files.
    """

    FOLDER = ''
    IMAGE_FOLDER = ''

    def __init__(
        self,
        data_root: str = '',
        subset: str = 'train',
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        class_subset: str = 'all',
        files_checked: bool = True,
        allow_duplicates: bool = False,
        allow_outside: bool = False,
        **kwargs: Any,
    ):
        if subset not in SUBSETS:
            raise ValueError(f'{type(self).__name__}: subset is {subset!r}, expected one of {", ".join(SUBSETS)}.')
        class_range(class_subset, 2)  # refuses unknown names before anything is read
        self.subset = subset
        self.class_subset = class_subset
        self.files_checked = files_checked
        self.allow_duplicates = allow_duplicates
        self.allow_outside = allow_outside
        self._class_names = class_names
        self._templates = (templates,) if isinstance(templates, str) else templates
        super().__init__(
            ann_file='', data_root=osp.expanduser(data_root or ''), data_prefix=osp.join(self.FOLDER, self.IMAGE_FOLDER), **kwargs
        )

    @abstractmethod
    def read_split(self) -> Split:
        """Read classes, templates and the rows of all subsets; called once.

        Returns:
            Split: The whole split, whatever ``subset`` and ``class_subset`` are.
        """

    def read_image(self, index: int) -> np.ndarray:
        """Return picture ``index`` of a data set held in memory as uint8 RGB ``(H, W, 3)``."""
        raise NotImplementedError(f'{type(self).__name__} names pictures by index but does not implement read_image.')

    @property
    def dataset_name(self) -> str:
        """str: What ``metainfo`` and index files call this data set."""
        return type(self).__name__

    @property
    def folder(self) -> str:
        """str: The data set's own folder below ``data_root``."""
        return osp.join(self.data_root, self.FOLDER)

    @property
    def metainfo(self) -> dict:
        """dict: ``classes``, ``templates``, ``dataset_name``, ``split_id``; reads the split if that is still to do."""
        if not self._fully_initialized:
            self.full_init()
        return super().metainfo

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the split, and list the subset in use.

        Returns:
            list[dict]: One record per picture.
        """
        split = self._override(self.read_split())
        check_split(split, self.allow_duplicates, self.allow_outside)
        labels = class_range(self.class_subset, len(split.classes))
        rows = [(path, label) for path, label in getattr(split, self.subset) if label in labels]
        if not rows:
            raise ValueError(
                f'{split.source}: subset "{self.subset}" with class_subset "{self.class_subset}" holds no pictures, '
                'expected at least one.'
            )
        if self.files_checked:
            # Whoever trains will test: that a test picture is missing is to be known before the training.
            named = [*split.train, *split.val, *split.test] if self.subset == 'train' else rows
            check_files((path for path, _ in named if isinstance(path, str)), self.img_prefix, split.source, self.allow_outside)
        for text in self._doubts(split) if self.subset == 'train' else ():
            print_log(f'{split.source}: {text}', 'current', WARNING)
        self._metainfo.update(
            classes=tuple(split.classes[label] for label in labels),
            templates=tuple(split.templates),
            dataset_name=self.dataset_name,
            split_id=self.identify(split),
        )
        # Few-shot picks are drawn from all classes, before base and new are told apart: labels alone say enough.
        self.split_labels = {name: np.array([row[1] for row in getattr(split, name)], np.int64) for name in SUBSETS}
        self.split_classes = tuple(split.classes)
        self.label_range = labels
        return [self._record(path, label - labels.start) for path, label in rows]

    def identify(self, split: Split) -> str:
        """Return the ``split_id``; for subclasses that know a cheaper canonical form of their rows."""
        return hash_split(split)

    def extra_repr(self) -> list[str]:
        """Return further lines of the printed form."""
        return [f'Subset: \t{self.subset} ({self.class_subset} classes)', f'Prefix of images: \t{self.img_prefix}']

    def _doubts(self, split):
        """Return what is possible but seldom meant."""
        doubts = [
            f'the classes {shorten(labels)} are all called {name!r} (case aside): texts cannot tell them apart, and '
            'the first of them gets every vote of such a tie'
            for name, labels in find_equal_names(split.classes).items()
        ]
        if len(split.classes) == 1:
            doubts.append('there is one class alone, so that every prediction is right')
        if not split.test:
            doubts.append('there are pictures to train on but none to test on: a model can be trained, but not tested')
        return doubts

    def _record(self, path, label):
        picture = dict(img=self.read_image(path)) if isinstance(path, int) else dict(img_path=osp.join(self.img_prefix, path))
        return dict(**picture, gt_label=label, item=path)

    def _override(self, split):
        """Put the names and templates of the config in place of the split's own."""
        if self._class_names is not None:
            check_classes(self._class_names, f'{type(self).__name__}: class_names')
            if len(self._class_names) != len(split.classes):
                raise ValueError(
                    f'{type(self).__name__}: class_names has {len(self._class_names)} names, expected '
                    f'{len(split.classes)}, one per class of {split.source}.'
                )
            split = split._replace(classes=self._class_names)
        if self._templates is not None:
            check_templates(self._templates, f'{type(self).__name__}: templates')
            split = split._replace(templates=self._templates)
        return split
