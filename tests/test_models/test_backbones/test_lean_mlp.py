from collections import OrderedDict

import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import nn

from mmpretrain_mps.models.backbones.lean_mlp import run_mlp


def build(activation, width=8):
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(
        c_fc=nn.Linear(width, 4 * width), gelu=activation, c_proj=nn.Linear(4 * width, width)))


ACTIVATIONS = pytest.mark.parametrize('activation', [QuickGELU(), nn.GELU(), nn.GELU(approximate='tanh')], ids=repr)


@ACTIVATIONS
@pytest.mark.parametrize('frozen', [False, True])
def test_outputs_and_all_gradients_are_those_of_the_modules(activation, frozen):
    mlp = build(activation).requires_grad_(not frozen)
    inputs = [torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    results = []
    for run, x in zip((run_mlp, nn.Module.__call__), inputs):
        mlp.zero_grad()
        outputs = run(mlp, x)
        (outputs * torch.arange(8)).sum().backward()
        results.append([outputs, x.grad, *(p.grad.clone() for p in mlp.parameters() if not frozen)])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    assert frozen == all(p.grad is None for p in mlp.parameters())


@ACTIVATIONS
def test_without_gradients_the_input_stays_as_it_is(activation):
    mlp, x = build(activation), torch.randn(5, 8)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(run_mlp(mlp, x), mlp(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)


@pytest.mark.parametrize('activation', [QuickGELU(), nn.GELU()], ids=repr)
def test_under_autocast_types_and_gradients_are_those_of_the_modules(activation):
    mlp, x = build(activation), torch.randn(5, 8)
    results = []
    for run in (run_mlp, nn.Module.__call__):
        mlp.zero_grad()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            outputs = run(mlp, x)
        outputs.float().square().sum().backward()
        results.append([outputs, *(p.grad.clone() for p in mlp.parameters())])
    assert results[0][0].dtype == torch.bfloat16
    torch.testing.assert_close(*results, rtol=3e-2, atol=3e-2)


def test_one_hidden_tensor_is_kept_instead_of_three():
    mlp, x, saved = build(QuickGELU()), torch.randn(5, 8), []

    def keep(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run_mlp(mlp, x)
    assert [tuple(tensor.shape) for tensor in saved].count((5, 32)) == 1
