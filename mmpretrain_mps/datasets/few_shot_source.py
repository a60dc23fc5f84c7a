"""What few-shot pictures are drawn from: a data set of this package, or one from elsewhere."""

import os
import os.path as osp
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmpretrain.registry import DATASETS

from .base import SplitDataset
from .split import hash_rows

DEFAULT_TEMPLATES = ('a photo of a {}.',)


class Source(NamedTuple):
    """What is drawn from.

    Attributes:
        name (str): Name of the data set.
        split_id (str): Identity of its split.
        classes (Sequence[str]): Names of all its classes.
        labels (dict): 'train' and 'val' -> label of every picture, all classes counted.
        used_labels (range): Labels that the data set shows.
        templates (Sequence[str]): Prompt templates.
    """

    name: str
    split_id: str
    classes: Sequence[str]
    labels: dict[str, Sequence[int]]
    used_labels: range
    templates: Sequence[str]


def build_dataset(dataset):
    """Build a data set from its config if need be, and have it read its annotations."""
    if isinstance(dataset, dict):
        dataset = dict(dataset)
        kind = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
        if isinstance(kind, type) and issubclass(kind, SplitDataset):
            dataset.setdefault('serialize_data', False)  # few entries are kept, and not for long
        dataset = DATASETS.build(dataset)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def describe(dataset, subset):
    """Describe a data set of this package, which knows its whole split."""
    name = dataset.dataset_name
    if dataset.subset != subset:
        raise ValueError(f'FewShotDataset: subset is "{subset}", but {name} shows "{dataset.subset}", expected the same.')
    if len(dataset) != sum(label in dataset.label_range for label in dataset.split_labels[subset].tolist()):
        raise ValueError(
            f'FewShotDataset: {name} shows {len(dataset)} pictures, which is not its whole subset '
            f'"{subset}"; expected no "indices".'
        )
    labels = {name: values.tolist() for name, values in dataset.split_labels.items()}
    return Source(
        name, dataset.metainfo['split_id'], dataset.split_classes, labels, dataset.label_range, dataset.metainfo['templates']
    )


def describe_foreign(dataset, train_dataset, subset):
    """Describe a data set from elsewhere by its entries; all its pictures are one subset."""
    name = type(dataset).__name__
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise ValueError(f'FewShotDataset: {name} has no class names in metainfo["classes"], expected one per label.')
    if subset == 'val' and train_dataset is None:
        raise ValueError(f'FewShotDataset: subset "val" of {name} needs train_dataset, whose picks come first.')
    train_rows = _foreign_rows(dataset if subset == 'train' else build_dataset(train_dataset), classes)
    val_rows = _foreign_rows(dataset, classes) if subset == 'val' else []
    labels = dict(train=[row[1] for row in train_rows], val=[row[1] for row in val_rows])
    return Source(
        name,
        hash_rows(train_rows),
        tuple(classes),
        labels,
        range(len(classes)),
        dataset.metainfo.get('templates', DEFAULT_TEMPLATES),
    )


def _foreign_rows(dataset, classes):
    rows = []
    for index in range(len(dataset)):
        entry = dataset.get_data_info(index)
        label = entry.get('gt_label')
        if not isinstance(label, (int, np.integer)) or not 0 <= label < len(classes):
            raise ValueError(
                f'{type(dataset).__name__}: picture {index} has the label {label!r}, expected '
                f'0..{len(classes) - 1} for {len(classes)} class names.'
            )
        rows.append((item_of(entry, index, dataset), int(label)))
    return rows


def pipeline_of(dataset):
    """Return what a data set does to its pictures, or what all parts of a concatenated one do."""
    parts = getattr(dataset, 'datasets', None) or [dataset]
    pipelines = [part.pipeline for part in parts if hasattr(part, 'pipeline')]
    if len(pipelines) < len(parts) or len({repr(pipeline) for pipeline in pipelines}) > 1:
        raise ValueError(
            f'FewShotDataset: {type(dataset).__name__} has no one pipeline for all its pictures; expected a '
            'data set of mmpretrain, or a ConcatDataset of such with equal pipelines. Wrappers go around '
            'FewShotDataset, not into it.'
        )
    return pipelines[0]


def item_of(entry, index, dataset):
    """Name a picture by its path below the image folder, or by its place in the data set."""
    if 'item' in entry:
        return entry['item']
    path = entry.get('img_path')
    if path is None:
        return index
    prefix = getattr(dataset, 'data_prefix', {}).get('img_path') or getattr(dataset, 'data_root', '')
    return osp.relpath(path, prefix).replace(os.sep, '/') if prefix else path
