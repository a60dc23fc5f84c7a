import copy
import math

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

from mmpretrain_mps.models import PromptableViT
from mmpretrain_mps.models.adapters.low_rank import LowRankAttention, LowRankUpdates, updated_blocks
from mmpretrain_mps.models.backbones.value_path import cls_attention_row, project_qkv, run_block, value_projection

WIDTH, HEADS = 8, 2
TOKENS = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(2)).double()


def new_block():
    torch.manual_seed(0)
    block = ResidualAttentionBlock(WIDTH, HEADS).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block


def updated(block, dropout=0.0, **kwargs):
    """Attach updates that are not zero."""
    torch.manual_seed(1)
    updates = LowRankAttention(block.attn, dropout=dropout, **kwargs).double()
    for matrix in updates.B.values():
        torch.nn.init.normal_(matrix, std=0.3)
    return updates


def with_sums(block, updates):
    """The same block with W + s B A for weights, written out; gradients flow to A and B."""
    parts = [block.attn.in_proj_weight[index * WIDTH : (index + 1) * WIDTH] for index in range(3)]
    weights = dict(zip('qkv', parts), o=block.attn.out_proj.weight)
    for part in updates.parts:
        weights[part] = weights[part] + updates.scale * updates.B[part] @ updates.A[part]
    return {'attn.in_proj_weight': torch.cat([weights[part] for part in 'qkv']), 'attn.out_proj.weight': weights['o']}


@pytest.mark.parametrize('parts', ['qkv', 'q', 'k', 'v', 'o', 'qkvo'])
@pytest.mark.parametrize('cls_only', [False, True], ids=['all tokens', 'cls'])
def test_a_block_equals_one_with_summed_weights_in_outputs_and_gradients(parts, cls_only):
    block = new_block()
    updates = updated(block, parts=tuple(parts), rank=3, alpha=2.0)
    ours = run_block(block, TOKENS, cls_only=cls_only)
    theirs = torch.func.functional_call(copy.deepcopy(block), with_sums(block, updates), (TOKENS,))
    theirs = theirs[:, :1] if cls_only else theirs
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(x.pow(3).sum(), list(updates.parameters())) for x in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients[0])


def test_the_value_path_and_the_attention_row_see_the_updates():
    block = new_block()
    updates = updated(block)
    row, values = cls_attention_row(block, TOKENS), value_projection(block, TOKENS)
    updates.merge()
    torch.testing.assert_close(cls_attention_row(block, TOKENS), row)
    torch.testing.assert_close(value_projection(block, TOKENS), values)
    updates.unmerge()
    with updates.disabled():
        assert not torch.allclose(value_projection(block, TOKENS), values)


@pytest.mark.parametrize('scaling, scale', [('sqrt', 3 / math.sqrt(2)), ('rank', 1.5)])
def test_the_scale_is_alpha_over_the_root_of_the_rank_or_over_the_rank(scaling, scale):
    block = new_block()
    updates = updated(block, parts=('k',), rank=2, alpha=3.0, scaling=scaling)
    frozen = [part.clone() for part in block.attn.in_proj_weight.chunk(3)]
    queries, keys, values = project_qkv(block.attn, TOKENS)
    biases = block.attn.in_proj_bias.chunk(3)
    expected = TOKENS @ (frozen[1] + scale * updates.B['k'] @ updates.A['k']).T + biases[1]
    torch.testing.assert_close(keys, expected)
    torch.testing.assert_close(queries, TOKENS @ frozen[0].T + biases[0])
    torch.testing.assert_close(values, TOKENS @ frozen[2].T + biases[2])


def test_updates_start_at_zero_with_A_uniform():
    block = new_block()
    before = run_block(block, TOKENS)
    torch.manual_seed(3)
    updates = LowRankAttention(block.attn, rank=4).double()
    assert torch.equal(run_block(block, TOKENS), before)
    numbers = torch.cat([matrix.flatten() for matrix in updates.A.values()]).detach()
    bound = 1 / math.sqrt(WIDTH)
    assert numbers.abs().max() <= bound and numbers.abs().max() > 0.9 * bound
    assert abs(numbers.std() - bound / math.sqrt(3)) < 0.1 * bound


