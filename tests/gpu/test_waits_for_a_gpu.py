"""What makes the host wait for the device; PyTorch's own debug mode turns each wait into an error or a warning."""

import contextlib
import warnings

import pytest
import torch
from mmengine.optim import OptimWrapper
from tiny_digits import write_config
from tiny_steps import build_shaken, pictures

from mmpretrain_mps.engine import DeviceAmpOptimWrapper


@contextlib.contextmanager
def no_waits():
    """Raise RuntimeError where the host waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def train_step(model, wrapper):
    """Return a function that runs one step as a training does: pinned bytes, labels on the host."""
    data = next(pictures(0, 8))
    data['inputs'] = [view.pin_memory() for view in data['inputs']]
    return lambda: model.train_step(data, wrapper)


def test_the_debug_mode_finds_a_wait(device):
    number = torch.ones(1, device=device)
    with no_waits(), pytest.raises(RuntimeError, match='synchroniz'):
        number.item()


@pytest.mark.parametrize('dtype, fused', [(None, False), ('bfloat16', False), ('bfloat16', True), ('float16', True)])
def test_a_training_step_does_not_wait(device, tiny_clip, dtype, fused):
    model = build_shaken(tiny_clip).to(device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, fused=fused)
    wrapper = DeviceAmpOptimWrapper(dtype=dtype, optimizer=optimizer) if dtype else OptimWrapper(optimizer)
    step = train_step(model, wrapper)
    step()  # libraries are set up in the first one
    with no_waits():
        step()


def test_the_loss_scaler_of_float16_waits_without_the_fused_optimizer(device, tiny_clip):
    model = build_shaken(tiny_clip).to(device)
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)
    step = train_step(model, DeviceAmpOptimWrapper(dtype='float16', optimizer=optimizer))
    step()
    with no_waits(), pytest.raises(RuntimeError, match='synchroniz'):
        step()


def test_in_a_training_steps_wait_where_they_write_a_line_of_the_log_or_end_an_epoch_and_nowhere_else(device, tmp_path):
    from mmengine.config import Config

    from mmpretrain_mps.engine.command_line import build_runner

    more = "train_dataloader['persistent_workers'] = False"
    cfg = Config.fromfile(write_config(tmp_path, epochs=2, more=more))
    cfg.work_dir, cfg.launcher = str(tmp_path / 'run'), 'none'
    cfg.default_hooks.logger.interval = 6
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = build_runner(cfg, ('train_dataloader',))
    loop, found = runner.train_loop, []
    run_iter = loop.run_iter

    def watched(index, batch):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            torch.cuda.set_sync_debug_mode('warn')
            try:
                run_iter(index, batch)
            finally:
                torch.cuda.set_sync_debug_mode('default')
        if any('called a synchronizing' in str(warning.message) for warning in caught):
            found.append((loop.epoch, index))

    loop.run_iter = watched
    runner.train()
    # 16 pictures of 10 classes in steps of 10: the lines are those of steps 6 and 12; after the last step of an epoch the losses
    # since are looked at, whether they are finite. The first step sets libraries up.
    steps = len(loop.dataloader)
    assert steps == 16
    assert set(found) - {(0, 0)} == {(epoch, index) for epoch in (0, 1) for index in (5, 11, 15)}
