"""In which precision a run computes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...models.computation.precision import STRICT, amp_dtype, check_float32_precision, set_float32_precision

if TYPE_CHECKING:
    from mmengine.runner import Runner

# What cuBLAS needs to add in the same order every time (its documentation, "Results reproducibility").
_WORKSPACE = ('CUBLAS_WORKSPACE_CONFIG', ':4096:8')


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Set in which precision a run computes on a GPU, before it computes anything there.

    - Products of float32 numbers are whole or rounded to TF32, as ``float32_precision`` says.
    - Mixed precision of validation and test (``fp16=True`` of their loops, ``tools/test.py --amp``) casts to what
      training's does: ``optim_wrapper.dtype``, by default bfloat16 where the GPU has it. mmengine's own loops take float16
      on every GPU.
    - With ``randomness.deterministic=True``, cuBLAS gets the workspace without which PyTorch refuses to multiply.

    Args:
        float32_precision (str): ``'strict'`` or ``'tf32'``, see :func:`set_float32_precision`.

    Raises:
        ValueError: If it is neither, or ``optim_wrapper.dtype`` is no type of mixed precision.
    """

    priority = 'HIGHEST'

    def __init__(self, float32_precision: str = STRICT):
        check_float32_precision(float32_precision)
        self.float32_precision = float32_precision

    def before_run(self, runner: Runner) -> None:
        """Set it for the process.

        Args:
            runner (Runner): With its config.
        """
        set_float32_precision(self.float32_precision)
        if get_device() == 'cuda':
            asked_for = (runner.cfg.get('optim_wrapper') or {}).get('dtype')
            torch.set_autocast_dtype('cuda', amp_dtype('cuda', asked_for))
        if torch.are_deterministic_algorithms_enabled():
            os.environ.setdefault(*_WORKSPACE)
