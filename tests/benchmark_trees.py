"""Small copies of the benchmark data sets in their real layouts."""

import io
import json
import os
import random

from PIL import Image

from mmpretrain_mps.datasets.catalog import CATALOG

WNIDS = ('n01440764', 'n01443537', 'n02422106', 'n03773504', 'n04008634', 'n04355933', 'n04356056')
WNID_NAMES = ('tench', 'goldfish', 'hartebeest', 'missile', 'missile', 'sunglasses', 'sunglasses')
NUM_CLASSES = 4
SIZES = dict(train=6, val=5, test=3)


def _jpeg():
    file = io.BytesIO()
    Image.new('RGB', (12, 8), (200, 30, 90)).save(file, 'JPEG')
    return file.getvalue()


JPEG = _jpeg()


def put(path, content=JPEG):
    """Write a file and the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return os.fsdecode(path)


def split_rows(prefixes=('train', 'val', 'test'), seed=5):
    """Rows of a split file with labels in mixed order: the first label to appear is not 0."""
    rng = random.Random(seed)
    names = [f'Class_{label} of Ünits' for label in range(NUM_CLASSES)]
    content = {}
    for subset, prefix in zip(SIZES, prefixes):
        rows = [
            [f'{prefix}/{label}_{number:03}.jpg', label, names[label]]
            for label in range(NUM_CLASSES)
            for number in range(SIZES[subset])
        ]
        rng.shuffle(rows)
        content[subset] = rows
    return content


def make_tree(root, name):
    """Make a small copy of one data set below ``root`` and return its own folder."""
    spec = CATALOG[name]
    folder = os.path.join(root, spec.folder)
    if name.startswith('ImageNet'):
        _make_imagenet(folder, spec)
    elif name == 'FGVCAircraft':
        _make_fgvc(folder)
    else:
        prefixes = ('cars_train', 'cars_train', 'cars_test') if name == 'StanfordCars' else ('a', 'b/c', 'd')
        content = split_rows(prefixes)
        if name == 'StanfordCars':  # train and val share a folder: tell their pictures apart
            content['val'] = [[path.replace('_0', '_1', 1), *rest] for path, *rest in content['val']]
            content['val'] = [[f'cars_train/v{os.path.basename(path)}', *rest] for path, *rest in content['val']]
        put(os.path.join(folder, spec.annotation_files[0]), json.dumps(content))
        for subset in SIZES:
            for path, _, _ in content[subset]:
                put(os.path.join(folder, spec.image_root, path))
    return folder


def _make_fgvc(folder):
    put(os.path.join(folder, 'variants.txt'), '707-320\nA300B4\nF/A-18\nSpitfire Mk_II\n')
    for offset, subset in enumerate(SIZES):
        lines = []
        for number in range(SIZES[subset]):
            for label, variant in enumerate(('F/A-18', '707-320', 'Spitfire Mk_II', 'A300B4')):
                image_id = f'{offset}{number:03}{label}'
                lines.append(f'{image_id} {variant}')
                put(os.path.join(folder, 'images', f'{image_id}.jpg'))
        put(os.path.join(folder, f'images_variant_{subset}.txt'), '\n'.join(lines) + '\n')


def write_class_list(folder):
    """Write classnames.txt of the small ImageNet."""
    lines = [f'{wnid} {name}' for wnid, name in zip(WNIDS, WNID_NAMES)]
    put(os.path.join(folder, 'classnames.txt'), '\n'.join(lines) + '\n')


def _make_imagenet(folder, spec):
    write_class_list(folder)
    images = os.path.join(folder, spec.image_root)
    if spec.name == 'ImageNet':
        for wnid in WNIDS:
            for number in (10, 9, 2, 33, 1):  # made in an order that is not sorted
                put(os.path.join(images, 'train', wnid, f'{wnid}_{number}.JPEG'))
            put(os.path.join(images, 'val', wnid, f'ILSVRC2012_val_{wnid[-4:]}.JPEG'))
        return
    folders = {
        'ImageNet-V2': map(str, range(len(WNIDS))),
        'ImageNet-Sketch': WNIDS,
        'ImageNet-A': (WNIDS[5], WNIDS[1], WNIDS[3]),
        'ImageNet-R': (WNIDS[6], WNIDS[0]),
    }[spec.name]
    for name in folders:
        for number in range(2):
            put(os.path.join(images, name, f'{number}_{name}.jpg'))
    put(os.path.join(images, 'README.txt'), 'not a class')
