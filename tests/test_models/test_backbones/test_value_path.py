import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock

from mmpretrain_mps.models.backbones.value_path import pseudo_forward, run_block, value_projection


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    blocks = [ResidualAttentionBlock(8, 2) for _ in range(3)]
    for block in blocks:
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return blocks


def test_a_block_equals_open_clips_own_forward(blocks):
    tokens = torch.randn(2, 5, 8)
    torch.testing.assert_close(run_block(blocks[0], tokens), blocks[0](tokens), rtol=1e-5, atol=1e-5)


def test_the_value_path_equals_attention_over_a_single_token(blocks):
    token = torch.randn(4, 1, 8)
    torch.testing.assert_close(value_projection(blocks[0], token), blocks[0](token), rtol=1e-5, atol=1e-5)


def test_the_value_path_treats_tokens_independently(blocks):
    tokens = torch.randn(2, 5, 8)
    together = value_projection(blocks[0], tokens)
    torch.testing.assert_close(together[:, 3], value_projection(blocks[0], tokens[:, 3]))


def test_the_query_and_key_weights_get_no_gradient_from_the_value_path(blocks):
    value_projection(blocks[0], torch.randn(2, 8)).sum().backward()
    gradient = blocks[0].attn.in_proj_weight.grad
    assert gradient[:16].abs().sum() == 0
    assert gradient[16:].abs().sum() > 0


def test_shared_chains_equal_separate_ones(blocks):
    first, last = torch.randn(2, 8), torch.randn(2, 8)
    chains = pseudo_forward(blocks, {0: first, 2: last})
    expected = first
    for block in blocks:
        expected = value_projection(block, expected)
    torch.testing.assert_close(chains[0], expected)
    torch.testing.assert_close(chains[2], value_projection(blocks[2], last))


def test_without_a_start_nothing_is_run(blocks):
    def refuse(*_):
        raise AssertionError('a block was run')

    for block in blocks:
        block.ln_1.forward = refuse
    assert pseudo_forward(blocks, {}) == {}
