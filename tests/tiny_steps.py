"""The same few training steps for one process and for several."""

import torch
from mmpretrain.structures import DataSample

from mmpretrain_mps.models import MPSCLIPClassifier

STEPS = 5


def build_shaken(architecture, **overrides):
    config = dict(
        architecture=architecture,
        pretrained=None,
        class_names=('cat', 'dog', 'sparrow'),
        gram_loss=dict(),
        sculpt_loss=dict(layer_weights=(1.0, 0.5)),
    )
    model = MPSCLIPClassifier(**{**config, **overrides}).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def pictures(first, count):
    """Two views of 8 pictures per step, all steps from one generator; return those of one process."""
    generator = torch.Generator().manual_seed(1)
    views = torch.randint(0, 256, (STEPS, 2, 8, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (STEPS, 8), generator=generator)
    for step in range(STEPS):
        mine = slice(first, first + count)
        yield dict(
            inputs=list(views[step, :, mine]), data_samples=[DataSample().set_gt_label(label) for label in labels[step, mine]]
        )
