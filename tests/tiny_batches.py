"""Pictures with labels for tests of classifiers, and training steps of one process or of one among several."""

import torch
from mmpretrain.structures import DataSample

LABELS = (0, 1, 1, 2, 0, 2)
PICTURES = torch.randn(len(LABELS), 3, 16, 16, generator=torch.Generator().manual_seed(4))


def samples(labels=LABELS):
    return [DataSample().set_gt_label(label) for label in labels]


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def gradients(model, views=(PICTURES,), labels=LABELS):
    """Run one step backwards; return the total and the gradients by name."""
    model.zero_grad()
    loss = total(model(list(views), samples(labels), mode='loss'))
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def averaged_gradients(rank, num_ranks, build, *arguments):
    """The gradients of a batch dealt out to processes, averaged as a data-parallel wrapper does."""
    model = build(*arguments)
    share = slice(rank * len(LABELS) // num_ranks, (rank + 1) * len(LABELS) // num_ranks)
    loss, own = gradients(model, [PICTURES[share]], LABELS[share])
    for gradient in own.values():
        torch.distributed.all_reduce(gradient)
        gradient /= num_ranks
    return dict(own, loss=loss)
