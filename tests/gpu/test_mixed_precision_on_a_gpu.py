"""Mixed precision on a GPU: in which type, with which scale, in training and testing alike."""

import pytest
import torch
from mmengine.config import Config
from tiny_digits import write_config

from mmpretrain_mps.engine import DeviceAmpOptimWrapper
from mmpretrain_mps.engine.command_line import build_runner, with_mixed_precision
from mmpretrain_mps.models.backbones import dual_branch_vit

BEST = 'bfloat16' if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) else 'float16'


@pytest.mark.parametrize('dtype', [None, 'float16', 'bfloat16'])
@pytest.mark.parametrize('fused', [False, True])
def test_float16_is_scaled_and_bfloat16_is_not(device, dtype, fused):
    model = torch.nn.Linear(4, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, fused=fused)
    # The default scale of 65536 overflows in the first steps, which are left out then.
    wrapper = DeviceAmpOptimWrapper(dtype=dtype, optimizer=optimizer, loss_scale=1024.0)
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4, device=device))
    assert output.dtype == getattr(torch, dtype or BEST)
    assert wrapper.loss_scaler.is_enabled() == ((dtype or BEST) == 'float16')
    wrapper.update_params(output.float().sum())
    # The gradient of the sum of 3 outputs is 3 for every weight: no loss scale is left in it.
    assert torch.equal(model.weight, before - 0.5 * 3)


@pytest.mark.parametrize('dtype', [None, 'float16'])
def test_validation_casts_to_what_training_casts_to(device, tmp_path, monkeypatch, dtype):
    seen = []
    embed_patches = dual_branch_vit.embed_patches

    def noted(*arguments):
        tokens = embed_patches(*arguments)
        seen.append(tokens.dtype if torch.is_autocast_enabled('cuda') else None)
        return tokens

    monkeypatch.setattr(dual_branch_vit, 'embed_patches', noted)
    cfg = Config.fromfile(write_config(tmp_path, epochs=1, more="train_dataloader['persistent_workers'] = False"))
    with_mixed_precision(cfg)
    if dtype:
        cfg.optim_wrapper.dtype = dtype
    cfg.val_cfg.fp16, cfg.work_dir, cfg.launcher = True, str(tmp_path / 'run'), 'none'
    build_runner(cfg, ('train_dataloader', 'val_dataloader')).train()
    # 16 steps of 10 pictures, and the validation; the norm of the stem gives back what the convolution was cast to.
    assert len(seen) > 16 and set(seen) == {getattr(torch, dtype or BEST)}
