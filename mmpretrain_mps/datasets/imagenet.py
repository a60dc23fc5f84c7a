"""ImageNet and its four shifted test sets; classes are told apart by folder, because two pairs of names are equal."""

import os.path as osp
from collections.abc import Collection
from typing import Any

from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES
from mmpretrain.registry import DATASETS

from .benchmarks import BenchmarkDataset
from .catalog import CATALOG, where_described
from .folder_listing import list_class_folders
from .split import Split, class_range, shorten
from .split_readers import read_class_list


class ImageNetFamily(BenchmarkDataset):
    """What ImageNet and its variants share: ``classnames.txt`` and listed class folders.

    ``metainfo`` also holds ``class_ids``, the WordNet folder name of each class.

    Args:
        cache_dir (str, optional): Folder of the cached listings. None: below ``XDG_CACHE_HOME`` or ``~/.cache``;
            '' turns the cache off.
        **kwargs: See :class:`mmpretrain_mps.datasets.benchmarks.BenchmarkDataset`.
    """

    def __init__(self, *args: Any, cache_dir: str | None = None, **kwargs: Any):
        self.cache_dir = cache_dir
        self.class_ids: tuple[str, ...] = ()
        kwargs.setdefault('files_checked', False)  # the rows are the listing of the files
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the split, and list the subset in use.

        Returns:
            list[dict]: One record per picture.
        """
        records = super().load_data_list()
        labels = class_range(self.class_subset, len(self.class_ids))
        self._metainfo['class_ids'] = tuple(self.class_ids[label] for label in labels)
        return records

    def read_class_list(self) -> dict[str, str]:
        """Read ``classnames.txt`` of this data set, or ImageNet's own beside it: they are copies of one file.

        Returns:
            dict[str, str]: WordNet folder name -> class name, sorted by folder name.
        """
        name = self.SPEC.annotation_files[0]
        path = osp.join(self.folder, name)
        original = osp.join(self.data_root, CATALOG['ImageNet'].folder, name)
        if not osp.exists(path) and osp.exists(original):
            path = original
        names = read_class_list(path, where_described(self.SPEC))
        self._unusual_names = compare_class_names(names)
        return names

    def differences(self, split: Split) -> list[str]:
        """Compare a split with what is published about it.

        Args:
            split (Split): The whole split, just read.

        Returns:
            list[str]: One text per difference in numbers, and one if the class names are not those in use.
        """
        return super().differences(split) + [self._unusual_names] * bool(self._unusual_names)

    def list_folders(self, root: str) -> dict[str, list[str]]:
        """List the class folders below ``root``, and refuse a missing or an empty one.

        Args:
            root (str): Folder of the class folders.

        Returns:
            dict[str, list[str]]: Folder -> sorted names of its pictures.

        Raises:
            FileNotFoundError: If ``root`` does not exist; the message says where to get the data set.
            ValueError: If a class folder holds no picture.
        """
        try:
            listing = list_class_folders(root, self.cache_dir)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{error} Published: {where_described(self.SPEC)}') from None
        empty = [folder for folder, pictures in listing.items() if not pictures]
        if empty or not listing:
            what = f'class folders without a picture: {shorten(empty)}' if empty else 'no class folder'
            raise ValueError(f'{root} holds {what}; expected pictures in every class folder.')
        return listing


@DATASETS.register_module()
class CLIPImageNet(ImageNetFamily):
    """ImageNet: 1000 classes; its validation pictures are the test set, so there is no subset 'val'.

    Where ``images/train`` is absent, 'test' can be used nevertheless; the ``split_id`` then covers the test set only.

    Args:
        **kwargs: See :class:`ImageNetFamily`.
    """

    SPEC = CATALOG['ImageNet']

    def read_published_split(self) -> Split:
        """List the pictures.

        Returns:
            Split: With paths like ``train/n01440764/n01440764_10026.JPEG``.
        """
        names = self.read_class_list()
        self.class_ids = tuple(names)
        rows = dict(train=[], test=self._rows('val', names))
        if self.subset == 'train' or osp.isdir(osp.join(self.folder, self.IMAGE_FOLDER, 'train')):
            rows['train'] = self._rows('train', names)
        source = osp.join(self.folder, self.IMAGE_FOLDER)
        return Split(list(names.values()), self.SPEC.templates, source=source, **rows)

    def _rows(self, part, names):
        root = osp.join(self.folder, self.IMAGE_FOLDER, part)
        listing = self.list_folders(root)
        check_folders(root, listing, names, self.SPEC.annotation_files[0])
        return [(f'{part}/{folder}/{picture}', label) for label, folder in enumerate(names) for picture in listing[folder]]


class ShiftedImageNet(ImageNetFamily):
    """A test set for a model trained on ImageNet.

    ``metainfo['source_indices']`` holds, for every class, the row of the same class among those of ``classnames.txt``,
    that is among ImageNet's: a head for this test set is cut from ImageNet's text prototypes by it.

    Args:
        **kwargs: See :class:`ImageNetFamily`.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the split, and list the subset in use.

        Returns:
            list[dict]: One record per picture.
        """
        records = super().load_data_list()
        self._metainfo['source_indices'] = tuple(self.source_ids.index(item) for item in self._metainfo['class_ids'])
        return records

    def read_published_split(self) -> Split:
        """List the pictures.

        Returns:
            Split: With paths like ``n01498041/0.000116.jpg``, labels from 0 in the order of the sorted folders.
        """
        names = self.read_class_list()
        self.source_ids = tuple(names)
        root = osp.join(self.folder, self.IMAGE_FOLDER)
        listing = self.list_folders(root)
        folders = self.folders_of_classes(root, listing, names)
        self.class_ids = tuple(folders)
        rows = [
            (f'{folders[class_id]}/{picture}', label)
            for label, class_id in enumerate(folders)
            for picture in listing[folders[class_id]]
        ]
        classes = [names[class_id] for class_id in folders]
        return Split(classes, self.SPEC.templates, test=rows, source=root)

    def folders_of_classes(self, root: str, listing: dict[str, list[str]], names: dict[str, str]) -> dict[str, str]:
        """Tell which folder below ``root`` holds which class.

        Args:
            root (str): Folder of the class folders.
            listing (dict[str, list[str]]): Folder -> names of its pictures.
            names (dict[str, str]): WordNet folder name -> class name, of all of ImageNet.

        Returns:
            dict[str, str]: WordNet folder name -> folder below ``root``, in label order.
        """
        wanted = names if self.SPEC.num_classes == CATALOG['ImageNet'].num_classes else listing
        check_folders(root, listing, wanted, self.SPEC.annotation_files[0])
        unknown = [folder for folder in listing if folder not in names]
        if unknown:
            raise ValueError(f'{root} holds the folders {shorten(unknown)}, which classnames.txt does not list.')
        return {folder: folder for folder in listing}


@DATASETS.register_module()
class CLIPImageNetV2(ShiftedImageNet):
    """ImageNet-V2, matched frequency: the folders ``0`` ... ``999`` are rows of the sorted class list."""

    SPEC = CATALOG['ImageNet-V2']

    def folders_of_classes(self, root: str, listing: dict[str, list[str]], names: dict[str, str]) -> dict[str, str]:
        """Tell which folder below ``root`` holds which class: '10' comes after '9', not after '1'.

        Args:
            root (str): Folder of the class folders.
            listing (dict[str, list[str]]): Folder -> names of its pictures.
            names (dict[str, str]): WordNet folder name -> class name, of all of ImageNet.

        Returns:
            dict[str, str]: WordNet folder name -> folder below ``root``, in label order.
        """
        folders = [str(label) for label in range(len(names))]
        check_folders(root, listing, folders, self.SPEC.annotation_files[0])
        return dict(zip(names, folders))


@DATASETS.register_module()
class CLIPImageNetSketch(ShiftedImageNet):
    """ImageNet-Sketch: drawings of the 1000 classes."""

    SPEC = CATALOG['ImageNet-Sketch']


@DATASETS.register_module()
class CLIPImageNetA(ShiftedImageNet):
    """ImageNet-A: natural pictures that mislead; 200 of the 1000 classes, scored among these 200."""

    SPEC = CATALOG['ImageNet-A']


@DATASETS.register_module()
class CLIPImageNetR(ShiftedImageNet):
    """ImageNet-R: renditions; 200 of the 1000 classes (not those of ImageNet-A), scored among these 200."""

    SPEC = CATALOG['ImageNet-R']


def compare_class_names(names: dict[str, str]) -> str:
    """Compare a full list of ImageNet's class names with the one that the field uses.

    Args:
        names (dict[str, str]): WordNet folder name -> class name, sorted.

    Returns:
        str: What differs; '' if nothing does, or if the list has another length than 1000.
    """
    if len(names) != len(IMAGENET_SIMPLE_CATEGORIES):
        return ''
    pairs = [(folder, name, usual) for (folder, name), usual in zip(names.items(), IMAGENET_SIMPLE_CATEGORIES) if name != usual]
    if not pairs:
        return ''
    folder, name, usual = pairs[0]
    return (
        f'{len(pairs)} of {len(names)} class names of classnames.txt are not those in use, {folder} is {name!r} '
        f'instead of {usual!r}'
    )


def check_folders(root: str, listing: Collection[str], wanted: Collection[str], list_name: str) -> None:
    """Refuse class folders that are not exactly those of the class list.

    Args:
        root (str): Folder of the class folders.
        listing (Collection[str]): Folders found.
        wanted (Collection[str]): Folders expected.
        list_name (str): Name of the file that lists the classes.

    Raises:
        ValueError: With the first folders that are missing or too many.
    """
    missing = [folder for folder in wanted if folder not in listing]
    extra = [folder for folder in listing if folder not in wanted]
    if missing:
        raise ValueError(f'{root} lacks {len(missing)} of the {len(wanted)} class folders: {shorten(missing)}.')
    if extra:
        raise ValueError(f'{root} holds {len(extra)} folders that {list_name} does not list: {shorten(extra)}.')
