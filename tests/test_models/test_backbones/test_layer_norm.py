import pytest
import torch
from open_clip.transformer import LayerNorm, LayerNormFp32
from recorded_operators import RecordOperators
from torch import nn

from mmpretrain_mps.models.backbones.layer_norm import normalize


@pytest.fixture(params=[LayerNorm, nn.LayerNorm])
def norm(request):
    norm = request.param(16)
    nn.init.normal_(norm.weight, 1, 0.1)
    nn.init.normal_(norm.bias, 0, 0.1)
    return norm


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_without_autocast_it_is_the_module(norm, dtype):
    tokens = torch.randn(3, 5, 16, dtype=dtype)
    assert torch.equal(normalize(norm.to(dtype), tokens), norm(tokens))


def test_half_precision_is_read_and_written_under_autocast_and_differs_by_rounding(norm):
    # Far from zero, where statistics in half precision would be off by a tenth.
    tokens = 30 + torch.randn(3, 5, 16)
    expected = norm(tokens.bfloat16().float())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = normalize(norm, tokens.bfloat16())
        found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-6, atol=2**-6)
    gradients = [norm.weight.grad.clone(), norm.bias.grad.clone()]
    norm.zero_grad()
    expected.square().sum().backward()
    torch.testing.assert_close(gradients, [norm.weight.grad, norm.bias.grad], rtol=0.05, atol=0.3)


def test_no_activation_is_copied_to_float32_and_back(norm):
    tokens = torch.randn(7, 16).bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16), RecordOperators() as recorded:
        normalize(norm, tokens)
    assert recorded.names == ['_to_copy', '_to_copy', 'native_layer_norm']  # of the weights


def test_norms_of_another_meaning_run_as_they_are():
    norm, tokens = LayerNormFp32(16), torch.randn(4, 16).half()
    assert torch.equal(normalize(norm, tokens), norm(tokens))
