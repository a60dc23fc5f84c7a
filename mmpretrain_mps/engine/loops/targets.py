"""Data loaders of test targets, and what is missing of them."""

from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from mmengine.runner import Runner

# What a data set raises when its files, or the package that brings its pictures, are not there; mmpretrain's own raise
# RuntimeError too.
ABSENCE_ERRORS = (FileNotFoundError, NotADirectoryError, ImportError, RuntimeError)
# What a target's data set takes over from the source's where it says nothing itself.
SHARED_KEYS = ('pipeline', 'test_mode')
# Names that results use for something else.
RESERVED_NAMES = ('source', 'mean_of_targets', 'mean_of_all')


def build_targets(
    runner: Runner, source: DataLoader | dict[str, Any], targets: dict[str, Any], requested: str | Sequence[str] | None = None
) -> tuple[dict[str, DataLoader], dict[str, str]]:
    """Build the data loaders of all targets that are there.

    Args:
        runner (Runner): Builds the loaders.
        source (DataLoader | dict): The source's loader; a dict completes the targets'.
        targets (dict): Name to the config of a data set or a data loader, or None for a target that is switched off.
        requested (str | Sequence[str], optional): Names that must be there, or ``'all'``.

    Returns:
        tuple[dict[str, DataLoader], dict[str, str]]: What was found, and why each of the others was not.

    Raises:
        FileNotFoundError: If a requested target is missing, or a target's pictures are there, but not all of it.
        ValueError: If ``requested`` names what is no target, or a target has a name that results use otherwise.
    """
    reserved = [name for name in targets if name in RESERVED_NAMES or '/' in name]
    if reserved:
        raise ValueError(
            f'test_cfg.targets holds {", ".join(map(repr, reserved))}; expected other names than '
            f"{', '.join(RESERVED_NAMES)}, without '/'"
        )
    targets = {name: config for name, config in targets.items() if config is not None}
    wanted = _requested_names(requested, targets)
    found, missing = {}, {}
    for name, config in targets.items():
        loader = _complete(name, config, source)
        try:
            found[name] = runner.build_dataloader(
                loader, seed=runner.seed, diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False)
            )
        except ABSENCE_ERRORS as error:
            folder = _picture_folder(loader['dataset'])
            if osp.isdir(folder):
                raise FileNotFoundError(
                    f'target {name} is there only in part: {error} (test_cfg.targets.{name}=None leaves it out)'
                ) from error
            if isinstance(error, RuntimeError) and not folder:
                raise
            missing[name] = str(error)
    absent = [f'{name}: {missing[name]}' for name in wanted if name in missing]
    if absent:
        raise FileNotFoundError(f'{len(absent)} of the {len(wanted)} requested targets are missing; {"; ".join(absent)}')
    return found, missing


def _requested_names(requested, targets):
    if requested == 'all':
        return list(targets)
    names = [requested] if isinstance(requested, str) else list(requested or ())
    unknown = [name for name in names if name not in targets]
    if unknown:
        raise ValueError(
            f'requested targets {", ".join(map(repr, unknown))} are not in test_cfg.targets, which has '
            f'{", ".join(map(repr, targets)) or "none"}'
        )
    return names


def _complete(name, config, source):
    """Return the config of a target's data loader, what it leaves unsaid taken from the source's."""
    loader = dict(config) if 'dataset' in config else dict(dataset=config)
    if isinstance(source, DataLoader):
        if 'dataset' not in config:
            raise ValueError(f'target {name} needs the config of a whole data loader, since the source comes as a built one')
        return loader
    loader = {**copy.deepcopy(dict(source)), **copy.deepcopy(loader)}
    loader['persistent_workers'] = False  # every target is read once
    for key in SHARED_KEYS:
        if key in source['dataset']:
            loader['dataset'].setdefault(key, copy.deepcopy(source['dataset'][key]))
    return loader


def _picture_folder(dataset):
    """Return the folder of pictures of a data set that could not be built, '' if it has none or does not tell."""
    try:
        return getattr(DATASETS.build({**dataset, 'lazy_init': True}), 'img_prefix', '') or ''
    except (*ABSENCE_ERRORS, TypeError, ValueError):
        return ''
