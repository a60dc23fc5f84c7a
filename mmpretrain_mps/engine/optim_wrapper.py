"""Optimizer wrappers: mixed precision on any device, and only the parameters that are trained."""

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

from ..models.computation.precision import amp_dtype
from .sharding import shard_optimizer_state


@OPTIM_WRAPPERS.register_module()
class DeviceAmpOptimWrapper(AmpOptimWrapper):
    """Automatic mixed precision on a GPU and on the CPU; mmengine's wrapper refuses to run without a GPU.

    Args:
        dtype (str | None): 'float16' or 'bfloat16'; by default bfloat16 where the device has it, else float16, see
            :func:`amp_dtype`. The CPU has no float16 autocast.
        loss_scale (str | float | dict): Initial loss scale, as in mmengine's ``AmpOptimWrapper``. Used for float16
            alone: bfloat16 has the exponents of float32 and needs none. A step asks on the host whether a gradient was
            infinite, and waits for the GPU, unless the optimizer is told on the device, as SGD with ``fused=True`` is.
        **kwargs: Of mmengine's ``OptimWrapper``.

    Raises:
        ValueError: If the device cannot autocast to ``dtype``, or either argument is unknown.
    """

    def __init__(self, dtype: str | None = None, loss_scale: str | float | dict[str, Any] = 'dynamic', **kwargs: Any):
        # Past AmpOptimWrapper.__init__, whose first statement asserts that there is a GPU.
        OptimWrapper.__init__(self, **kwargs)
        device = get_device()
        self.cast_dtype = amp_dtype(device, dtype)
        if device == 'cpu' and self.cast_dtype is torch.float16:
            raise ValueError("dtype='float16' needs a GPU; the CPU runs mixed precision in 'bfloat16'")
        self._scale_update_param = loss_scale if isinstance(loss_scale, float) else None
        self.loss_scaler = torch.amp.GradScaler(device, enabled=self.cast_dtype is torch.float16, **_scaler_arguments(loss_scale))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimizer and the loss scale.

        Args:
            state_dict (dict): From this class on any device, or from a plain ``OptimWrapper``. A state without loss
                scale (saved on the CPU) leaves the scale at its start.
        """
        state_dict = dict(state_dict)
        if not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)


def _scaler_arguments(loss_scale):
    if loss_scale == 'dynamic':
        return {}
    if isinstance(loss_scale, float):
        return dict(init_scale=loss_scale)
    if isinstance(loss_scale, dict):
        return dict(loss_scale)
    raise ValueError(f"loss_scale is {loss_scale!r}, expected 'dynamic', a float or a dict")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build the optimizer over the parameters that require a gradient; mmengine's default takes all of them.

    Frozen parameters in an optimizer are harmless to the result, but they are kept alive (a text tower that is released
    after the prototypes are computed would stay in memory) and fill the checkpoint's list of parameters.
    """

    def __call__(self, model):
        """Build the wrapper.

        Args:
            model (nn.Module): With some parameters frozen.

        Returns:
            OptimWrapper: Over the others.

        Raises:
            ValueError: If nothing is trainable.
        """
        wrapper = super().__call__(model)
        groups = wrapper.optimizer.param_groups
        for group in groups:
            group['params'] = [parameter for parameter in group['params'] if parameter.requires_grad]
        groups[:] = [group for group in groups if group['params']]
        if not groups:
            raise ValueError(f'{type(model).__name__} has no parameter that requires a gradient; nothing can be tuned')
        shard_optimizer_state(wrapper.optimizer)
        return wrapper
