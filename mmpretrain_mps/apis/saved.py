"""What a checkpoint of a FewShotClassifier holds besides a model: labels, calibration, and the arguments it was made with."""

import io
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from ..engine.file_backend import AtomicLocalBackend
from ..models.classifiers import CLIPClassifier
from ..utils.checkpoint import to_plain
from ..utils.shape import check_shape, number, or_none

# In `meta` of checkpoints.
META_KEY = 'few_shot_classifier'
SAVED = dict(params=dict, classes=[object], temperature=number, threshold=number, conformal_level=or_none(number))


def write_saved(path: str | Path, meta: dict[str, Any], about: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint of plain data, in one step.

    Args:
        path (str | Path): The file.
        meta (dict): Of the training.
        about (dict): As :data:`SAVED` says.
        state (dict[str, Tensor]): Of the model.

    Raises:
        TypeError: If a setting has no plain form.
    """
    content = io.BytesIO()
    torch.save(to_plain(dict(meta={**meta, META_KEY: about}, state_dict=state)), content)
    AtomicLocalBackend().put(content.getvalue(), path)


def read_saved(checkpoint: dict[str, Any], cfg: Config, path: Any) -> dict[str, Any]:
    """Return what :func:`write_saved` wrote besides the model; of checkpoints of the tools, what their config says.

    Args:
        checkpoint (dict): As it was read.
        cfg (Config): That it keeps.
        path (str | Path): The file; opens the message.

    Returns:
        dict: As :data:`SAVED` says, or ``params`` alone.

    Raises:
        ValueError: If it is of no classifier of this project, or of another form.
    """
    kind = MODELS.get(cfg.get('model', {}).get('type', ''))
    if not (isinstance(kind, type) and issubclass(kind, CLIPClassifier)) or 'test_dataloader' not in cfg:
        raise ValueError(f'checkpoint {path} is of no classifier of this project')
    about = checkpoint['meta'].get(META_KEY)
    if about is None:
        clip = {name: cfg.model.get(name) for name in ('architecture', 'pretrained')}
        return dict(params=dict(clip, method=cfg.get('method', {}).get('name', kind.method)))
    check_shape(about, SAVED, f'checkpoint {path}: {META_KEY}')
    if not all(isinstance(name, str) for name in about['params']):
        raise ValueError(f'checkpoint {path}: {META_KEY}.params names {list(about["params"])[:5]}, expected texts')
    return about
