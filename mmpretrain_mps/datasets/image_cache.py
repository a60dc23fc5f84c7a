"""Decoded pictures of a few-shot set, kept in memory because each is decoded again every epoch otherwise."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mmengine.logging import print_log

_BYTES_PER_MB = 2**20
_NUM_PROBES = 16
_CHUNK = 64  # pictures decoded ahead of the check against the limit


class ImageCache:
    """Loaded samples by index, bounded, filled once in the main process.

    It is filled before the data loader starts its workers, which then share the memory where they are forked. What is
    not kept is loaded every time; results are the same either way.

    Args:
        mode (bool | str): True keeps as many pictures as fit; 'auto' keeps all, or none if all would not fit, judged
            by 16 of them; False keeps none.
        limit_mb (float): Limit of the decoded pictures together, in MiB, per process group member.

    Raises:
        ValueError: If the mode is another, or the limit is not above 0.
    """

    def __init__(self, mode: bool | str = 'auto', limit_mb: float = 1024):
        if mode is not True and mode is not False and mode != 'auto':
            raise ValueError(f"cache_images is {mode!r}, expected True, False or 'auto'.")
        if not limit_mb > 0:
            raise ValueError(f'cache_limit_mb is {limit_mb!r}, expected a number above 0.')
        self.mode = mode
        self.limit = limit_mb * _BYTES_PER_MB
        self.samples: dict[int, dict] = {}
        self.filled = mode is False

    def fill(self, records: Sequence[dict], load: Callable[[dict], dict]) -> None:
        """Load ``records`` in their order until the limit; does nothing the second time.

        Args:
            records (Sequence[dict]): What the loading transform takes; not changed.
            load (callable): The loading transform; deterministic, may be called from several threads.
        """
        if self.filled:
            return
        self.filled = True
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow lets other threads run as it decodes
            if self.mode == 'auto' and self._estimate(records, load, pool) > self.limit:
                print_log(
                    f'The {len(records)} decoded pictures would take more than cache_limit_mb='
                    f'{self.limit / _BYTES_PER_MB:g}, so they are decoded anew every epoch.',
                    logger='current',
                )
                return
            size = self._load_until_limit(records, load, pool)
        print_log(
            f'{len(self.samples)} of {len(records)} pictures are kept decoded in memory ({size / _BYTES_PER_MB:.1f} MiB).',
            logger='current',
        )

    def all(self, entries: Sequence[dict], load: Callable[[dict], dict]) -> list[np.ndarray] | None:
        """Return every decoded picture ``(H, W, 3)``, or None if they are not to be kept, or not all of them fit.

        Args:
            entries (Sequence[dict]): As in :meth:`fill`; those that hold their pictures already need no second place.
            load (callable): As in :meth:`fill`.
        """
        if self.mode is False:
            return None
        if 'img' in entries[0]:
            pictures = [load(dict(entry))['img'] for entry in entries]
            return pictures if sum(picture.nbytes for picture in pictures) <= self.limit else None
        self.fill(entries, load)
        return [self.samples[index]['img'] for index in range(len(entries))] if len(self.samples) == len(entries) else None

    def get(self, index: int) -> dict | None:
        """Return a loaded sample whose picture may be written to, or None if it is not kept."""
        sample = self.samples.get(index)
        return None if sample is None else dict(sample, img=sample['img'].copy())

    def _estimate(self, records, load, pool):
        probes = records[:: max(1, len(records) // _NUM_PROBES)]
        sizes = list(pool.map(lambda record: load(dict(record))['img'].nbytes, probes))
        return sum(sizes) / len(sizes) * len(records)

    def _load_until_limit(self, records, load, pool):
        size = 0
        for start in range(0, len(records), _CHUNK):
            chunk = records[start : start + _CHUNK]
            for index, sample in enumerate(pool.map(lambda record: load(dict(record)), chunk), start):
                if size + sample['img'].nbytes > self.limit:
                    return size
                self.samples[index] = sample
                size += sample['img'].nbytes
        return size
