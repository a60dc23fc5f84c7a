"""Frozen features of validation and test pictures, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...models.caches import tensor_cache
from ...models.caches.identity import data_identity, zero_shot_key
from ..sharding import ShardedDataParallel
from .loops import unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner

_BYTES_PER_MB = 2**20


class CachedFeatures:
    """Features by sample index, which must name one picture alone, up to a limit.

    Args:
        limit_mb (float): In MiB.

    Attributes:
        changed (bool): Whether something came in since it was last said otherwise.
    """

    def __init__(self, limit_mb: float):
        self._left = limit_mb * _BYTES_PER_MB
        self._features: dict[int, torch.Tensor] = {}
        self.changed = False

    def __len__(self):
        return len(self._features)

    def get(self, indices: Sequence[int], device: torch.device) -> torch.Tensor | None:
        """Return the features ``(B, D)`` of samples, or None unless all of them are cached."""
        if any(index not in self._features for index in indices):
            return None
        return torch.stack([self._features[index] for index in indices]).to(device)

    def put(self, indices: Sequence[int], features: torch.Tensor) -> None:
        """Cache features ``(B, D)``, on the host, if those that are new fit; each sample counts once."""
        rows = {index: row for row, index in enumerate(indices) if index not in self._features}
        size = len(rows) * features[:1].nbytes
        if rows and size <= self._left:
            self._left -= size
            self._features.update(zip(rows, features.cpu()[list(rows.values())]))
            self.changed = True

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is cached as tensors: ``indices`` ``(N,)``, int64, and ``features`` ``(N, D)``."""
        return dict(indices=torch.tensor(list(self._features)), features=torch.stack(list(self._features.values())))


