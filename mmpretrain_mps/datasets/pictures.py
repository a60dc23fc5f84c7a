"""One's own pictures: a tree of folders, or a table."""

import os.path as osp
import random
import re
from collections import defaultdict
from logging import WARNING
from typing import Any

from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from ..utils.files import list_folder
from .base import SplitDataset
from .folder_listing import is_picture_name
from .picture_checks import find_copies, look_at_pictures
from .picture_files import MAX_PIXELS, check_max_pixels
from .picture_lists import DEFAULT_TEMPLATES, composed, read_class_file, read_table
from .split import SUBSETS, Split, is_below, outside_error, shorten
from .split_readers import readable_name

CLASS_FILES = ('classes.yaml', 'classes.yml')
_CLUTTER = ('thumbs.db', 'desktop.ini', '__macosx')  # what file managers leave behind


class OwnPictures(SplitDataset):
    """What :class:`PictureFolder` and :class:`PictureTable` share: names, division, and what counts as a picture.

    Pictures that come without a division into training and testing are divided per class, by a seed of its own: the
    few-shot seed draws from the same training pictures whatever it is, and never touches the test pictures.

    Every picture of every subset is decoded once before the first step: a test picture that breaks off in the middle is
    known before the training. A file that goes by two names, as links do, is refused like a row that occurs twice.

    Args:
        data_root (str): Folder of the pictures.
        subset (str): 'train', 'val' or 'test'. Defaults to 'train'.
        class_file (str, optional): YAML file with ``classes: {folder or label: readable name}`` and, if wanted,
            ``templates: [...]``. None: ``classes.yaml`` in ``data_root`` if there is one; else names are the folders'
            or labels' with ``_`` as a space.
        test_fraction (float): Share of each class to test on where no division is given. Defaults to 0.3.
        val_fraction (float): Share of each class to validate on where no division is given. Defaults to 0.
        split_seed (int): Seed of that division. Defaults to 0.
        skip_invalid (bool): Leave out what cannot be decoded, with a warning, instead of refusing the data set.
            Defaults to False.
        max_pixels (int): Width times height of the largest picture that is decoded. Defaults to 100 million.
        pictures_decoded (bool): Decode every picture once; False looks at headers alone. Defaults to True.
        **kwargs: See :class:`mmpretrain_mps.datasets.base.SplitDataset`.

    Raises:
        FileNotFoundError: For missing folders and files.
        ValueError: For files that are no pictures, classes without pictures, classes to test on that are not in the
            training set, and names or fractions that do not fit.
    """

    def __init__(
        self,
        data_root: str = '',
        subset: str = 'train',
        class_file: str | None = None,
        test_fraction: float = 0.3,
        val_fraction: float = 0.0,
        split_seed: int = 0,
        skip_invalid: bool = False,
        max_pixels: int = MAX_PIXELS,
        pictures_decoded: bool = True,
        **kwargs: Any,
    ):
        if not (0 < test_fraction < 1 and 0 <= val_fraction < 1 and test_fraction + val_fraction < 1):
            raise ValueError(
                f'test_fraction is {test_fraction} and val_fraction {val_fraction}, expected shares from '
                '0 to 1 that leave something to train on.'
            )
        self._looks: dict[str, Any] = {}  # of all subsets: a file may go by a name in each
        self.class_file = class_file
        self.test_fraction = test_fraction
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.skip_invalid = skip_invalid
        self.max_pixels = check_max_pixels(max_pixels)
        self.pictures_decoded = pictures_decoded
        super().__init__(data_root=data_root, subset=subset, **kwargs)

    def make_split(self, members: dict[str | None, dict[str, list[str]]], source: str) -> Split:
        """Turn pictures by class into a split.

        Args:
            members (dict[str | None, dict[str, list[str]]]): Subset -> class -> paths relative to ``data_root``. The only
                subset ``None`` stands for pictures that are still to be divided.
            source (str): What named the pictures.

        Returns:
            Split: Labels in the order of the sorted class folders (or labels of the table).
        """
        if None in members:
            members = self._divide(members[None])
        keys = sorted(members.get('train', {}))
        if not keys:
            raise ValueError(f'{source} holds no training pictures.')
        for subset in ('val', 'test'):
            unseen = sorted(set(members.get(subset, {})) - set(keys))
            if unseen:
                raise ValueError(f'{source}: the classes {shorten(unseen)} of "{subset}" are not in "train".')
        rows = {
            subset: [(path, label) for label, key in enumerate(keys) for path in members.get(subset, {}).get(key, ())]
            for subset in SUBSETS
        }
        names, templates = self._names_and_templates(keys, source)
        return Split(names, templates, source=source, **rows)

    def keep_pictures(self, paths: list[str], source: str) -> set[str]:
        """Separate pictures from other files by decoding them.

        Args:
            paths (list[str]): Paths relative to ``data_root``.
            source (str): What named them.

        Returns:
            set[str]: Those that are pictures.

        Raises:
            ValueError: If a file is no picture and ``skip_invalid`` is not set, lies elsewhere and ``allow_outside`` is
                not set, or goes by several names and ``allow_duplicates`` is not set; names the first and their number.
        """
        looks = look_at_pictures(paths, self.data_root, self.max_pixels, self.pictures_decoded)
        invalid = [f'{path} ({look.fault})' for path, look in looks.items() if look.fault]
        if invalid and not self.skip_invalid:
            raise ValueError(
                f'{source}: {len(invalid)} of {len(paths)} files are no pictures: {shorten(invalid, 10)}. '
                'Mend or remove them, or leave them out with skip_invalid=True.'
            )
        if invalid:
            print_log(
                f'{source}: left out {len(invalid)} of {len(paths)} files, which are no pictures: {shorten(invalid, 10)}.',
                'current',
                WARNING,
            )
        pictures = {path: look for path, look in looks.items() if not look.fault}
        self._refuse_links(pictures, source)
        return set(pictures)

    def _refuse_links(self, looks, source):
        outside = [
            path for path in looks if not self.allow_outside and not is_below(osp.join(self.data_root, path), self.data_root)
        ]
        if outside:
            raise outside_error(outside, self.data_root, source)
        copies = [] if self.allow_duplicates else find_copies({**self._looks, **looks})
        if copies:
            raise ValueError(
                f'{source}: {len(copies)} files go by several names: {shorten(map(" = ".join, copies), 3)}; '
                'expected every picture once (allow_duplicates=True accepts it).'
            )
        self._looks.update(looks)

    def _doubts(self, split):
        unusual = [name for name in split.classes if not name.isascii() or re.search('[a-z][A-Z]', name)]
        if not unusual:
            return super()._doubts(split)
        return [
            *super()._doubts(split),
            f'{len(unusual)} class names are no plain English words, among them {unusual[0]!r}: the text tower reads '
            'them as they are. Readable names in classes.yaml usually do better',
        ]

    def _divide(self, by_class):
        members = {subset: {} for subset in SUBSETS}
        for key, paths in by_class.items():
            parts = divide_class(paths, self.test_fraction, self.val_fraction, f'{self.split_seed}/{key}')
            for subset, part in zip(SUBSETS, parts):
                if part:
                    members[subset][key] = part
        return members

    def _names_and_templates(self, keys, source):
        path = self.class_file
        if path is None:
            # A link that leads nowhere is there, too, and is refused when it is read.
            found = [name for name in CLASS_FILES if osp.lexists(osp.join(self.data_root, name))]
            path = found[0] if found else None
        if path is None:
            return [readable_name(composed(key)) for key in keys], DEFAULT_TEMPLATES
        return read_class_file(osp.join(self.data_root, osp.expanduser(path)), keys, source)


