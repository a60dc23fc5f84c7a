"""In which precision a device computes: of float32 products on GPUs, and of mixed precision."""

import contextlib
from collections.abc import Iterator

import torch

STRICT, TF32 = 'strict', 'tf32'
FLOAT32_PRECISIONS = (STRICT, TF32)
AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


def set_float32_precision(precision: str) -> None:
    """Decide how GPUs multiply float32 matrices, and run convolutions, from now on.

    PyTorch starts with whole products in matrix multiplications, and leaves TF32 to cuDNN's convolutions.

    Args:
        precision (str): ``'strict'``: all 24 bits of every factor, which "equal numbers" in this project's texts means.
            ``'tf32'``: 11 bits, on the tensor cores; a relative error of about 5e-4, several times faster.

    Raises:
        ValueError: If it is neither.
    """
    check_float32_precision(precision)
    # PyTorch's newer names for the same must not be mixed with these, which its compiler reads.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == TF32


def check_float32_precision(precision: str) -> None:
    """Raise ValueError unless it is one of :data:`FLOAT32_PRECISIONS`."""
    if precision not in FLOAT32_PRECISIONS:
        raise ValueError(
            f"float32_precision is {precision!r}, expected 'strict' (whole float32 products) or 'tf32' "
            '(tensor cores of GPUs, 11 bits)'
        )


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


def amp_dtype(device_type: str, name: str | None = None) -> torch.dtype:
    """Return the type that mixed precision casts to.

    Args:
        device_type (str): ``'cpu'``, ``'cuda'`` or another of PyTorch.
        name (str, optional): The type that is asked for. By default ``'bfloat16'``, which has the exponents of float32 and
            needs no loss scale, where the processor multiplies it: on the CPU, and on GPUs of NVIDIA since Ampere
            (capability 8.0); else ``'float16'``.

    Returns:
        torch.dtype: The type.

    Raises:
        ValueError: If the name is that of another type.
    """
    if name is None:
        # PyTorch's own question, is_bf16_supported, also counts GPUs that emulate it, slowly.
        on_gpu = device_type == 'cuda' and torch.cuda.get_device_capability() >= (8, 0)
        name = 'bfloat16' if on_gpu or device_type == 'cpu' else 'float16'
    if name not in AMP_DTYPES:
        raise ValueError(f'dtype is {name!r}, expected one of {sorted(AMP_DTYPES)} or None')
    return AMP_DTYPES[name]


def computed_on(device: torch.device) -> list[str | bool | None]:
    """Return what tells numbers of one device and precision from others, which differ in their last digits or more.

    Args:
        device (torch.device): Where something is computed now.

    Returns:
        list: Plain values, a part of the names of what is cached: kind of device, type that autocast casts to, and of a GPU
        its name and whether products and convolutions are rounded.
    """
    kind = device.type
    facts: list[str | bool | None] = [kind, str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else None]
    if kind == 'cuda':
        facts += [torch.cuda.get_device_name(device), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
    return facts
