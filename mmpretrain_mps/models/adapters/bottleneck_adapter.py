"""The adapter of CLIP-Adapter: a bottleneck on frozen features."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn


class BottleneckAdapter(BaseModule):
    r"""Two linear layers without biases, and a blend with what goes in.

    .. math:: a = \mathrm{relu}(W_2\, \mathrm{relu}(W_0 v)), \qquad u = \mathrm{unit}(\rho\, a + (1 - \rho)\, v)

    `CLIP-Adapter <https://arxiv.org/abs/2110.04544>`_, Section 3.2. The features :math:`v` are not normalised, the
    blend is. The released code has the outer ReLU, the paper has not.

    Args:
        embed_dims (int): ``D``.
        reduction (int): The bottleneck has ``D // reduction`` dimensions.
        final_relu (bool): Whether the second layer is followed by a ReLU too, as in the released code.

    Raises:
        ValueError: If nothing would be left of the features.
    """

    def __init__(self, embed_dims: int, reduction: int = 4, final_relu: bool = True):
        super().__init__()
        if not 1 <= reduction <= embed_dims:
            raise ValueError(f'reduction must lie between 1 and the {embed_dims} dimensions, but is {reduction}')
        self.down = nn.Linear(embed_dims, embed_dims // reduction, bias=False)
        self.up = nn.Linear(embed_dims // reduction, embed_dims, bias=False)
        self.final_relu = final_relu

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Adapt un-normalised features ``(..., D)``, in float32 also under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            adapted = self.up(F.relu(self.down(features)))
            return F.relu(adapted) if self.final_relu else adapted

    def blend(self, features: torch.Tensor, ratio: float) -> torch.Tensor:
        """Return the unit-norm blend ``(..., D)`` of features with their adaptation, whose share is ``ratio``."""
        return F.normalize(ratio * self(features) + (1 - ratio) * features, dim=-1)
