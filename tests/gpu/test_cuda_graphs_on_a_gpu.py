"""Predictions and training steps that are replayed as CUDA graphs."""

import pytest
import torch
from tiny_clip import NAMES, shake
from tiny_steps import build_shaken, pictures
from torch.profiler import ProfilerActivity, profile

from mmpretrain_mps.models import MPSCLIPClassifier


def build(architecture, device, **options):
    return shake(MPSCLIPClassifier(architecture, None, class_names=NAMES, **options)).to(device).eval()


def launches(function):
    """Count the calls that start work on the GPU."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        function()
        torch.cuda.synchronize()
    return sum('LaunchKernel' in event.name or 'GraphLaunch' in event.name for event in found.events())


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_a_replayed_prediction_has_the_models_logits_and_few_launches(device, tiny_clip, dtype):
    models = [build(tiny_clip, device, cuda_graph=graph) for graph in (True, False)]
    with torch.no_grad(), torch.autocast('cuda', dtype, enabled=dtype is not None):
        for seed in range(3):
            pictures = torch.randn(4, 3, 16, 16, device=device, generator=torch.Generator(device).manual_seed(seed))
            ours, theirs = (model(pictures, mode='tensor') for model in models)
            torch.testing.assert_close(ours, theirs, rtol=1e-5 if dtype is None else 2e-2, atol=1e-5 if dtype is None else 2e-2)
        counts = [launches(lambda model=model: model(pictures, mode='tensor')) for model in models]
    assert counts[0] < counts[1] / 3, counts


def test_weights_that_change_are_captured_anew(device, tiny_clip):
    models = [build(tiny_clip, device, cuda_graph=graph) for graph in (True, False)]
    pictures = torch.randn(4, 3, 16, 16, device=device)
    with torch.no_grad():
        for _ in range(2):
            ours, theirs = (model(pictures, mode='tensor') for model in models)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
            for model in models:
                model.backbone.zero_shot.conv1.weight.mul_(1.5)


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_replayed_training_steps_have_the_models_gradients_and_few_launches(device, tiny_clip, dtype):
    models = [build_shaken(tiny_clip, cuda_graph=graph).to(device) for graph in ('training', False)]
    found = []
    for model in models:
        optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)
        losses = []
        for data in pictures(0, 8):
            batch = model.data_preprocessor(data, True)
            with torch.autocast('cuda', dtype, enabled=dtype is not None):
                total = sum(value for name, value in model(**batch, mode='loss').items() if 'loss' in name)
            total.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total.detach())

        def step(model=model, batch=batch):
            with torch.autocast('cuda', dtype, enabled=dtype is not None):
                sum(value for name, value in model(**batch, mode='loss').items() if 'loss' in name).backward()

        found.append((torch.stack(losses), launches(step)))
    tolerance = 1e-5 if dtype is None else 2e-2
    torch.testing.assert_close(found[0][0], found[1][0], rtol=tolerance, atol=tolerance)
    assert found[0][1] < found[1][1] / 2, [count for _, count in found]
