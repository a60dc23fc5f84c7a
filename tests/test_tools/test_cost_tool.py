"""What a step launches on a GPU, counted without one; and that it does not become more unnoticed."""

import sys

import pytest
import torch
import torch.nn.functional as F
from tiny_run import ROOT

TOOLS = ROOT / 'tools' / 'benchmark'
MODULES = ('cost', 'step', 'reference', 'flops', 'machine', 'operators')


@pytest.fixture(scope='module')
def cost():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        for name in MODULES:
            sys.modules.pop(name, None)
        import cost

        yield cost
    for name in MODULES:
        sys.modules.pop(name, None)


def counted(cost, function):
    return [(kernel.name, kernel.flops, kernel.bytes, kernel.group) for kernel in cost.kernels_of(function)]


def test_products_and_sums_are_counted_by_hand(cost):
    left, right, bias = torch.ones(8, 16), torch.ones(4, 16), torch.ones(4)
    # 8 x 4 sums of 16 products; three tensors of four bytes a number.
    assert counted(cost, lambda: left @ right.t()) == [('mm', 2 * 8 * 4 * 16, 4 * (8 * 16 + 4 * 16 + 8 * 4), 'matrix products')]
    product, addition = counted(cost, lambda: F.linear(left, right, bias) + bias)
    assert product == ('addmm', 2 * 8 * 4 * 16, 4 * (4 + 8 * 16 + 4 * 16 + 8 * 4), 'matrix products')
    assert addition == ('add', 0, 4 * (8 * 4 + 4 + 8 * 4), 'element-wise and sums')


def test_views_and_fresh_memory_are_no_kernels_and_an_expanded_tensor_lies_in_memory_once(cost):
    row, matrix = torch.ones(16), torch.ones(8, 16)
    assert (
        counted(
            cost,
            lambda: (
                matrix.t(),
                matrix.view(-1)[4:],
                torch.empty(7),
                torch.empty_like(row),
                matrix.detach().unflatten(1, (4, 4)).transpose(1, 2),
            ),
        )
        == []
    )
    ((name, _, size, group),) = counted(cost, lambda: row.expand(8, 16).clone())
    assert (name, size, group) == ('clone', 4 * (16 + 8 * 16), 'casts and copies')


def test_what_is_changed_in_place_is_read_and_written_also_in_lists(cost):
    first, second = torch.ones(10), torch.ones(20)
    ((name, _, size, _),) = counted(cost, lambda: first.mul_(2))
    assert (name, size) == ('mul_', 4 * (10 + 10))
    ((name, _, size, group),) = counted(cost, lambda: torch._foreach_add_([first, second], 1.0))
    assert (name, size, group) == ('_foreach_add_', 4 * (2 * 10 + 2 * 20), 'optimizer')


def test_the_backward_pass_is_counted_too(cost):
    left, right = torch.ones(8, 16, requires_grad=True), torch.ones(16, 4, requires_grad=True)
    products = [
        kernel
        for kernel in cost.kernels_of(lambda: torch.autograd.grad((left @ right).sum(), [left, right]))
        if kernel.group == 'matrix products'
    ]
    assert [kernel.flops for kernel in products] == 3 * [2 * 8 * 4 * 16]


def test_layer_norms_go_to_float32_and_back_as_on_a_gpu(cost):
    tokens, norm = torch.ones(4, 16, dtype=torch.bfloat16), torch.nn.LayerNorm(16)

    def run():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            norm(tokens).to(torch.bfloat16)

    assert [kernel.name for kernel in cost.kernels_of(run)] == ['_to_copy', 'native_layer_norm', '_to_copy']


def test_a_kernel_takes_the_longest_of_product_memory_and_start(cost):
    args = cost.parse_arguments(['--peak', '100', '--float32-peak', '10', '--bandwidth', '2'])
    kernel = cost.Kernel('mm', flops=10**12, bytes=10**9, half=True)
    assert kernel.seconds(args) == pytest.approx(0.01)
    assert kernel._replace(half=False).seconds(args) == pytest.approx(0.1)
    assert kernel._replace(bytes=10**11).seconds(args) == pytest.approx(0.05)
    assert kernel._replace(flops=1, bytes=1).seconds(args) == pytest.approx(2.5e-6)
    found = cost.summary([kernel, kernel, kernel._replace(name='add', flops=0)], args)
    assert (found['kernels'], found['tflop'], found['gigabytes']) == (3, 2.0, 3.0)
    assert found['least_ms'] == pytest.approx(20.5)
    assert list(found['groups']) == ['matrix products', 'element-wise and sums']


@pytest.mark.parametrize('flags', [['--batch', '0'], ['--bandwidth', '-1']])
def test_what_cannot_be_counted_with_is_refused(cost, capsys, flags):
    with pytest.raises(SystemExit):
        cost.parse_arguments(flags)
    assert f'{flags[0]} is {flags[1]}' in capsys.readouterr().err.replace('-1.0', '-1')


@pytest.fixture(scope='module')
def bench(cost):
    return cost.Bench(cost.step_arguments(['--batch', '32', '--dtype', 'bfloat16']))


# Of today, and a fiftieth for other versions of PyTorch. Whoever needs less lowers it.
@pytest.mark.parametrize('task, kernels, tflop, gigabytes', [('step', 880, 5.9, 30.2), ('predict', 326, 1.65, 7.3)])
def test_a_step_of_vit_b_16_launches_and_moves_no_more_than_it_did(cost, bench, task, kernels, tflop, gigabytes):
    found = cost.summary(cost.count(bench, task, 'ours'), cost.parse_arguments([]))
    assert found['kernels'] <= kernels and found['tflop'] <= tflop and found['gigabytes'] <= gigabytes
    assert sum(group['kernels'] for group in found['groups'].values()) == found['kernels']
    # As the counter of operations has it.
    assert found['tflop'] == pytest.approx(bench.count_flops(task, 'ours') / 1e12, rel=1e-3)
