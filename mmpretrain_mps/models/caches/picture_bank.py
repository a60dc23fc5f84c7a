"""Decoded pictures of a small set on the device, out of which views are cut there."""

from collections.abc import Sequence

import numpy as np
import torch

from ..computation.device_resize import crop_and_resize


class PictureBank:
    """Decoded pictures, one after the other in the memory of a device, and views of them.

    Args:
        pictures (Sequence[ndarray]): ``N`` pictures ``(H, W, 3)``, uint8, of any sizes.
        size (tuple[int, int]): Height and width of views, ``(h, w)``.
        interpolation (str): How they are resized, ``'bicubic'`` or ``'bilinear'``.
        device (torch.device): Where they are kept.

    Raises:
        ValueError: If a picture is no such array.
    """

    def __init__(self, pictures: Sequence[np.ndarray], size: tuple[int, int], interpolation: str, device: torch.device | str):
        for index, picture in enumerate(pictures):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(
                    f'decoded picture {index} is of shape {picture.shape} and {picture.dtype}, expected (H, W, 3) and uint8'
                )
        self.size, self.interpolation = size, interpolation
        self._sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        values = 3 * self._sizes.prod(1)
        self._starts = values.cumsum(0) - values
        self._pixels = torch.empty(int(values.sum()), dtype=torch.uint8, device=device)
        for picture, place in zip(pictures, self._pixels.split(values.tolist())):
            place.copy_(torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).flatten())

    def __len__(self):
        return len(self._sizes)

    @property
    def num_bytes(self) -> int:
        """int: Of all pictures."""
        return self._pixels.numel()

    def read(self, pictures: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Cut views out of pictures.

        Args:
            pictures (Tensor): Numbers of pictures ``(B,)``, int64, on the host.
            boxes (Tensor): Top, left, height, width and flip (0 or 1) of one view of each ``(B, 5)``, or of several
                ``(B, V, 5)``; int64, on the host.

        Returns:
            Tensor | list[Tensor]: ``(B, 3, h, w)``, uint8, on the device; for ``(B, V, 5)`` a list of one per view.
        """
        views = boxes[:, None] if boxes.ndim == 2 else boxes
        places = pictures.repeat(views.shape[1])
        found = crop_and_resize(
            self._pixels,
            self._starts[places],
            self._sizes[places],
            views.transpose(0, 1).reshape(-1, views.shape[-1]),
            self.size,
            self.interpolation,
        )
        return found if boxes.ndim == 2 else list(found.split(len(pictures)))
