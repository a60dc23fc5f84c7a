"""Folders of handwritten digits as PNG files, as somebody has them who is new here."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ('one', 'two', 'three')


def digits(number, start=0, names=NAMES):
    """Return ``number`` pictures of each class, uint8 ``(32, 32)``, and their names; ``start`` passes over as many of each."""
    data = load_digits()
    order = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
    pictures, labels = [], []
    for name in sorted(names):
        for image in data.images[data.target == order.index(name)][start : start + number]:
            pictures.append(np.kron((image * 15.9).astype(np.uint8), np.ones((4, 4), np.uint8)))
            labels.append(name)
    return pictures, labels


def write_pictures(folder, number, start=0, names=NAMES):
    """Write ``<class>/<number>.png`` into a folder and return it."""
    for count, (picture, name) in enumerate(zip(*digits(number, start, names))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name / f'{count:03d}.png')
    return folder
