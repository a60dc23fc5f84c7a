"""What lies on a device, and how it gets there."""

import torch


def send(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Bring a tensor to a device; the host does not wait for it.

    Args:
        tensor (Tensor): Of any shape.
        device (torch.device): From the host to a GPU it goes through pinned memory.

    Returns:
        Tensor: The same numbers there.
    """
    device = torch.device(device)
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def free_on_device(device: torch.device | str) -> int:
    """Return the free bytes of a GPU."""
    return torch.cuda.mem_get_info(device)[0]
