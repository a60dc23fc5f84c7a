import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, VisionTransformer

from mmpretrain_mps.models import DualBranchViT, PromptableViT
from mmpretrain_mps.models.adapters.low_rank import LowRankUpdates
from mmpretrain_mps.models.backbones import promptable_vit

WIDTH, PATCHES, BLOCKS, HEADS = 16, 4, 6, 2
PICTURES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(4)).double()


def tower(**overrides):
    """A tower with noise in its biases and norms, too, whose start values would hide mistakes."""
    config = dict(
        image_size=16, patch_size=8, width=WIDTH, layers=BLOCKS, heads=HEADS, mlp_ratio=4.0, output_dim=8, act_layer=QuickGELU
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        visual = VisionTransformer(**{**config, **overrides}).eval().double()
        with torch.no_grad():
            for parameter in visual.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return visual


def prompts_of(depth, number=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(number, WIDTH, generator=generator).double().requires_grad_() for _ in range(depth)]


def reference(visual, images, prompts, hidden=0):
    """All tokens, as the methods write it down, through open_clip's own blocks."""
    patches = visual.conv1(images).flatten(2).mT
    first = visual.class_embedding.expand(len(images), 1, -1)
    states = torch.cat([first, patches], 1) + visual.positional_embedding
    states = visual.ln_pre(torch.cat([states, *(vectors.expand(len(images), -1, -1) for vectors in prompts[:1])], 1))
    mask = torch.zeros(states.shape[1], states.shape[1], dtype=states.dtype)
    mask[1 : 1 + PATCHES, 1 + PATCHES : 1 + PATCHES + hidden] = -torch.inf
    for index, block in enumerate(visual.transformer.resblocks):
        if 0 < index < len(prompts):
            states = torch.stack([torch.cat([row[: 1 + PATCHES], prompts[index]]) for row in states])
        states = block(states, attn_mask=mask)
    return visual.ln_post(states) @ visual.proj


@pytest.mark.parametrize('depth', [0, 1, 4, BLOCKS])
@pytest.mark.parametrize('tokens', [False, True], ids=['cls', 'tokens'])
def test_features_and_gradients_are_those_of_open_clips_blocks(depth, tokens):
    backbone, prompts = PromptableViT(tower()), prompts_of(depth)
    features = backbone(PICTURES, prompts, tokens=tokens)
    expected = reference(backbone.zero_shot, PICTURES, prompts)
    torch.testing.assert_close(features.cls, expected[:, 0], rtol=1e-10, atol=1e-10)
    if tokens:
        torch.testing.assert_close(features.tokens, expected, rtol=1e-10, atol=1e-10)
    if prompts:
        ours, theirs = (
            torch.autograd.grad(x.pow(3).sum(), prompts)
            for x in ((features.tokens, expected) if tokens else (features.cls, expected[:, 0]))
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('hidden', [1, 2, 3])
@pytest.mark.parametrize('tokens', [False, True], ids=['cls', 'tokens'])
def test_patches_do_not_attend_to_hidden_prompts(hidden, tokens):
    backbone, prompts = PromptableViT(tower()), prompts_of(3)
    features = backbone(PICTURES, prompts, hidden_from_patches=hidden, tokens=tokens)
    expected = reference(backbone.zero_shot, PICTURES, prompts, hidden)
    torch.testing.assert_close(features.cls, expected[:, 0], rtol=1e-10, atol=1e-10)
    if tokens:
        torch.testing.assert_close(features.tokens, expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(features.cls, backbone(PICTURES, prompts).cls, atol=1e-4)


def test_hidden_prompts_reach_patches_through_nothing_in_the_first_block():
    backbone, prompts = PromptableViT(tower(layers=1)), prompts_of(1)
    patches = backbone(PICTURES, prompts, hidden_from_patches=3, tokens=True).tokens[:, 1 : 1 + PATCHES]
    alone = backbone(PICTURES, tokens=True).tokens[:, 1:]
    torch.testing.assert_close(patches, alone, rtol=1e-10, atol=1e-10)


def test_without_prompts_the_features_are_those_of_the_dual_branch_to_the_last_bit():
    images = PICTURES.float()
    frozen = DualBranchViT(tower().float())(images).zero_shot[:, 0]
    backbone = PromptableViT(tower().float())
    assert torch.equal(F.normalize(backbone(images).cls, dim=-1), frozen)
    torch.testing.assert_close(backbone(images).cls, tower().float()(images), rtol=1e-4, atol=1e-5)


def test_asked_for_or_not_more_features_leave_cls_what_it_is():
    backbone, prompts = PromptableViT(tower()), prompts_of(2)
    plain = backbone(PICTURES, prompts)
    full = backbone(PICTURES, prompts, tokens=True, attention=True)
    assert plain.tokens is None and plain.attention is None
    torch.testing.assert_close(plain.cls, full.cls, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(full.cls, full.tokens[:, 0])


@pytest.mark.parametrize('depth', [0, 2])
def test_the_attention_of_cls_is_that_of_torchs_module(depth):
    backbone, prompts = PromptableViT(tower()), prompts_of(depth)
    seen = []
    block = backbone.zero_shot.transformer.resblocks[-1]
    block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    reference(backbone.zero_shot, PICTURES, prompts)
    normed = block.ln_1(seen[0])
    _, weights = block.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)
    for tokens in (False, True):
        row = backbone(PICTURES, prompts, tokens=tokens, attention=True).attention
        torch.testing.assert_close(row, weights[:, 0], rtol=1e-10, atol=1e-12)
    assert row.shape == (3, 1 + PATCHES + 3 * bool(depth))


def test_the_last_block_computes_cls_alone_unless_all_tokens_are_wanted(monkeypatch):
    backbone, prompts = PromptableViT(tower()), prompts_of(2)
    shapes, project = [], promptable_vit.project
    monkeypatch.setattr(
        promptable_vit, 'project', lambda tokens, *weights: shapes.append(tokens.shape[1]) or project(tokens, *weights)
    )
    backbone(PICTURES, prompts)
    backbone(PICTURES, prompts, attention=True)
    backbone(PICTURES, prompts, tokens=True)
    assert shapes == [1, 1, 1 + PATCHES + 3]


def test_nothing_is_recorded_unless_something_is_trained():
    backbone = PromptableViT(tower())
    assert not backbone(PICTURES.clone().requires_grad_()).cls.requires_grad
    assert not backbone(PICTURES, [vectors.detach() for vectors in prompts_of(2)]).cls.requires_grad
    assert backbone(PICTURES, prompts_of(2)).cls.requires_grad
    with torch.no_grad():
        assert not backbone(PICTURES, prompts_of(2)).cls.requires_grad
    LowRankUpdates(backbone.all_blocks(), position='top3').double()
    assert backbone(PICTURES).cls.requires_grad
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_checkpointing_changes_no_gradient_also_where_inputs_are_dropped_at_random():
    gradients = []
    for checkpointing in (False, True):
        backbone, prompts = PromptableViT(tower(), checkpointing=checkpointing), prompts_of(2)
        torch.manual_seed(5)
        updates = LowRankUpdates(backbone.all_blocks(), dropout=0.5).double()
        for block in updates.blocks.values():
            for up in block.B.values():
                torch.nn.init.normal_(up)
        backbone(PICTURES, prompts).cls.sum().backward()
        gradients.append([vectors.grad for vectors in (*prompts, *updates.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_the_tower_stays_in_evaluation_mode_and_frozen():
    backbone = PromptableViT(tower()).train()
    assert backbone.training and not backbone.zero_shot.training
    assert backbone.embed_dims == 8 and backbone.width == WIDTH and len(backbone.all_blocks()) == BLOCKS
    backbone(PICTURES, prompts_of(1)).cls.sum().backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize(
    'prompts, hidden, message',
    [
        ([torch.zeros(2, WIDTH)] * 7, 0, 'has 6 blocks, but prompts for 7'),
        ([torch.zeros(2, 5)], 0, r'\(number, 16\).*\[\(2, 5\)\]'),
        ([torch.zeros(2, WIDTH), torch.zeros(3, WIDTH)], 0, 'one shape'),
        ([torch.zeros(1, 2, WIDTH)], 0, 'one shape'),
        ([torch.zeros(2, WIDTH)], 3, 'hidden_from_patches=3.*2 prompt vectors'),
        ([], 1, 'hidden_from_patches=1.*0 prompt vectors'),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompts, hidden, message):
    with pytest.raises(ValueError, match=message):
        PromptableViT(tower())(PICTURES, prompts, hidden_from_patches=hidden)


def test_a_residual_network_is_refused_by_name():
    with torch.device('meta'):
        visual = open_clip.CLIP(**open_clip.get_model_config('RN50')).visual
    with pytest.raises(ValueError, match='ViT-B-16.*ModifiedResNet'):
        PromptableViT(visual)


@pytest.mark.parametrize('depth, hidden', [(0, 0), (3, 0), (3, 2)])
def test_the_states_between_blocks_are_those_that_features_come_from(depth, hidden):
    backbone, prompts = PromptableViT(tower()), prompts_of(depth)
    visual = backbone.zero_shot
    first, *outputs = backbone.block_outputs(PICTURES, prompts, hidden)
    assert first.shape == (3, 1 + PATCHES + 3 * bool(depth), WIDTH) and len(outputs) == BLOCKS
    expected = backbone(PICTURES, prompts, hidden_from_patches=hidden, tokens=True).tokens
    torch.testing.assert_close(visual.ln_post(outputs[-1]) @ visual.proj, expected, rtol=1e-10, atol=1e-10)
    if not depth:
        torch.testing.assert_close(outputs[0], visual.transformer.resblocks[0](visual._embeds(PICTURES)))
