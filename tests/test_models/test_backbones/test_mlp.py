import pytest
import torch
from open_clip.transformer import LayerNormFp32, QuickGELU, ResidualAttentionBlock
from torch import nn

from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.backbones.mlp import add_mlp

VARIANTS = {
    'quick_gelu': dict(act_layer=QuickGELU),
    'gelu': dict(),
    'tanh_gelu': dict(act_layer=lambda: nn.GELU('tanh')),
    'layer_scale': dict(act_layer=QuickGELU, ls_init_value=0.3),
    'fp32_norm': dict(norm_layer=LayerNormFp32),
}


def build(variant, width=8):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(width, 2, **VARIANTS[variant])
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return block


def plain(block, tokens):
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def tokens_of_a_batch():
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[False, True], ids=['mkl', 'onednn'], autouse=True)
def library(request):
    with force_onednn(request.param):
        yield


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('frozen', [False, True], ids=['tuned', 'frozen'])
def test_outputs_and_all_gradients_are_those_of_the_modules(variant, frozen):
    block = build(variant).requires_grad_(not frozen)
    results = []
    for run in (add_mlp, plain):
        block.zero_grad()
        tokens = tokens_of_a_batch().requires_grad_()
        outputs = run(block, tokens)
        (outputs * torch.arange(8)).sum().backward()
        gradients = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
        results.append(dict(gradients, outputs=outputs, tokens=tokens.grad))
        assert bool(gradients) != frozen
    torch.testing.assert_close(*results, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('variant', VARIANTS)
def test_without_gradients_the_input_stays_as_it_is(variant):
    block, tokens = build(variant), tokens_of_a_batch()
    with torch.no_grad():
        torch.testing.assert_close(add_mlp(block, tokens), plain(block, tokens), rtol=1e-5, atol=1e-6)
    assert torch.equal(tokens, tokens_of_a_batch())


@pytest.mark.parametrize('variant', ['quick_gelu', 'gelu'])
def test_under_autocast_types_and_gradients_are_those_of_the_modules(variant):
    block, results = build(variant), []
    for run in (add_mlp, plain):
        block.zero_grad()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            outputs = run(block, tokens_of_a_batch().bfloat16())
        outputs.float().square().sum().backward()
        results.append([outputs, *(p.grad.clone() for p in block.parameters() if p.grad is not None)])
    assert results[0][0].dtype == torch.bfloat16
    for ours, theirs in zip(*results):
        assert (ours - theirs).abs().max() <= 0.03 * theirs.abs().max()


def test_one_hidden_tensor_is_kept_instead_of_three():
    block, shapes = build('quick_gelu'), []

    def keep(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        add_mlp(block, tokens_of_a_batch())
    assert sum(shape[-1] == 32 and len(shape) == 3 for shape in shapes) == 1
