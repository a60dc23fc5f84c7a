"""Make a checkpoint that is only predicted with small: python tools/publish.py CHECKPOINT OUT.

What a training goes on from is left out (half of the file), and so are folders of this machine. The result is tested, predicted
with and loaded by name as before; tools/train.py cannot go on from it.
"""

import argparse

import torch

from mmpretrain_mps.utils.checkpoint import read_checkpoint
from mmpretrain_mps.utils.errors import user_errors

PUBLISHED_META = ('base', 'dataset_meta', 'epoch', 'iter', 'mmengine_version', 'seed')
# Of the machine and the run.
LEFT_OUT = ('load_from', 'resume', 'work_dir')


def published(checkpoint: dict) -> dict:
    """Return what predictions need of a checkpoint: weights, config, data set.

    Args:
        checkpoint (dict): As tools/train.py saves it.
    """
    meta = checkpoint.get('meta') or {}
    left = {name: meta[name] for name in PUBLISHED_META if name in meta}
    if meta.get('cfg'):
        lines = meta['cfg'].splitlines(keepends=True)
        left['cfg'] = ''.join(line for line in lines if line.split(' ', 1)[0] not in LEFT_OUT)
    return dict(meta=left, state_dict=checkpoint['state_dict'])


def main():
    """Read, strip and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint')
    parser.add_argument('out', help='file to write, .pth')
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    arguments = parser.parse_args()
    with user_errors(arguments.traceback):
        content = published(read_checkpoint(arguments.checkpoint))
        torch.save(content, arguments.out)
        print(f'written: {arguments.out}')


if __name__ == '__main__':
    main()
