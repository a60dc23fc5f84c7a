"""scikit-learn's handwritten digits, the data of the embedded default."""

import functools
import hashlib

import numpy as np
from mmpretrain.registry import DATASETS

from ..mini_clip import DIGIT_TEMPLATES
from .base import SplitDataset
from .split import Split

DIGIT_NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

# One bit per picture, in the order of scikit-learn's file, the highest bit of a byte first: 1 is a test picture. These are
# `mini_clip.zero_shot.digits_halves()['test']`, written down so that no version of a library can draw another half.
TEST_PICTURES = bytes.fromhex(
    'ea3844cab5e678d199566f21d7724d1efa280e132ab440ef272c5e083119979f01d03932a635fea39ac39ef44a284fdfbc46172ec962cfe2ca'
    '31f0ba601ed8a579eba13049588dc58792421ff09011554aec41f11e2176eecc0985fa37968cc3bf873ea7a6de7e4324122fdbd4e805a6b9fd'
    '1312f271e540f12c706e9c37efa7d21f4d5ec8404862a9a49caa7449f65f9563ee8bd3abdf92ed8ac5a225269f6223cdf202c1f1fd8edbc849'
    'f9954d96ce210a8cd8a8f57237ae3921c94dccc86ecb6136d32ab29309f6ae702da6c7a5c8ef7481d8e8a4b45287b65a32d53cbc1d60'
)


@functools.lru_cache(maxsize=1)  # a third of a second, for 2 MB
def _load_digits():
    from sklearn.datasets import load_digits  # takes a second to import, and only this data set needs it

    return load_digits()


@DATASETS.register_module()
class Digits(SplitDataset):
    """The 1,797 real handwritten digits that scikit-learn carries: 8x8, white strokes on black, no download.

    The split is fixed and stratified. ``test`` is the half that took part in no choice about the embedded model
    (``mini_clip.zero_shot.digits_halves()``, kept as :data:`TEST_PICTURES`). Within the other half and each class, pictures
    are ordered by the SHA-256 of their index in decimal digits; a fifth of the class (rounded down) is ``val``, the others
    are ``train``, the pool that few-shot pictures are drawn from. Each subset is then sorted by index. Pictures of one
    writer may fall into several subsets; the file does not say who wrote what.

    Args:
        **kwargs: Arguments of :class:`SplitDataset`; ``data_root`` is not used.
    """

    def read_split(self) -> Split:
        """Return the fixed split; rows hold the index in scikit-learn's file."""
        labels = _load_digits().target.tolist()
        subsets: dict[str, list[int]] = dict(train=[], val=[], test=[])
        held_out = np.unpackbits(np.frombuffer(TEST_PICTURES, np.uint8)).astype(bool)
        for label in range(len(DIGIT_NAMES)):
            members = [index for index, other in enumerate(labels) if other == label]
            open_members = sorted(
                (index for index in members if not held_out[index]),
                key=lambda index: hashlib.sha256(str(index).encode()).hexdigest(),
            )
            num_val = len(members) // 5
            subsets['test'] += [index for index in members if held_out[index]]
            subsets['val'] += open_members[:num_val]
            subsets['train'] += open_members[num_val:]
        rows = {name: [(index, labels[index]) for index in sorted(indices)] for name, indices in subsets.items()}
        return Split(DIGIT_NAMES, DIGIT_TEMPLATES, **rows, source='Digits (scikit-learn)')

    def read_image(self, index: int) -> np.ndarray:
        """Return digit ``index`` as uint8 RGB ``(8, 8, 3)``; the file's levels 0..16 become 0..255."""
        levels = np.rint(_load_digits().images[index] * (255 / 16)).astype(np.uint8)
        return np.repeat(levels[..., None], 3, axis=2)
