"""A second tiny CLIP that comes with the package: it knows a few thousand everyday words, from pictograms.

The folder of this module is an open_clip ``local-dir`` model like :mod:`mmpretrain_mps.mini_clip`, on 48 x 48 pictures.
``NOTICE.md`` beside this file says what it was made from.

    >>> from mmpretrain_mps import mini_clip, pictogram_clip
    >>> mini_clip.check_vocabulary(['a photo of a dog.'], pictogram_clip.folder())
"""

from pathlib import Path

__all__ = ['folder']


def folder() -> Path:
    """Folder to give to open_clip as ``local-dir:<folder>``."""
    return Path(__file__).resolve().parent