def test_dropout_drops_inputs_of_the_update_alone_anew_for_each_projection():
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    updates = LowRankAttention(attention, rank=WIDTH, alpha=math.sqrt(WIDTH), dropout=0.25).double()
    with torch.no_grad():
        for part in 'qkv':  # the update passes its input on
            updates.A[part].copy_(torch.eye(WIDTH))
            updates.B[part].copy_(torch.eye(WIDTH))
    inputs = torch.ones(500, 4, WIDTH).double()
    frozen = [
        inputs @ weight.T + bias for weight, bias in zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3))
    ]
    masks = [projected - plain for projected, plain in zip(project_qkv(attention, inputs), frozen)]
    for mask in masks:
        kept = mask > 0.5
        torch.testing.assert_close(mask, kept.double() / 0.75)
        assert abs(kept.double().mean() - 0.75) < 0.015  # 16,000 draws: 4 standard deviations
        assert abs(kept.double().mean((0, 1)) - 0.75).max() < 0.04
    together = (masks[0] > 0.5) & (masks[1] > 0.5)
    assert abs(together.double().mean() - 0.75**2) < 0.016
    updates.eval()
    for projected, plain in zip(project_qkv(attention, inputs), frozen):
        torch.testing.assert_close(projected - plain, inputs)


@pytest.mark.parametrize('cls_only', [False, True], ids=['all tokens', 'cls'])
def test_gradients_with_given_masks_are_those_of_the_definition(cls_only):
    block = new_block()
    updates = updated(block)
    generator = torch.Generator().manual_seed(6)
    masks = {part: torch.rand(2, 5, WIDTH, generator=generator).ge(0.25) / 0.75 for part in 'qkv'}
    updates.drop = lambda part, inputs: inputs * (masks[part] if inputs.ndim == 3 else masks[part][:, 0])
    ours = run_block(block, TOKENS, cls_only=cls_only)
    normed = block.ln_1(TOKENS)
    q, k, v = (
        normed @ weight.T + bias + updates.scale * (masks[part] * normed) @ updates.A[part].T @ updates.B[part].T
        for part, weight, bias in zip('qkv', block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3))
    )
    q, k, v = (x.view(2, 5, HEADS, -1).transpose(1, 2) for x in (q, k, v))
    attended = (q @ k.mT / math.sqrt(WIDTH // HEADS)).softmax(-1) @ v
    states = TOKENS + block.attn.out_proj(attended.transpose(1, 2).flatten(2))
    theirs = states + block.mlp(block.ln_2(states))
    theirs = theirs[:, :1] if cls_only else theirs
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(x.pow(3).sum(), list(updates.parameters())) for x in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


def test_merged_updates_give_the_same_and_come_apart_to_the_last_bit():
    block = new_block().float()
    updates = updated(block, parts=tuple('qkvo')).float().eval()
    frozen = copy.deepcopy(block.attn.state_dict())
    tokens = TOKENS.float()
    apart = run_block(block, tokens)
    updates.merge()
    updates.merge()  # no second time
    assert updates.merged
    expected = frozen['in_proj_weight'][:WIDTH] + updates.scale * updates.B['q'] @ updates.A['q']
    torch.testing.assert_close(block.attn.in_proj_weight[:WIDTH], expected)
    torch.testing.assert_close(run_block(block, tokens), apart, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(block(tokens), apart, rtol=1e-5, atol=1e-5)
    with updates.disabled():
        assert all(torch.equal(value, frozen[name]) for name, value in block.attn.state_dict().items())
        off = run_block(block, tokens)
    assert updates.merged and not torch.allclose(off, apart)
    updates.unmerge()
    updates.unmerge()
    assert all(torch.equal(value, frozen[name]) for name, value in block.attn.state_dict().items())
    assert torch.equal(run_block(block, tokens), apart)


def test_training_takes_merged_updates_apart():
    block = new_block()
    updates = updated(block).eval()
    updates.merge()
    updates.train()
    assert not updates.merged
    run_block(block, TOKENS).sum().backward()
    assert updates.B['v'].grad.abs().sum() > 0


def test_loading_takes_merged_updates_apart():
    block, other = new_block(), new_block()
    updates, source = updated(block).eval(), updated(other).eval()
    torch.nn.init.normal_(source.B['v'])
    updates.merge()
    updates.load_state_dict(source.state_dict())
    assert not updates.merged
    torch.testing.assert_close(run_block(block, TOKENS), run_block(other, TOKENS))


def test_updates_are_owned_by_their_own_module_alone():
    visual = VisionTransformer(image_size=16, patch_size=8, width=16, layers=4, heads=2, mlp_ratio=4.0, output_dim=8)
    backbone = PromptableViT(visual)
    names = set(backbone.state_dict())
    updates = LowRankUpdates(backbone.all_blocks(), position='half-up', rank=2)
    assert set(backbone.state_dict()) == names
    assert set(updates.state_dict()) == {
        f'blocks.{block}.{matrix}.{part}' for block in (2, 3) for matrix in 'AB' for part in 'qkv'
    }
    assert all(parameter.requires_grad for parameter in updates.parameters())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert sum(parameter.numel() for parameter in updates.parameters()) == 2 * 3 * 2 * 2 * 16


def test_all_updates_merge_come_apart_and_switch_off_together():
    visual = VisionTransformer(image_size=16, patch_size=8, width=16, layers=3, heads=2, mlp_ratio=4.0, output_dim=8)
    backbone, images = PromptableViT(visual), torch.randn(2, 3, 16, 16)
    plain = backbone(images).cls
    updates = LowRankUpdates(backbone.all_blocks()).eval()
    for parameter in updates.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tuned = backbone(images).cls
    updates.merge()
    assert updates.merged
    torch.testing.assert_close(backbone(images).cls, tuned, rtol=1e-3, atol=1e-4)
    with updates.disabled():
        assert torch.equal(backbone(images).cls, plain)
    updates.unmerge()
    assert torch.equal(backbone(images).cls, tuned) and not torch.allclose(tuned, plain, atol=1e-3)


def test_a_copy_of_a_model_has_updates_of_its_own():
    model = torch.nn.ModuleDict(dict(block=new_block()))
    model['updates'] = updated(model['block'])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin['updates'].B['v'].zero_()
    assert twin['block'].attn.low_rank is twin['updates']
    assert not torch.allclose(run_block(twin['block'], TOKENS), run_block(model['block'], TOKENS))


@pytest.mark.parametrize(
    'depth, position, expected',
    [
        (12, 'all', range(12)),
        (12, 'bottom', range(4)),
        (12, 'mid', range(4, 8)),
        (12, 'up', range(8, 12)),
        (12, 'half-bottom', range(6)),
        (12, 'half-up', range(6, 12)),
        (12, 'top3', range(9, 12)),
        (24, 'mid', range(8, 16)),
        (24, 'top3', range(21, 24)),
        (4, 'bottom', range(2)),
        (4, 'up', range(3, 4)),
        (5, 'half-bottom', range(3)),
        (5, 'half-up', range(3, 5)),
        (1, 'all', range(1)),
        (3, 'top3', range(3)),
    ],
)
def test_positions_name_parts_of_any_depth(depth, position, expected):
    assert updated_blocks(depth, position) == expected


@pytest.mark.parametrize('depth, position', [(2, 'top3'), (2, 'up'), (1, 'half-up'), (2, 'mid')])
def test_positions_that_a_shallow_transformer_lacks_are_refused(depth, position):
    with pytest.raises(ValueError, match=f'{position}.*has {depth} blocks'):
        updated_blocks(depth, position)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(parts=()), 'got \\(\\)'),
        (dict(parts=('q', 'x')), "'x'"),
        (dict(parts=('q', 'q')), 'once'),
        (dict(rank=0), 'rank.*is 0'),
        (dict(rank=1.5), 'rank.*is 1.5'),
        (dict(dropout=1.0), r'\[0, 1\), but is 1.0'),
        (dict(scaling='root'), "'root'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LowRankAttention(new_block().attn, **settings)


def test_unknown_positions_and_second_updates_are_refused():
    with pytest.raises(ValueError, match="'top2'"):
        updated_blocks(12, 'top2')
    block = new_block()
    updated(block)
    with pytest.raises(ValueError, match='already'):
        LowRankAttention(block.attn)


def test_a_compiled_graph_notices_what_is_merged_or_switched_off():
    visual = VisionTransformer(image_size=16, patch_size=8, width=16, layers=2, heads=2, mlp_ratio=4.0, output_dim=8)
    backbone, images = PromptableViT(visual), torch.randn(2, 3, 16, 16)
    plain = backbone(images).cls
    updates = LowRankUpdates(backbone.all_blocks()).eval()
    for parameter in updates.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tuned = backbone(images).cls
    compiled = torch.compile(backbone, backend='eager')
    exact = dict(rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled(images).cls, tuned, **exact)
    updates.merge()
    torch.testing.assert_close(compiled(images).cls, tuned, **exact)
    with updates.disabled():
        torch.testing.assert_close(compiled(images).cls, plain, **exact)
    updates.unmerge()
    torch.testing.assert_close(compiled(images).cls, tuned, **exact)
    with updates.disabled():
        torch.testing.assert_close(compiled(images).cls, plain, **exact)
