"""In which precision a device computes: of float32 products on GPUs, and of mixed precision."""
import contextlib
from collections.abc import Iterator

import torch

STRICT, TF32 = 'strict', 'tf32'
FLOAT32_PRECISIONS = (STRICT, TF32)


def set_float32_precision(precision: str) -> None:
    """Decide how GPUs multiply float32 matrices, and run convolutions, from now on.

    PyTorch starts with whole products in matrix multiplications, and leaves TF32 to cuDNN's convolutions.

    Args:
        precision (str): ``'strict'``: all 24 bits of every factor, which "equal numbers" in this project's texts means.
            ``'tf32'``: 11 bits, on the tensor cores; a relative error of about 5e-4, several times faster.

    Raises:
        ValueError: If it is neither.
    """
    if precision not in FLOAT32_PRECISIONS:
        raise ValueError(f"float32_precision is {precision!r}, expected 'strict' (whole float32 products) or 'tf32' "
                         '(tensor cores of GPUs, 11 bits)')
    # PyTorch's newer names for the same must not be mixed with these, which its compiler reads.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == TF32


@contextlib.contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Apply :func:`set_float32_precision` within a ``with`` statement."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    set_float32_precision(precision)
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
