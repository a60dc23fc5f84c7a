"""scikit-learn's handwritten digits, the data of the embedded default."""
import functools
import hashlib

import numpy as np
from mmpretrain.registry import DATASETS

from ..mini_clip import DIGIT_TEMPLATES
from .base import SplitDataset
from .split import Split

DIGIT_NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


@functools.lru_cache(maxsize=1)  # a third of a second, for 2 MB
def _load_digits():
    from sklearn.datasets import load_digits  # takes a second to import, and only this data set needs it
    return load_digits()


@DATASETS.register_module()
class Digits(SplitDataset):
    """The 1,797 real handwritten digits that scikit-learn carries: 8x8, white strokes on black, no download.

    The split is fixed and stratified. Within each class, pictures are ordered by the SHA-256 of their index in decimal
    digits; the first half (rounded down) is ``test``, the next tenth (rounded down) is ``val``, the others are
    ``train``, the pool that few-shot pictures are drawn from. Each subset is then sorted by index. No random number
    generator takes part, so the split is the same wherever scikit-learn's file is. Pictures of one writer may fall
    into several subsets; the file does not say who wrote what.

    Args:
        **kwargs: Arguments of :class:`SplitDataset`; ``data_root`` is not used.
    """

    def read_split(self) -> Split:
        """Return the fixed split; rows hold the index in scikit-learn's file."""
        labels = _load_digits().target.tolist()
        subsets = dict(train=[], val=[], test=[])
        for label in range(len(DIGIT_NAMES)):
            members = [index for index, other in enumerate(labels) if other == label]
            members.sort(key=lambda index: hashlib.sha256(str(index).encode()).hexdigest())
            num_test, num_val = len(members) // 2, len(members) // 10
            subsets['test'] += members[:num_test]
            subsets['val'] += members[num_test:num_test + num_val]
            subsets['train'] += members[num_test + num_val:]
        rows = {name: [(index, labels[index]) for index in sorted(indices)] for name, indices in subsets.items()}
        return Split(DIGIT_NAMES, DIGIT_TEMPLATES, **rows, source='Digits (scikit-learn)')

    def read_image(self, index: int) -> np.ndarray:
        """Return digit ``index`` as uint8 RGB ``(8, 8, 3)``; the file's levels 0..16 become 0..255."""
        levels = np.rint(_load_digits().images[index] * (255 / 16)).astype(np.uint8)
        return np.repeat(levels[..., None], 3, axis=2)
