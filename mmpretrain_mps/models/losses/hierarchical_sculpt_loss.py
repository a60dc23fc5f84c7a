"""Hierarchical manifold sculpting: contrastive separation at the output and at intermediate layers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from .schedules import CosineValue


def sculpt_loss(
    features: torch.Tensor, labels: torch.Tensor, text: torch.Tensor | None = None, temperature: float = 0.07
) -> torch.Tensor:
    r"""Supervised contrastive loss of images against images and class texts.

    .. math:: L = \frac{1}{2N} \sum_q \frac{-1}{|P_q|} \sum_{s \in P_q}
        \log \frac{\exp(\langle q, s\rangle / t)}{\sum_{s' \neq q} \exp(\langle q, s'\rangle / t)}

    Queries are the images of all views, support items all other images and all texts; positives share the class. Texts
    are never queries. A query without positives adds zero but counts in the mean. Time and memory are linear in the
    number of classes: the positive text of a query is looked up, and of queries by classes there is one matrix, and its
    gradient.

    Args:
        features (Tensor): Image features ``(V, B, D)``.
        labels (Tensor): Class of each picture ``(B,)``, int64, an index into ``text``.
        text (Tensor, optional): One feature per class, ``(C, D)``, used as given.
        temperature (float): :math:`t`, unitless.

    Returns:
        Tensor: Scalar, float32.
    """
    return sculpt_losses([features], labels, text, [temperature])[0]


def sculpt_losses(
    layers: Sequence[torch.Tensor], labels: torch.Tensor, text: torch.Tensor | None, temperatures: Sequence[float]
) -> torch.Tensor:
    """Compute :func:`sculpt_loss` of several layers at once: the same operators on larger tensors, whatever their number.

    Args:
        layers (Sequence[Tensor]): Image features ``(V, B, D)`` of each.
        labels (Tensor): Class of each picture ``(B,)``, int64.
        text (Tensor | None): One feature per class, ``(C, D)``.
        temperatures (Sequence[float]): Of each layer.

    Returns:
        Tensor: One loss per layer, float32.
    """
    with torch.autocast(labels.device.type, enabled=False):
        labels = labels.repeat(len(layers[0]))
        queries = torch.stack([features.flatten(0, 1) for features in layers]).float()
        # Divided before the products: these are the large matrices.
        scaled = torch.stack([features / temperature for features, temperature in zip(queries.unbind(), temperatures)])
        to_images = scaled @ queries.mT
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positives = (labels[:, None] == labels[None]) & ~itself
        positive_sum = (to_images * positives).sum(-1)
        num_positives = positives.sum(1)
        # A finite fill: rows without any other item then have zero gradients instead of undefined ones.
        log_denominator = to_images.masked_fill(itself, torch.finfo(torch.float32).min / 2).logsumexp(-1)
        if text is not None:
            text = text.float()
            positive_sum = positive_sum + (scaled * text[labels]).sum(-1)
            num_positives = num_positives + 1
            log_denominator = torch.logaddexp(log_denominator, (scaled @ text.mT).logsumexp(-1))
        # Without positives the numerator is zero, so the clamp makes the term zero instead of 0 / 0.
        log_likelihood = positive_sum - num_positives * log_denominator
        return -(log_likelihood / num_positives.clamp(min=1)).mean(-1)


@MODELS.register_module()
class HierarchicalSculptLoss(BaseModule):
    r"""Hierarchical manifold sculpting (HMS) over the output and intermediate layers.

    .. math:: L = \lambda_2 \sum_l w_l\, L_{sculpt}(U^{(l)}; t\, f_l)

    `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_, Section 3.3. Layer 0 is the output; layer ``i > 0`` is
    the pseudo-forward that starts ``i`` blocks before the end. The paper has the output and the second-to-last layer
    and unit-norm texts; the released code has one layer more, at half the weight and twice the temperature, and leaves
    the texts at their own norm (``normalize_text=False``).

    Args:
        loss_weight (float): :math:`\lambda_2`, unitless.
        layer_weights (Sequence[float]): :math:`w_l`, the output first; 0 switches a layer off.
        temperature (float | dict): :math:`t`, or ``dict(start=..., end=...)`` annealed by a cosine over the epochs.
        temperature_factors (Sequence[float], optional): :math:`f_l`. Defaults to 1 for every layer.
        normalize_text (bool): Whether texts are scaled to unit norm first.

    Raises:
        ValueError: If weights are negative, a temperature is not positive, or the lengths differ.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        layer_weights: Sequence[float] = (1.0, 1.0),
        temperature: float | dict[str, float] = 0.07,
        temperature_factors: Sequence[float] | None = None,
        normalize_text: bool = True,
    ):
        super().__init__()
        factors = (1.0,) * len(layer_weights) if temperature_factors is None else tuple(temperature_factors)
        if len(factors) != len(layer_weights) or not layer_weights:
            raise ValueError(
                'layer_weights and temperature_factors need one value per layer, but have '
                f'{len(layer_weights)} and {len(factors)}'
            )
        if min(loss_weight, *layer_weights) < 0 or min(factors) <= 0:
            raise ValueError(
                'HierarchicalSculptLoss needs weights >= 0 and factors > 0, but got '
                f'{loss_weight=}, {layer_weights=}, temperature_factors={factors}'
            )
        self.loss_weight = loss_weight
        self.layer_weights, self.temperature_factors = tuple(layer_weights), factors
        self.normalize_text = normalize_text
        self.schedule = CosineValue.of(temperature)
        if min(self.schedule) <= 0:
            raise ValueError(f'temperatures must be above 0, but got {temperature!r}')
        self.temperature = self.schedule.start

    @property
    def active(self) -> bool:
        """bool: Whether any layer counts."""
        return self.loss_weight > 0 and any(weight > 0 for weight in self.layer_weights)

    @property
    def intermediate_starts(self) -> tuple[int, ...]:
        """tuple[int, ...]: Where the pseudo-forward starts, in blocks before the end, for the layers that count."""
        if not self.active:
            return ()
        return tuple(layer for layer, weight in enumerate(self.layer_weights) if layer and weight > 0)

    def set_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set the temperature of an epoch.

        Args:
            epoch (int): Current epoch, from 0.
            max_epochs (int): Epochs of the whole training.
        """
        self.temperature = self.schedule.at(epoch, max_epochs)

    def forward(
        self, output: torch.Tensor, intermediate: Sequence[torch.Tensor], labels: torch.Tensor, text: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted sum over the layers.

        Args:
            output (Tensor): Unit-norm [CLS] features of the output layer ``(V, B, D)``.
            intermediate (Sequence[Tensor]): The same of each layer of :attr:`intermediate_starts`.
            labels (Tensor): Classes ``(B,)``.
            text (Tensor): Class prototypes ``(C, D)``.

        Returns:
            dict[str, Tensor]: ``loss_sculpt_layer<l>`` for each layer that counts, weighted scalars, float32; ``l``
            is the distance from the output in blocks.

        Raises:
            ValueError: If the number of intermediate features is not the number of layers that count.
        """
        starts = self.intermediate_starts
        if len(intermediate) != len(starts):
            raise ValueError(f'this loss uses intermediate layers {starts}, but got {len(intermediate)} features')
        if self.normalize_text:
            text = F.normalize(text.float(), dim=-1)
        layers = list(zip(starts, intermediate))
        if self.layer_weights[0] > 0:
            layers.insert(0, (0, output))
        if not layers:
            return {}
        numbers, features = zip(*layers)
        found = sculpt_losses(features, labels, text, [self.temperature * self.temperature_factors[n] for n in numbers])
        return {
            f'loss_sculpt_layer{number}': self.loss_weight * self.layer_weights[number] * loss
            for number, loss in zip(numbers, found.unbind())
        }
