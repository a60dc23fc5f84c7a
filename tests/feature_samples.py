"""Predictions with features, as an evaluator hands them to metrics."""

import torch
import torch.nn.functional as F


def random_features(*shape, seed=0):
    """Unit-norm features."""
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_samples(tuned, zero_shot, labels, local=(1.0,), layers=None):
    """Predictions of ``N`` pictures; their local distances are 0.01, 0.02, ..."""
    samples = [
        dict(
            sample_idx=index,
            gt_label=torch.tensor([int(label)]),
            tuned_features=u,
            zero_shot_features=z,
            local_gram_distances=dict.fromkeys(local, 0.01 * (index + 1)),
        )
        for index, (u, z, label) in enumerate(zip(tuned, zero_shot, labels))
    ]
    for index, sample in enumerate(samples if layers else ()):
        sample.update(tuned_layers=layers[0][index], zero_shot_layers=layers[1][index])
    return samples


def evaluate(metric, samples, batch_size=7):
    """Run a metric over predictions."""
    for start in range(0, len(samples), batch_size):
        metric.process(None, samples[start : start + batch_size])
    return metric.evaluate(len(samples))
