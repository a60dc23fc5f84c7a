import pytest
import torch

from mmpretrain_mps.models.adapters.bottleneck_adapter import BottleneckAdapter


def hand_made(final_relu):
    """Return an adapter of four dimensions with a bottleneck of two."""
    adapter = BottleneckAdapter(4, reduction=2, final_relu=final_relu)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0]]))
        adapter.up.weight.copy_(torch.tensor([[2.0, 0], [-1, 0], [0, 5], [0, 0]]))
    return adapter


@pytest.mark.parametrize('final_relu, second', [(True, 0.0), (False, -3.0)])
def test_both_forms_computed_by_hand(final_relu, second):
    adapter, features = hand_made(final_relu), torch.tensor([[3.0, 4, 0, 12]])
    # The bottleneck is relu(3, -4) = (3, 0).
    assert adapter(features).tolist() == [[6.0, second, 0.0, 0.0]]
    blend = 0.2 * torch.tensor([6.0, second, 0, 0]) + 0.8 * features[0]
    torch.testing.assert_close(adapter.blend(features, 0.2)[0], blend / blend.norm())


def test_it_has_no_biases_and_a_quarter_of_the_dimensions():
    shapes = {name: tuple(value.shape) for name, value in BottleneckAdapter(512).named_parameters()}
    assert shapes == {'down.weight': (128, 512), 'up.weight': (512, 128)}


def test_both_ends_of_the_ratio():
    adapter, features = hand_made(True), torch.tensor([[3.0, 4, 0, 12]])
    torch.testing.assert_close(adapter.blend(features, 0.0), features / 13)
    torch.testing.assert_close(adapter.blend(features, 1.0), torch.tensor([[1.0, 0, 0, 0]]))


@pytest.mark.parametrize('reduction', [0, 5])
def test_a_bottleneck_without_dimensions_is_refused(reduction):
    with pytest.raises(ValueError, match=f'between 1 and the 4 dimensions, but is {reduction}'):
        BottleneckAdapter(4, reduction)
