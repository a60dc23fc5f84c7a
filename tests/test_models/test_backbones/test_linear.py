import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.backbones import linear as library
from mmpretrain_mps.models.backbones.linear import force_onednn, linear


def operands(*shape, bias=True):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(*shape, 6, generator=generator)
    weight = torch.randn(4, 6, generator=generator)
    return inputs, weight, torch.randn(4, generator=generator) if bias else None


@pytest.mark.parametrize('shape', [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize('bias', [True, False])
def test_both_libraries_give_one_result_and_one_gradient(shape, bias):
    results = []
    for use in (True, False):
        tensors = [None if tensor is None else tensor.requires_grad_() for tensor in operands(*shape, bias=bias)]
        with force_onednn(use):
            outputs = linear(*tensors)
        (outputs * torch.arange(4)).sum().backward()
        results.append([outputs] + [tensor.grad for tensor in tensors if tensor is not None])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_gradients_are_computed_for_what_needs_them_alone():
    inputs, weight, bias = operands(5)
    with force_onednn(True):
        linear(inputs.requires_grad_(), weight, bias).sum().backward()
        assert inputs.grad is not None and weight.grad is None
        outputs = linear(inputs.detach(), weight.requires_grad_(), bias)
    outputs.sum().backward()
    torch.testing.assert_close(weight.grad, inputs.detach().sum(0).expand(4, 6))


def test_a_transposed_weight_is_taken_as_it_is():
    inputs, weight, _ = operands(5)
    with force_onednn(True):
        torch.testing.assert_close(linear(inputs, weight.t().contiguous().t()), inputs @ weight.t())


@pytest.mark.parametrize('situation', ['half precision', 'autocast'])
def test_what_is_not_float32_goes_the_usual_way(situation, monkeypatch):
    monkeypatch.setattr(library, 'multiply', lambda *_: pytest.fail('went through oneDNN'))
    inputs, weight, bias = operands(5)
    with force_onednn(True):
        if situation == 'autocast':
            with torch.autocast('cpu', dtype=torch.bfloat16):
                assert linear(inputs, weight, bias).dtype == torch.bfloat16
        else:
            assert linear(inputs.half(), weight.half(), bias.half()).dtype == torch.float16


def test_the_choice_follows_the_processor(monkeypatch):
    for capability, expected_library in (('AVX2', False), ('DEFAULT', False)):
        library.prefers_onednn.cache_clear()
        monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda value=capability: value)
        assert library.prefers_onednn() is expected_library
    library.prefers_onednn.cache_clear()


def test_a_forced_choice_ends_with_its_statement():
    with force_onednn(True):
        with force_onednn(False):
            assert not library.applies_to(*operands(5)[:2])
        assert library.applies_to(*operands(5)[:2])
    assert library._forced is None


def test_an_empty_batch_has_an_empty_result():
    with force_onednn(True):
        assert linear(torch.zeros(0, 6), torch.ones(4, 6)).shape == F.linear(torch.zeros(0, 6), torch.ones(4, 6)).shape
