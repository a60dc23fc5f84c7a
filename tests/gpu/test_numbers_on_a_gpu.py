"""Numbers on a GPU are those on the CPU."""

import pytest
import torch
from mmpretrain.structures import DataSample
from tiny_run import ROOT
from tiny_steps import build_shaken, pictures

from mmpretrain_mps.evaluation.parity import METHODS, compare
from mmpretrain_mps.models.computation.precision import float32_products

GOLDEN = ROOT / 'tests' / 'data' / 'golden.npz'


@pytest.fixture(autouse=True)
def strict():
    """Whole float32 products."""
    with float32_products('strict'):
        yield


@pytest.mark.parametrize('options', [{}, dict(backbone=dict(checkpointing=True))], ids=['plain', 'checkpointing'])
def test_every_recorded_number_of_the_released_trainer_is_reproduced(device, options):
    rows = list(compare(GOLDEN, options, device=device))
    assert len(rows) == 104
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize('method', [method for method in METHODS if method != 'mps'])
def test_every_recorded_number_of_the_other_methods_is_reproduced(device, method):
    rows = list(compare(ROOT / 'tests' / 'data' / 'methods' / f'{method}.npz', device=device))
    assert len(rows) >= 35
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize('precision, most', [('strict', 1e-5), ('tf32', 1e-2)])
def test_products_are_whole_or_rounded_as_asked(device, precision, most):
    left, right = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    with float32_products(precision):
        found = (left.to(device) @ right.to(device)).cpu()
    error = (found - left.double() @ right.double()).norm() / (left.double() @ right.double()).norm()
    assert 1e-3 * most < error < most


def losses_and_gradients(model, device, dtype=None):
    """Return the losses of a step and the gradients, on the CPU."""
    model = model.to(device)
    data = model.data_preprocessor(next(pictures(0, 8)), training=True)
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        losses = model(**data, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad])
    return {name: float(value) for name, value in losses.items()}, gradients.cpu()


def test_a_step_has_the_losses_and_gradients_of_the_cpu(device, tiny_clip):
    (here, there), gradients = zip(
        *(losses_and_gradients(build_shaken(tiny_clip), place) for place in (torch.device('cpu'), device))
    )
    assert there == pytest.approx(here, rel=1e-5, abs=1e-5)
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_a_step_in_bfloat16_has_them_to_its_rounding(device, tiny_clip):
    (_, full), (_, half) = (losses_and_gradients(build_shaken(tiny_clip), device, dtype) for dtype in (None, torch.bfloat16))
    assert 1e-4 * full.norm() < (half - full).norm() < 0.2 * full.norm()


@pytest.mark.parametrize('dtype', [None, torch.bfloat16], ids=['float32', 'bfloat16'])
def test_before_the_first_step_both_branches_are_equal_to_the_last_bit(device, tiny_clip, dtype):
    model = build_shaken(tiny_clip)
    with torch.no_grad():
        for parameter, frozen in model.backbone.frozen_counterparts().values():
            parameter.copy_(frozen)
    model = model.to(device)
    views = torch.randn(2, 4, 3, 16, 16, device=device)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 1, 2)]
    with torch.autocast('cuda', dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        features = model.backbone(views[0], patch_tokens=True)
        losses = model(list(views), samples, mode='loss')
    assert torch.equal(features.tuned, features.zero_shot)
    assert losses['loss_gram_local'] == losses['loss_gram_global'] == 0
