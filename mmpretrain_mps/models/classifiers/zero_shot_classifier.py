"""CLIP as it is: what every method starts from and is compared with."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from .clip_classifier import CLIPClassifier, cls_features
from .test_features import NO_FEATURES


@MODELS.register_module()
class ZeroShotClassifier(CLIPClassifier):
    r"""Zero-shot CLIP: the class whose text is nearest to the picture.

    .. math:: \ell_c = s \cos(z, t_c)

    `Learning Transferable Visual Models From Natural Language Supervision <https://arxiv.org/abs/2103.00020>`_, Section
    3.1. Nothing is trained, so that it is tested without a checkpoint. Its three kinds of logits are the same.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        class_names (Sequence[str], optional): Readable names, index = label.
        templates (Sequence[str], optional): Prompt templates; they take precedence over the data set's.
        **kwargs: Others of :class:`CLIPClassifier`.
    """

    method = 'zero_shot'

    def __init__(self, architecture, pretrained, class_names=None, templates=None, **kwargs):
        super().__init__(architecture, pretrained, templates=templates, **kwargs)
        if class_names is not None:
            self.set_classes(class_names, templates)

    def picture_features(self, images):
        """Return the unit-norm [CLS] features ``(B, D)``."""
        return F.normalize(self.backbone(images).cls, dim=-1)

    def loss(self, views, data_samples):
        """Refuse to be trained."""
        raise ValueError('ZeroShotClassifier has nothing to train: test it, without a checkpoint')

    @torch.no_grad()
    def branch_logits(self, images, data_samples=None, wanted=NO_FEATURES, zero_shot=True):
        """Compute the logits of the frozen model; see :meth:`CLIPClassifier.branch_logits`."""
        self.refuse_layers(wanted)
        features = self.zero_shot_features(images, data_samples)
        logits = self.cosine_logits(features, self.unit_prototypes())
        return self.head.branches(logits, logits), cls_features(features, features)
