import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer

from mmpretrain_mps.models import DualBranchViT
from mmpretrain_mps.models.backbones.dual_branch_vit import check_plain_vit


def tower(**overrides):
    torch.manual_seed(0)
    config = dict(image_size=16, patch_size=8, width=16, layers=6, heads=2, mlp_ratio=4.0, output_dim=8)
    return VisionTransformer(**{**config, **overrides}).eval()


def shaken(backbone, scale=0.1):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn_like(parameter)
    return backbone


@torch.no_grad()
def reference(backbone, images, trunk, adapted):
    """The tuned branch as the method is written down: one block after the other, through open_clip's own modules."""
    visual, tuned = backbone.zero_shot, backbone.tuned
    x = visual._embeds(images)
    states = []
    for index, block in enumerate(visual.transformer.resblocks):
        if index < trunk:
            x = block(x)
        elif index < trunk + adapted:
            x = block(x) + x @ tuned.adapters[index - trunk].weight.T
        else:
            states.append(x)
            x = tuned.blocks[index - trunk - adapted](x)
    pseudo = []
    for start in range(len(states)):
        y = states[start][:, 0]
        for block in list(tuned.blocks)[start:]:
            normed = block.ln_1(y)
            width = y.shape[-1]
            values = normed @ block.attn.in_proj_weight[2 * width :].T + block.attn.in_proj_bias[2 * width :]
            y = y + values @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
            y = y + block.mlp(block.ln_2(y))
        pseudo.append(F.normalize(tuned.ln_post(y) @ tuned.proj, dim=-1))
    return F.normalize(tuned.ln_post(x) @ tuned.proj, dim=-1), pseudo


