"""The linear probe on frozen features, the baseline of CLIP's own paper."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..heads.logits_fusion_head import BranchLogits
from .clip_classifier import CLIPClassifier, cls_features
from .description import read_description
from .test_features import NO_FEATURES

if TYPE_CHECKING:
    from mmpretrain.structures import DataSample

    from ..backbones.dual_branch_vit import BranchFeatures
    from ..utils.test_features import TestFeatures

OF_LOSSES = ('gram_loss', 'sculpt_loss', 'point_loss', 'gather')


def refuse_losses(names: Collection[str]) -> None:
    """Refuse arguments of :class:`MPSCLIPClassifier` that mean nothing to a linear probe.

    Args:
        names (Collection[str]): Names of the arguments.

    Raises:
        ValueError: If one of them is for losses.
    """
    unused = [name for name in OF_LOSSES if name in names]
    if unused:
        raise ValueError(
            f'LinearProbeClassifier is not trained by losses, but got {", ".join(unused)}; leave it '
            'out, with _delete_=True where the config inherits it'
        )


@MODELS.register_module()
class LinearProbeClassifier(CLIPClassifier):
    r"""Logistic regression on the unit-norm [CLS] features :math:`z` of the frozen model.

    .. math:: \ell_{tuned} = W z + b, \qquad \ell = \alpha\, \ell_{tuned} + (1 - \alpha)\, \ell_{zero-shot}

    `Learning Transferable Visual Models From Natural Language Supervision <https://arxiv.org/abs/2103.00020>`_, Section
    3.2. :class:`LinearProbeLoop` fits it. The probe stands in the place of the tuned branch in predictions, metrics and
    tables; the zero-shot branch is CLIP's. ``W`` starts at zero, without the knowledge in the class names.

    It predicts the classes that it was fitted to, or some of them; never others.

    Args:
        architecture (str): As in :class:`CLIPClassifier`.
        pretrained (str | None): As in :class:`CLIPClassifier`.
        head (dict): Config of the fusion head; its ``alpha`` is 1, the probe alone, by default.
        class_names (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        templates (Sequence[str], optional): As in :class:`MPSCLIPClassifier`.
        **kwargs: Others of :class:`CLIPClassifier`, except what is for losses.

    Attributes:
        fit_of (dict | None): Settings and number of pictures of the fit; None before it.

    Raises:
        ValueError: If a loss is given, or ``gather``.
    """

    method = 'linear_probe'

    def __init__(
        self,
        architecture: str,
        pretrained: str | None,
        head: dict[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        refuse_losses(kwargs)
        super().__init__(architecture, pretrained, head={'alpha': 1.0, **(head or {})}, templates=templates, **kwargs)
        self.fit_of = None
        # Parameters, and such that require a gradient, since a Runner that trains builds an optimizer; it never steps.
        self.register_class_parameter('probe_weight', torch.zeros(0, self.backbone.embed_dims))
        self.register_class_parameter('probe_bias', torch.zeros(0))
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def bound_to_classes(self) -> bool:
        """bool: Whether it has been fitted."""
        return self.fit_of is not None

    def picture_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm [CLS] features that the probe reads, ``(B, D)``."""
        return F.normalize(self.backbone(images).cls, dim=-1)

    def plain_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the probe; see :meth:`CLIPClassifier.plain_layer`."""
        return self.probe_weight.detach(), self.probe_bias.detach()

    def loss(self, views: Any, data_samples: Any) -> dict[str, torch.Tensor]:
        """Refuse to be trained step by step."""
        raise ValueError("a linear probe has no loss to descend; set train_cfg=dict(type='LinearProbeLoop')")

    def fit(self, features: torch.Tensor, labels: torch.Tensor, C: float, max_iter: int) -> int:
        r"""Fit the probe by scikit-learn's ``LogisticRegression`` (L-BFGS, multinomial, float64).

        It minimises :math:`C \sum_n CE(W z_n + b, y_n) + \|W\|^2 / 2`.

        Args:
            features (Tensor): Unit-norm features ``(N, D)``.
            labels (Tensor): Classes ``(N,)``, int64.
            C (float): Inverse strength of the penalty.
            max_iter (int): Bound of the iterations.

        Returns:
            int: Iterations that were used.

        Raises:
            ValueError: If a class has no picture.
        """
        # Takes a second to import, and only this needs it.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        absent = sorted(set(range(len(self.class_names))) - set(labels.tolist()))
        if absent:
            raise ValueError(
                f'{len(absent)} of {len(self.class_names)} classes have no picture to fit the probe to, '
                f'label {absent[0]} ({self.class_names[absent[0]]!r}) first; expected one at least'
            )
        with warnings.catch_warnings():  # the iterations tell whoever called
            warnings.simplefilter('ignore', ConvergenceWarning)
            regression = LogisticRegression(C=C, max_iter=max_iter)
            regression.fit(features.double().cpu().numpy(), labels.cpu().numpy())
        weight, bias = regression.coef_, regression.intercept_
        if len(weight) == 1:  # of two classes scikit-learn keeps the difference
            weight, bias = (np.concatenate([np.zeros_like(values), values]) for values in (weight, bias))
        # Contiguous, as it is once loaded: products of scikit-learn's column-wise order round otherwise.
        self.probe_weight.data = torch.from_numpy(weight).to(self.probe_weight).contiguous()
        self.probe_bias.data = torch.from_numpy(bias).to(self.probe_bias)
        self.fit_of = dict(C=C, max_iter=max_iter, pictures=len(labels))
        return int(regression.n_iter_.max())

    def branch_logits(
        self,
        images: torch.Tensor,
        data_samples: Sequence[DataSample] | None = None,
        wanted: TestFeatures = NO_FEATURES,
        zero_shot: bool = True,
    ) -> tuple[BranchLogits, BranchFeatures]:
        """Compute the logits of the probe and of the frozen model; see :meth:`CLIPClassifier.branch_logits`."""
        if self.fit_of is None:
            raise ValueError('the linear probe has not been fitted: train with LinearProbeLoop, or load a checkpoint')
        self.refuse_layers(wanted)
        features = self.picture_features(images)
        with torch.autocast(features.device.type, enabled=False):
            probed = F.linear(features, self.probe_weight, self.probe_bias)
        zero_shot_logits = self.cosine_logits(features, self.unit_prototypes())
        logits = BranchLogits(self.head.fuse(probed, zero_shot_logits), probed, zero_shot_logits)
        return logits, cls_features(features, features)

    def describe(self) -> dict[str, Any]:
        """Describe the model, what it was built on and how it was fitted."""
        return dict(super().describe(), fit_of=self.fit_of)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Take over class names, templates and the settings of the fit from a checkpoint."""
        super().set_extra_state(state)
        self.fit_of = read_description(state)['fit_of']
