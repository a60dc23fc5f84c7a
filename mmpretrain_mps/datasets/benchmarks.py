"""The benchmark data sets of few-shot CLIP adaptation that publish a split file."""

from __future__ import annotations

import os.path as osp
from logging import WARNING
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from .base import SplitDataset
from .catalog import CATALOG, where_described
from .split import SUBSETS
from .split_readers import read_fgvc_split, read_json_split

if TYPE_CHECKING:
    from .catalog import DatasetSpec
    from .split import Split


class BenchmarkDataset(SplitDataset):
    """A data set of :data:`mmpretrain_mps.datasets.catalog.CATALOG`; subclasses name their specification by ``SPEC``.

    Label order, class names and subsets come from the published split file; a missing split file is an error, never
    a reason to split anew. Numbers of classes and pictures that differ from the published ones are warned about.

    Args:
        data_root (str): The folder that holds the folders of all data sets, or this data set's own folder.
        subset (str, optional): 'train', 'val' or 'test'. None: the first one that the data set has.
        **kwargs: See :class:`mmpretrain_mps.datasets.base.SplitDataset`.

    Raises:
        ValueError: If the data set has no such subset, if ``data_root`` may be read in two ways, or if the split
            does not hold together.
        FileNotFoundError: For missing files; the message says where the data set is published.
    """

    SPEC: DatasetSpec
    """Set by the class of a data set."""

    def __init__(self, data_root: str = '', subset: str | None = None, **kwargs: Any):
        subset = subset or self.SPEC.subsets[0]
        if subset in SUBSETS and subset not in self.SPEC.subsets:
            raise ValueError(
                f"{self.SPEC.name} has no subset '{subset}' in the few-shot protocol, "
                f'expected {" or ".join(map(repr, self.SPEC.subsets))}.'
            )
        self.FOLDER = locate_folder(self.SPEC, osp.expanduser(data_root or ''))
        self.IMAGE_FOLDER = self.SPEC.image_root
        super().__init__(data_root=data_root, subset=subset, **kwargs)

    @property
    def dataset_name(self) -> str:
        """str: Name in results and index files."""
        return self.SPEC.name

    def read_split(self) -> Split:
        """Read the published split, and warn if it is not the published one after all.

        Returns:
            Split: The whole split.
        """
        split = self.read_published_split()
        differences = self.differences(split)
        if differences:
            print_log(f'{split.source} is not as published: {"; ".join(differences)}.', 'current', WARNING)
        return split

    def read_published_split(self) -> Split:
        """Read the files that define the split.

        Returns:
            Split: The whole split.
        """
        path = osp.join(self.folder, self.SPEC.annotation_files[0])
        return read_json_split(path, self.SPEC.templates, where_described(self.SPEC))

    def differences(self, split: Split) -> list[str]:
        """Compare a split with what is published about it.

        Args:
            split (Split): The whole split.

        Returns:
            list[str]: One text per difference in the number of classes or pictures.
        """
        found = {subset: len(getattr(split, subset)) for subset in self.SPEC.subsets}
        texts = [
            f'{found[subset]} {subset} pictures instead of {wanted}'
            for subset, wanted in self.SPEC.counts.items()
            if found[subset] != wanted
        ]
        if len(split.classes) != self.SPEC.num_classes:
            texts.insert(0, f'{len(split.classes)} classes instead of {self.SPEC.num_classes}')
        return texts

    def _doubts(self, split):
        # Published names are as they are: two pairs of ImageNet's are equal.
        return [] if self._class_names is None and split.test else super()._doubts(split)


def locate_folder(spec: DatasetSpec, data_root: str) -> str:
    """Find out whether ``data_root`` is the folder of all data sets or the data set's own.

    Args:
        spec (DatasetSpec): Of the catalog.
        data_root (str): What the user gave.

    Returns:
        str: ``spec.folder``, or '' if ``data_root`` itself holds the annotation files.

    Raises:
        ValueError: If both hold them.
    """
    nested, direct = osp.join(data_root, spec.folder), data_root or '.'
    if _is_annotated(spec, nested) and _is_annotated(spec, direct):
        raise ValueError(
            f'{" or ".join(spec.annotation_files)} lies in {direct} and in {nested}; '
            'expected it in one of them, name the folder that holds all data sets.'
        )
    # A lone classnames.txt in the data root does not make the root a data set.
    looks_direct = osp.isdir(osp.join(direct, spec.image_root)) or not osp.isdir(nested)
    return '' if _is_annotated(spec, direct) and looks_direct else spec.folder


def _is_annotated(spec, folder):
    return any(osp.exists(osp.join(folder, name)) for name in spec.annotation_files)


@DATASETS.register_module()
class CLIPCaltech101(BenchmarkDataset):
    """Caltech101: objects; 100 classes, without the two background classes."""

    SPEC = CATALOG['Caltech101']


@DATASETS.register_module()
class CLIPOxfordPets(BenchmarkDataset):
    """OxfordPets: breeds of cats and dogs; 37 classes."""

    SPEC = CATALOG['OxfordPets']


@DATASETS.register_module()
class CLIPStanfordCars(BenchmarkDataset):
    """StanfordCars: makes and models; 196 classes."""

    SPEC = CATALOG['StanfordCars']


@DATASETS.register_module()
class CLIPFlowers102(BenchmarkDataset):
    """Flowers102: kinds of flowers; 102 classes."""

    SPEC = CATALOG['Flowers102']


@DATASETS.register_module()
class CLIPFood101(BenchmarkDataset):
    """Food101: dishes; 101 classes."""

    SPEC = CATALOG['Food101']


@DATASETS.register_module()
class CLIPSUN397(BenchmarkDataset):
    """SUN397: scenes; 397 classes."""

    SPEC = CATALOG['SUN397']


@DATASETS.register_module()
class CLIPDTD(BenchmarkDataset):
    """DTD: textures; 47 classes."""

    SPEC = CATALOG['DTD']


@DATASETS.register_module()
class CLIPEuroSAT(BenchmarkDataset):
    """EuroSAT: land use seen by satellite; 10 classes."""

    SPEC = CATALOG['EuroSAT']


@DATASETS.register_module()
class CLIPUCF101(BenchmarkDataset):
    """UCF101: actions, one middle frame per video; 101 classes."""

    SPEC = CATALOG['UCF101']


@DATASETS.register_module()
class CLIPFGVCAircraft(BenchmarkDataset):
    """FGVCAircraft: variants of aircraft; 100 classes. The split comes with the pictures, as text files."""

    SPEC = CATALOG['FGVCAircraft']

    def read_published_split(self) -> Split:
        """Read the files that define the split.

        Returns:
            Split: The whole split.
        """
        return read_fgvc_split(self.folder, self.SPEC.templates, where_described(self.SPEC))