@pytest.mark.parametrize('depths', [(2, 2, 2), (0, 3, 3), (3, 0, 3), (0, 0, 6), (5, 0, 1), (1, 4, 1)])
def test_features_equal_a_block_by_block_reference(depths):
    backbone = shaken(DualBranchViT(tower(), group_depths=depths))
    images = torch.randn(3, 3, 16, 16)
    starts = tuple(range(1, depths[2] + 1))
    features = backbone(images, patch_tokens=True, intermediate_starts=starts)
    tokens, pseudo = reference(backbone, images, depths[0], depths[1])
    torch.testing.assert_close(features.tuned, tokens, rtol=1e-5, atol=1e-6)
    for start, feature in zip(starts, features.intermediate):
        torch.testing.assert_close(feature, pseudo[depths[2] - start], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('adapters', [True, False])
@pytest.mark.parametrize('depths', [(0, 0, 12), (2, 4, 6), (6, 0, 6), (8, 0, 4)])
def test_other_partitions_of_twelve_blocks_equal_the_reference_too(depths, adapters):
    backbone = DualBranchViT(tower(layers=12), group_depths=depths, adapters=adapters)
    images = torch.randn(2, 3, 16, 16)
    start = backbone(images, patch_tokens=True)
    assert torch.equal(start.tuned, start.zero_shot)
    assert len(backbone.tuned.adapters) == (depths[1] if adapters else 0) and backbone.num_tuned_blocks == depths[2]
    features = shaken(backbone)(images, patch_tokens=True, intermediate_starts=(1, depths[2]))
    trunk, adapted = depths[:2] if adapters else (depths[0] + depths[1], 0)
    tokens, pseudo = reference(backbone, images, trunk, adapted)
    torch.testing.assert_close(features.tuned, tokens, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(features.intermediate, (pseudo[-1], pseudo[0]), rtol=1e-5, atol=2e-6)
    assert torch.equal(features.zero_shot, start.zero_shot)


# Full fine-tuning.


def all_tuned(**overrides):
    return DualBranchViT(tower(), group_depths=(0, 0, 6), tune_stem=True, **overrides)


def test_a_tuned_stem_starts_equal_and_is_open_clips_own_afterwards():
    backbone, images = all_tuned(), torch.randn(2, 3, 16, 16)
    start = backbone(images, patch_tokens=True)
    assert torch.equal(start.tuned, start.zero_shot)
    features = shaken(backbone)(images, patch_tokens=True)
    assert torch.equal(features.zero_shot, start.zero_shot)
    # A tower of open_clip with the tuned weights in every place must give the same features.
    visual, state = tower(), backbone.tuned.state_dict()
    visual.load_state_dict(
        {name.removeprefix('stem.').replace('blocks.', 'transformer.resblocks.'): value for name, value in state.items()}
    )
    with torch.no_grad():
        expected = F.normalize(visual(images), dim=-1)
    torch.testing.assert_close(features.tuned[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_with_a_tuned_stem_gradients_reach_a_copy_of_every_parameter_and_nothing_frozen():
    backbone = shaken(all_tuned())
    backbone(torch.randn(2, 3, 16, 16), patch_tokens=True).tuned.sum().backward()
    tuned, frozen = dict(backbone.tuned.named_parameters()), dict(backbone.zero_shot.named_parameters())
    assert len(tuned) == len(frozen)
    assert sum(p.numel() for p in tuned.values()) == sum(p.numel() for p in frozen.values())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tuned.values())
    assert all(not p.requires_grad and p.grad is None for p in frozen.values())
    groups = backbone.parameter_groups()
    assert sum(map(len, groups.values())) == len(list(backbone.parameters())) and len(groups['tuned']) == len(tuned)


def test_checkpointing_changes_no_gradient_of_a_tuned_stem():
    images, gradients = torch.randn(2, 3, 16, 16), []
    for checkpointing in (False, True):
        backbone = shaken(all_tuned(checkpointing=checkpointing))
        backbone(images, patch_tokens=True).tuned.square().sum(-1).sub(backbone(images).tuned[..., 0]).sum().backward()
        gradients.append([p.grad for p in backbone.tuned.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_the_frozen_stem_is_not_run_where_nothing_needs_it(monkeypatch):
    backbone = all_tuned()
    monkeypatch.setattr(backbone, '_run_trunk', lambda images: pytest.fail('the frozen stem was run'))
    assert backbone(torch.randn(2, 3, 16, 16), zero_shot=False).zero_shot is None


@pytest.mark.parametrize('depths', [None, (1, 0, 5), (0, 1, 5)])
def test_a_tuned_stem_before_frozen_blocks_is_refused(depths):
    with pytest.raises(ValueError, match=r'tune_stem needs group_depths=\(0, 0, 6\), all blocks tuned, but got'):
        DualBranchViT(tower(), group_depths=depths, tune_stem=True)


# Interpolation of weights.


@pytest.mark.parametrize('options', [dict(group_depths=(1, 3, 2)), dict(group_depths=(0, 0, 6), tune_stem=True)])
def test_weights_are_interpolated_for_a_while_and_come_back_to_the_last_bit(options):
    backbone = shaken(DualBranchViT(tower(), **options))
    images = torch.randn(2, 3, 16, 16)
    own = {name: value.clone() for name, value in backbone.tuned.state_dict().items()}
    frozen = dict(backbone.zero_shot.named_parameters())
    first_tuned = 6 - backbone.num_tuned_blocks
    with torch.no_grad(), backbone.interpolated(0.25):
        block, proj = backbone.tuned.blocks[1].mlp.c_fc.weight, backbone.tuned.proj
        expected = (
            0.75 * frozen[f'transformer.resblocks.{first_tuned + 1}.mlp.c_fc.weight'] + 0.25 * own['blocks.1.mlp.c_fc.weight']
        )
        torch.testing.assert_close(block, expected)
        torch.testing.assert_close(proj, 0.75 * frozen['proj'] + 0.25 * own['proj'])
        for index, adapter in enumerate(backbone.tuned.adapters):
            torch.testing.assert_close(adapter.weight, 0.25 * own[f'adapters.{index}.weight'])
        if backbone.tuned.stem is not None:
            torch.testing.assert_close(
                backbone.tuned.stem.conv1.weight, 0.75 * frozen['conv1.weight'] + 0.25 * own['stem.conv1.weight']
            )
    with torch.no_grad(), backbone.interpolated(0):
        features = backbone(images)
        assert torch.equal(features.tuned, features.zero_shot)
    with pytest.raises(RuntimeError), backbone.interpolated(0.5):
        raise RuntimeError
    with backbone.interpolated(1):
        assert all(torch.equal(value, own[name]) for name, value in backbone.tuned.state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in backbone.tuned.state_dict().items())


def test_the_zero_shot_branch_is_the_clip_model_itself():
    visual = tower()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = F.normalize(visual(images), dim=-1)
    backbone = shaken(DualBranchViT(visual))
    torch.testing.assert_close(backbone(images).zero_shot[:, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('adapters', [True, False])
def test_both_branches_are_equal_at_initialisation(adapters):
    backbone = DualBranchViT(tower(), adapters=adapters)
    features = backbone(torch.randn(2, 3, 16, 16), patch_tokens=True)
    assert torch.equal(features.tuned, features.zero_shot)


def test_cls_alone_equals_the_first_of_all_tokens():
    backbone = shaken(DualBranchViT(tower()))
    images = torch.randn(2, 3, 16, 16)
    whole, short = backbone(images, patch_tokens=True), backbone(images)
    assert short.tuned.shape == short.zero_shot.shape == (2, 1, 8)
    assert whole.tuned.shape == (2, 5, 8)
    torch.testing.assert_close(short.tuned, whole.tuned[:, :1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(short.zero_shot, whole.zero_shot[:, :1], rtol=1e-5, atol=1e-6)


def test_intermediate_features_come_in_the_order_asked_for():
    backbone = shaken(DualBranchViT(tower(), group_depths=(0, 3, 3)))
    images = torch.randn(2, 3, 16, 16)
    one, two = backbone(images, intermediate_starts=(1, 2)).intermediate
    again_two, again_one = backbone(images, intermediate_starts=(2, 1)).intermediate
    assert torch.equal(one, again_one) and torch.equal(two, again_two)
    assert not torch.allclose(one, two, atol=1e-3)


def test_layer_scale_is_part_of_blocks_and_value_path():
    visual = tower(ls_init_value=0.3)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = F.normalize(visual(images), dim=-1)
    backbone = DualBranchViT(visual)
    torch.testing.assert_close(backbone(images).tuned[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_trainable_parameters_and_no_other():
    backbone = shaken(DualBranchViT(tower()))
    features = backbone(torch.randn(2, 3, 16, 16), patch_tokens=True, intermediate_starts=(1, 2))
    (features.tuned.sum() + sum(layer.sum() for layer in features.intermediate)).backward()
    groups = backbone.parameter_groups()
    for name in ('adapters', 'tuned'):
        assert all(p.requires_grad and p.grad is not None and p.grad.abs().sum() > 0 for p in groups[name])
    for name in ('trunk', 'zero_shot'):
        assert all(not p.requires_grad and p.grad is None for p in groups[name])
    assert not features.zero_shot.requires_grad


def test_frozen_weights_stay_bit_identical_through_training():
    backbone = DualBranchViT(tower()).train()
    before = {name: value.clone() for name, value in backbone.zero_shot.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        backbone(torch.randn(2, 3, 16, 16)).tuned.sum().backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in backbone.zero_shot.state_dict().items())
    assert not torch.equal(backbone.tuned.proj, backbone.zero_shot.proj)


def test_the_frozen_part_stays_in_evaluation_mode():
    backbone = DualBranchViT(tower(patch_dropout=0.5)).train()
    assert not any(module.training for module in backbone.zero_shot.modules())
    assert backbone.tuned.training
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(backbone(images).tuned, backbone(images).tuned)


def test_parameters_are_partitioned():
    backbone = DualBranchViT(tower(), group_depths=(2, 2, 2))
    groups = backbone.parameter_groups()
    assert sum(map(len, groups.values())) == len(list(backbone.parameters()))
    assert len(groups['adapters']) == 2
    block = len(list(backbone.zero_shot.transformer.resblocks[0].parameters()))
    assert len(groups['trunk']) == 5 + 2 * block
    assert len(groups['tuned']) == 2 * block + 3


def test_vit_b_16_has_the_papers_number_of_trainable_parameters():
    config = open_clip.get_model_config('ViT-B-16')
    vision = config['vision_cfg']
    with torch.device('meta'):
        visual = VisionTransformer(
            vision['image_size'],
            vision['patch_size'],
            vision['width'],
            vision['layers'],
            vision['width'] // 64,
            4.0,
            output_dim=config['embed_dim'],
        )
        backbone = DualBranchViT(visual)
    trainable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    assert backbone.group_depths == (4, 4, 4)
    assert trainable == 4 * 768**2 + 4 * (12 * 768**2 + 13 * 768) + 2 * 768 + 768 * 512
    assert round(trainable / 1e6, 1) == 31.1


@pytest.mark.parametrize(
    'name, depths',
    [
        ('ViT-B-32', (4, 4, 4)),
        ('ViT-B-16', (4, 4, 4)),
        ('ViT-L-14', (8, 8, 8)),
        ('ViT-L-14-336', (8, 8, 8)),
        ('ViT-H-14', (12, 10, 10)),
    ],
)
def test_the_groups_scale_with_the_depth_of_open_clips_towers(name, depths):
    config = open_clip.get_model_config(name)
    with torch.device('meta'):
        model = open_clip.CLIP(**config)
    if name == 'ViT-H-14':
        assert sum(depths) == len(model.visual.transformer.resblocks)
    assert DualBranchViT(model.visual).group_depths == depths


@pytest.mark.parametrize(
    'overrides, found',
    [
        (dict(pool_type='avg'), "'avg'"),
        (dict(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2), 'attention'),
        (dict(final_ln_after_pool=True), 'final_ln_after_pool=True'),
        (dict(qk_norm=True), 'CustomResidualAttentionBlock'),
    ],
)
def test_other_vision_transformers_are_refused(overrides, found):
    with pytest.raises(ValueError, match='plain vision transformers of open_clip') as error:
        check_plain_vit(tower(**overrides))
    assert found in str(error.value)


def test_a_residual_network_is_refused_by_name():
    with torch.device('meta'):
        visual = open_clip.CLIP(**open_clip.get_model_config('RN50')).visual
    with pytest.raises(ValueError, match='ViT-B-16.*ModifiedResNet'):
        DualBranchViT(visual)


@pytest.mark.parametrize('depths', [(2, 2, 1), (2, 4, 0), (-1, 4, 3), (3, 3), (2, 2, 2.0)])
def test_depths_that_do_not_fit_are_refused(depths):
    with pytest.raises(ValueError, match='sum to the 6 blocks'):
        DualBranchViT(tower(), group_depths=depths)


def test_a_pseudo_forward_cannot_start_in_a_frozen_block():
    with pytest.raises(ValueError, match='1 to 2 blocks before the end'):
        DualBranchViT(tower())(torch.randn(1, 3, 16, 16), intermediate_starts=(3,))