@DATASETS.register_module()
class PictureFolder(OwnPictures):
    """Pictures in folders named after their classes.

    Either ``train/<class>/*`` with ``val/<class>/*`` and ``test/<class>/*`` where wanted, or one tree ``<class>/*``
    that is divided by ``split_seed`` and the fractions. Folders below a class folder belong to that class; links are
    followed; hidden files and what file managers leave behind are passed over.

    Args:
        **kwargs: See :class:`OwnPictures`.
    """

    def read_split(self) -> Split:
        """Walk the tree.

        Returns:
            Split: The whole split.
        """
        root = self.data_root
        if not root or not osp.isdir(root):
            what = 'No picture folder is named' if not root else f'The picture folder data_root={root!r} does not exist'
            raise FileNotFoundError(
                f'{what}; expected a folder with train/<class>/ and test/<class>/, or with one '
                'folder per class. With the tools of this project: --cfg-options data_root=DIR'
            )
        folders = _class_folders(root)
        # Vehicles have a class of that name: its folder holds pictures and no folders.
        is_divided = 'train' in folders and (folders == ['train'] or _class_folders(osp.join(root, 'train')))
        if not is_divided:
            if 'train' not in folders and ('test' in folders or 'val' in folders):
                raise ValueError(
                    f'{root} holds {" and ".join(sorted(set(folders) & {"val", "test"}))} but no train; '
                    'expected train/<class>/, or one folder per class.'
                )
            return self.make_split({None: self._read_classes('', root)}, root)
        others = sorted(set(folders) - set(SUBSETS))
        if others and not self.skip_invalid:
            raise ValueError(
                f'{root} holds {shorten(others)} beside train; expected no other folders than '
                'train, val and test (skip_invalid=True passes over them).'
            )
        members: dict[str | None, dict[str, list[str]]] = {
            subset: self._read_classes(subset, osp.join(root, subset)) for subset in SUBSETS if subset in folders
        }
        return self.make_split(members, root)

    def _read_classes(self, prefix, root):
        """Return class -> sorted paths relative to ``data_root`` of the class folders below ``root``."""
        above = (osp.realpath(root),)
        found = {name: sorted(_walk(osp.join(root, name), osp.join(prefix, name), above)) for name in _class_folders(root)}
        loose = [
            osp.join(prefix, name) for name in list_folder(root) if is_picture_name(name) and osp.isfile(osp.join(root, name))
        ]
        if loose:
            raise ValueError(
                f'{root}: {len(loose)} pictures lie beside the class folders: {shorten(loose)}; '
                'expected every picture in the folder of its class.'
            )
        pictures = self.keep_pictures([path for paths in found.values() for path in paths], root)
        by_class = {name: [path for path in paths if path in pictures] for name, paths in found.items()}
        empty = sorted(name for name, paths in by_class.items() if not paths)
        if empty or not by_class:
            what = f'the class folders {shorten(empty)} hold no pictures' if empty else 'there is no class folder'
            raise ValueError(f'{root}: {what}; expected at least one picture per class.')
        return by_class