@HOOKS.register_module()
class ReuseZeroShotHook(Hook):
    """Let repeated looks at the same pictures cost the tuned branch alone.

    The frozen branch gives a picture the same features at every validation and test. The first one of a run caches them
    in memory, 2 kB for each picture with ViT-B/16. They are found again by what they depend on: the frozen weights and
    their structure, the normalisation, the pictures (content in memory; path, size and time of change of files), the
    pipeline with all its settings, the device and the precision. A data set or a pipeline that does not tell is known by
    itself alone. The pipeline must not be random. Predictions are equal to the last bit.

    Within a data set, pictures are found by ``sample_idx``. Where that is not the place of each picture in the data
    set, as in ``ConcatDataset``, whose parts all count from 0, nothing is cached and the frozen branch runs every time.

    With ``cache``, they are also cached on disk, and a second run does not run the frozen branch on these pictures at
    all. What is known by itself alone is never written. Processes that share the weights (:class:`ShardedDataParallel`)
    run the frozen branch together or not at all: files are used if every process has its own, whole.

    Args:
        limit_mb (float): Bound of what is cached of each data set, in MiB; pictures beyond it are computed every time.
        cache (bool | str): Cache them on disk: in the folder of the cache (see :mod:`.tensor_cache`), or in a folder.
        cache_limit_mb (float): Bound of the folder, in MiB; what was used longest ago is deleted first.

    Raises:
        ValueError: If a limit is negative.
    """

    def __init__(self, limit_mb: float = 256, cache: bool | str = False, cache_limit_mb: float = 2048):
        if min(limit_mb, cache_limit_mb) < 0:
            raise ValueError(f'limit_mb and cache_limit_mb must not be negative, but are {limit_mb} and {cache_limit_mb}')
        self.limit_mb, self.cache_limit_mb = limit_mb, cache_limit_mb
        self._folder = tensor_cache.cache_folder('zero_shot') if cache is True else Path(cache) if cache else None
        self._cached: dict[Any, CachedFeatures] = {}
        self._data_ids: dict[int, tuple] = {}
        self._pipelines: dict[int, Any] = {}
        self._current = None, None

    def before_val_epoch(self, runner: Runner) -> None:
        """Look the data set up anew: its pipeline may have changed."""
        self._current = None, None

    before_test_epoch = before_val_epoch

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None) -> None:
        """Give the model the cached features of the data set whose pictures it is about to see.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        self._attach_cache(runner, runner.val_loop)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """As before a step of validation; a test that nothing was cached for caches for the disk alone."""
        # Of processes that share weights, some may find the cache switched off, but all have to decide together.
        if self._cached or self._folder is not None or isinstance(runner.model, ShardedDataParallel):
            self._attach_cache(runner, runner.test_loop)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Take it back: other pictures have the same indices."""
        unwrapped(runner.model).cached_zero_shot = None

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write what is new to the disk, if it is to be cached there."""
        self._current = None, None
        for key, cache in self._cached.items():
            if cache.changed and self._folder is not None and isinstance(key, str):
                tensor_cache.save_tensors(
                    self._folder, _file_of(key), cache.tensors(), 'zero-shot features', self.cache_limit_mb * _BYTES_PER_MB
                )
            cache.changed = False

    after_test_epoch = after_val_epoch

    def _attach_cache(self, runner, loop):
        model, dataset = unwrapped(runner.model), loop.dataloader.dataset
        if not hasattr(model, 'cached_zero_shot'):
            return
        if self._current[0] is not dataset:
            self._current = dataset, self._look_up(runner, model, dataset, loop)
        model.cached_zero_shot = self._current[1]

    def _look_up(self, runner, model, dataset, loop):
        # The objects themselves are kept too: an id alone could come back with another one.
        if id(dataset) not in self._data_ids:
            self._data_ids[id(dataset)] = dataset, data_identity(dataset)
        identity = self._data_ids[id(dataset)][1]
        if not identity.numbered:
            return None
        kind = next(model.parameters()).device.type
        precision = str(torch.get_autocast_dtype(kind)) if getattr(loop, 'fp16', False) else 'full'
        key = None if identity.sha256 is None else zero_shot_key(model, dataset, identity.sha256, precision)
        if key is None:
            pipeline = getattr(dataset, 'pipeline', None)
            self._pipelines[id(pipeline)] = pipeline
            key = id(dataset), id(pipeline), precision
        if key not in self._cached:
            cache = self._read(key)
            # Otherwise some would gather the weights of blocks that others do not run, and wait for ever.
            if isinstance(runner.model, ShardedDataParallel):
                cache = cache if _all_have(len(cache) >= len(loop.dataloader.sampler)) else CachedFeatures(self.limit_mb)
            self._cached[key] = cache
        return self._cached[key]

    def _read(self, key):
        cache = CachedFeatures(self.limit_mb)
        if self._folder is not None and isinstance(key, str):
            tensors = tensor_cache.load_tensors(self._folder, _file_of(key), 'zero-shot features', _are_features)
            if tensors is not None:
                tensor_cache.mark_used(self._folder, _file_of(key))
                cache.put(tensors['indices'].tolist(), tensors['features'])
                cache.changed = False
        return cache


def _are_features(tensors):
    """Whether tensors have the form of :meth:`CachedFeatures.tensors`: indices, and features of unit norm."""
    indices, features = tensors.get('indices'), tensors.get('features')
    return (
        indices is not None
        and features is not None
        and indices.dtype == torch.int64
        and features.dtype == torch.float32
        and indices.ndim == 1
        and features.ndim == 2
        and len(indices) == len(features)
        and bool((features.norm(dim=1) - 1).abs().le(1e-3).all())
    )


def _file_of(key):
    """Name the file of this process: each of several sees, and keeps, its own part of the pictures."""
    return key if get_world_size() == 1 else f'{key}-{get_rank()}of{get_world_size()}'


def _all_have(found):
    """Whether something was found in every process; all of them ask together."""
    everywhere = torch.tensor(int(found))
    all_reduce(everywhere, 'min')
    return bool(everywhere)
