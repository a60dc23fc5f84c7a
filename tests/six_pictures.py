"""Six pictures whose features are kept, and a classifier for them."""

import numpy as np
from mmengine.dataset import Compose
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.models import MPSCLIPClassifier


class Pictures:
    """Six pictures in memory, or in files of a folder."""

    def __init__(self, first=0, folder=None, pipeline=()):
        self.pipeline = Compose(list(pipeline))
        self.entries = [dict(img=np.full((2, 2, 3), first + index, np.uint8), sample_idx=index) for index in range(6)]
        if folder is not None:
            for index, entry in enumerate(self.entries):
                entry['img_path'] = str(folder / f'{index}.png')
                (folder / f'{index}.png').write_bytes(entry.pop('img').tobytes())

    def __len__(self):
        return len(self.entries)

    def get_data_info(self, index):
        return self.entries[index]


def build_classifier(folder, seed=0):
    """Return a small classifier whose CLIP is written to a folder."""
    return shake(MPSCLIPClassifier(save_tiny_clip(folder / f'clip{seed}', seed), None, class_names=NAMES)).eval()
