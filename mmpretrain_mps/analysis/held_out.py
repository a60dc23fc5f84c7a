"""Features and predictions of pictures that were not trained on, before and after tuning."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.utils import import_modules_from_strings
from mmpretrain.registry import DATASETS, MODELS
from scipy.special import softmax
from torch.utils.data import DataLoader, Subset

from ..engine.hooks.checkpoint_hooks import is_other_split, origin_of
from ..engine.preflight import check_inputs
from ..evaluation.feature_metric import choose_pictures
from ..models.classifiers import CLIPClassifier
from ..models.classifiers.description import check_class_names
from ..models.classifiers.test_features import TestFeatures
from ..utils.checkpoint import read_checkpoint
from ..utils.fitting import check_weights
from ..utils.trust import check_names

SPLITS = ('test', 'val')


class HeldOut(NamedTuple):
    """``N`` pictures of ``C`` classes, sorted by class; ``D`` embedding dimensions. Arrays of float64 but for labels."""

    dataset: str
    total: int
    """Pictures of the split, of which these are an even choice."""
    class_names: tuple
    labels: np.ndarray
    """``(N,)``."""
    tuned: np.ndarray
    """Unit-norm [CLS] features ``(N, D)`` of the tuned branch."""
    zero_shot: np.ndarray
    """The same before tuning."""
    texts: np.ndarray
    """Unit-norm texts ``(C, D)`` that pictures are compared with after tuning."""
    logits: dict
    """``fused``, ``tuned`` and ``zero_shot``, each ``(N, C)``."""

    def rows(self, indices: np.ndarray) -> 'HeldOut':
        """Return the same of some pictures."""
        return self._replace(
            labels=self.labels[indices],
            tuned=self.tuned[indices],
            zero_shot=self.zero_shot[indices],
            logits={branch: logits[indices] for branch, logits in self.logits.items()},
        )

    def probabilities(self, branch: str) -> np.ndarray:
        """Return the softmax ``(N, C)`` of a branch."""
        return softmax(self.logits[branch], axis=1)

    def accuracy(self, branch: str) -> float:
        """Return the share of right predictions of a branch in percent."""
        return 100 * float((self.logits[branch].argmax(1) == self.labels).mean())


def load_model(cfg: Config, checkpoint: Path) -> tuple[CLIPClassifier, dict[str, Any]]:
    """Build the model of a training for evaluation, load its weights, and return what these say of the pictures they have seen.

    Raises FileNotFoundError if the weights of the base model or the checkpoint are missing, ImportError if the config's own
    modules are, and ValueError if the model has no two branches, or the checkpoint does not belong to it.
    """
    check_names(cfg.to_dict(), Path(cfg.filename).name if cfg.filename else 'the config')
    check_inputs(cfg, ())
    try:
        import_modules_from_strings(**(cfg.get('custom_imports') or dict(imports=[])))
    except ImportError as error:
        raise ImportError(f'what the config imports is not to be found: {error}') from error
    content = read_checkpoint(checkpoint)
    if not cfg.get('model'):
        raise ValueError('the config has no model')
    model = MODELS.build(cfg.model)
    if not isinstance(model, CLIPClassifier):
        raise ValueError(
            f'there are no features before and after tuning: the model is {cfg.model.get("type")!r}, '
            'expected a CLIPClassifier, such as MPSCLIPClassifier'
        )
    try:
        model.load_state_dict(check_weights(content, model, checkpoint.name))
    except RuntimeError as error:  # missing weights, or those of other shapes, are not understood deeper down
        raise ValueError(f'checkpoint {checkpoint.name} does not fit the config: {" ".join(str(error).split())}') from error
    return model.eval(), (content.get('meta') or {}).get('origin') or {}


@torch.no_grad()
def extract(
    cfg: Config, model: CLIPClassifier, origin: dict[str, Any], split: str = 'test', max_pictures: int | None = None
) -> HeldOut:
    """Compute features and predictions of the pictures of a split, in the order of classes.

    ``origin`` is what the checkpoint says of the pictures that the model has seen. Where there are more than ``max_pictures``,
    equally many of each class are taken as far as possible.

    Raises:
        FileNotFoundError: If pictures are missing.
        ValueError: If the config has no such split, its classes are not the model's, or the data set is split otherwise
            than it was for the training.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ValueError(f'the config has no {split}_dataloader')
    dataset = DATASETS.build(loader.dataset)
    metainfo = getattr(dataset, 'metainfo', {})
    here = origin_of(dataset)
    if is_other_split(origin, here):
        splits = f'split_id {here["split_id"][:12]}, the checkpoint says {origin["split_id"][:12]}'
        raise ValueError(
            f'{here["dataset_name"]} is split otherwise than it was for the training ({splits}): the pictures may have been '
            'trained on'
        )
    check_class_names(metainfo.get('classes'), model.class_names, 'the data set', 'the checkpoint')
    labels = np.asarray(dataset.get_gt_labels())
    indices = even_choice(np.arange(len(labels)), labels, max_pictures)
    model = model.to('cuda' if torch.cuda.is_available() else 'cpu')
    sizes = dict(batch_size=loader.get('batch_size', 1), num_workers=loader.get('num_workers', 0))
    found = []
    for batch in DataLoader(Subset(dataset, indices.tolist()), collate_fn=default_collate, **sizes):
        pictures = model.data_preprocessor(batch, False)['inputs']
        logits, features = model.branch_logits(pictures, wanted=TestFeatures(cls=True), zero_shot=True)
        found.append([features.tuned[:, 0], features.zero_shot[:, 0], logits.fused, logits.tuned, logits.zero_shot])
    tuned, zero_shot, *logits = (torch.cat(parts).double().cpu().numpy() for parts in zip(*found))
    name, texts = metainfo.get('dataset_name', type(dataset).__name__), model.cached_class_features().double().cpu().numpy()
    features = dict(tuned=tuned, zero_shot=zero_shot, texts=texts, logits=dict(zip(('fused', 'tuned', 'zero_shot'), logits)))
    return HeldOut(name, len(labels), tuple(model.class_names), labels[indices], **features)


def even_choice(indices: np.ndarray, labels: np.ndarray, limit: int | None = None, seed: int = 0) -> np.ndarray:
    """Choose pictures ``(N,)``, equally many of each class as far as it has them, and sort them by class, then by index."""
    if limit is not None and len(indices) > limit:
        chosen = choose_pictures(indices, labels, limit, seed)
        indices, labels = indices[chosen], labels[chosen]
    return indices[np.lexsort((indices, labels))]
