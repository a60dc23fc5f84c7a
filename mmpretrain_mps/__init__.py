"""Few-shot adaptation of CLIP by MPS-Tuning, as a plugin of mmpretrain.

Importing the package registers its parts in mmpretrain's registries. Configs ask for that with
``custom_imports = dict(imports=['mmpretrain_mps'], allow_failed_imports=False)``.
"""
from ._requirements import check_requirements

check_requirements()

from . import datasets, engine, evaluation, models  # noqa: E402, F401
from .version import __version__  # noqa: E402

__all__ = ['__version__']