@DATASETS.register_module()
class PictureTable(OwnPictures):
    """Pictures listed in a CSV file with the header ``path,label`` or ``path,label,split``.

    ``path`` is relative to ``data_root``, ``label`` is the class's name, ``split`` is train, val or test; without it,
    the pictures are divided by ``split_seed`` and the fractions. Other columns are passed over.

    Args:
        data_root (str): Folder of the pictures. Defaults to the folder of ``table``.
        table (str): The CSV file, UTF-8, relative to ``data_root`` or absolute. Defaults to 'pictures.csv'.
        **kwargs: See :class:`OwnPictures`.
    """

    def __init__(self, data_root: str = '', table: str = 'pictures.csv', **kwargs: Any):
        self.table = osp.join(osp.expanduser(data_root or ''), osp.expanduser(table))
        super().__init__(data_root=data_root or osp.dirname(self.table), **kwargs)

    def read_split(self) -> Split:
        """Read the table.

        Returns:
            Split: The whole split.
        """
        if not osp.isfile(self.table):
            raise FileNotFoundError(
                f'The table {self.table} does not exist; expected a CSV file with the header '
                f'path,label or path,label,split in data_root={self.data_root!r}.'
            )
        rows = read_table(self.table, self.allow_outside)
        divided = rows[0][2] is not None
        subsets = SUBSETS if divided else (None,)
        paths = {path for path, _, _ in rows}
        present = sorted(path for path in paths if osp.exists(osp.join(self.data_root, path)))
        invalid = set(present) - self.keep_pictures(present, self.table)
        members: dict[str | None, dict[str, list[str]]] = {subset: defaultdict(list) for subset in subsets}
        for path, label, subset in rows:
            if path not in invalid:  # missing files stay in: they are reported as missing
                members[subset][label].append(path)
        gone = sorted({label for _, label, _ in rows} - {label for part in members.values() for label in part})
        if gone:
            raise ValueError(f'{self.table}: no picture is left of the classes {shorten(gone)}.')
        return self.make_split(members, self.table)


def divide_class(
    paths: list[str], test_fraction: float, val_fraction: float, seed: str
) -> tuple[list[str], list[str], list[str]]:
    """Divide the pictures of one class at random.

    Args:
        paths (list[str]): The pictures.
        test_fraction (float): Share to test on; at least one picture is, if there are two.
        val_fraction (float): Share to validate on; one picture at least always stays for training.
        seed (str): Seed; the division does not depend on other classes or on the order of ``paths``.

    Returns:
        tuple[list[str], list[str], list[str]]: For training, validation and testing, each in the order of ``paths``.
    """
    order = sorted(paths)
    random.Random(seed).shuffle(order)
    num_test = min(max(1, round(len(order) * test_fraction)), len(order) - 1)
    num_val = min(round(len(order) * val_fraction), len(order) - 1 - num_test)
    test, val = set(order[:num_test]), set(order[num_test : num_test + num_val])
    return (
        [path for path in paths if path not in test and path not in val],
        [path for path in paths if path in val],
        [path for path in paths if path in test],
    )


def _class_folders(root):
    return [
        name for name in list_folder(root) if _is_visible(name) and name not in CLASS_FILES and osp.isdir(osp.join(root, name))
    ]


def _is_visible(name):
    return not name.startswith('.') and name.lower() not in _CLUTTER


def _walk(folder, prefix, above):
    """Yield the visible files below ``folder`` as paths with ``prefix``; links that lead back up are not followed."""
    real = osp.realpath(folder)
    if any(osp.join(other, '').startswith(osp.join(real, '')) for other in above):
        return
    for name in list_folder(folder):
        path = osp.join(folder, name)
        if not _is_visible(name):
            continue
        if osp.isdir(path):
            yield from _walk(path, osp.join(prefix, name), above + (real,))
        else:
            yield osp.join(prefix, name)
