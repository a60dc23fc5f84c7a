"""Few-shot adaptation of CLIP by MPS-Tuning, as a plugin of mmpretrain.

Importing the package registers its parts in mmpretrain's registries. Configs ask for that with
``custom_imports = dict(imports=['mmpretrain_mps'], allow_failed_imports=False)``.
"""

import warnings

from ._requirements import check_requirements

check_requirements()

with warnings.catch_warnings():
    # mmcv-lite points out at import that it lacks compiled operators; nothing here uses them.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    from . import datasets, engine, evaluation, models
from .model_index import register_models
from .version import __version__

register_models()

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']
