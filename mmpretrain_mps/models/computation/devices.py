"""What lies on a device, and how it gets there."""

import argparse

import torch


def check_device(parser: argparse.ArgumentParser, device: str) -> None:
    """End a tool with a message if its ``--device`` is a GPU and there is none.

    Args:
        parser (ArgumentParser): Of the tool.
        device (str): As given.
    """
    if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
        parser.error(f'--device is {device}, but PyTorch sees no GPU here')


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
