"""Predictions as one CUDA graph: the host launches a whole tower at once instead of kernel by kernel.

A prediction of one picture by ViT-B/16 is 0.6 ms of work on a GPU, for which a host launches some hundred kernels.
"""

import copy
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_map

from . import frozen_weights

# Each size of a batch is a graph of its own, with memory of its own.
MOST_GRAPHS = 4
_WARM_UPS = 3


class Captured(NamedTuple):
    """A graph, and the memory that it reads and writes."""

    graph: Any
    images: torch.Tensor
    outputs: Any
    held: tuple
    """Casts of frozen weights that it reads; they must not go before it does."""


class GraphedForward:
    """The forward pass of a vision tower, replayed as a CUDA graph where it predicts on a GPU.

    A batch of another size, another precision, other arguments or changed weights are captured anew; the first batch of
    each kind therefore takes longer than without. Training, pictures that are no tensor (frozen features), arguments that
    are tensors (prompts), and pictures on the CPU run as ever.

    Args:
        module (nn.Module): Its ``forward`` takes pictures ``(N, 3, H, W)`` first, and returns tensors in tuples or named
            tuples.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._captured: OrderedDict[Hashable, Captured] = OrderedDict()

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the forward pass; the same numbers as the module's own."""
        if not self._can_capture(images, (*args, *kwargs.values())):
            return self._run(images, *args, **kwargs)
        key = (images.shape, images.dtype, images.device, args, tuple(sorted(kwargs.items())), _precision(), self._weights())
        captured = self._captured.get(key)
        if captured is None:
            captured = self._captured[key] = self._capture(images, *args, **kwargs)
            if len(self._captured) > MOST_GRAPHS:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        captured.images.copy_(images)
        captured.graph.replay()
        # The next replay writes to the same memory.
        return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, captured.outputs)

    def __deepcopy__(self, memo: dict) -> 'GraphedForward':
        return GraphedForward(copy.deepcopy(self.module, memo))

    def __reduce__(self):
        return GraphedForward, (self.module,)

    def _can_capture(self, images, arguments):
        if not isinstance(images, torch.Tensor) or not _is_on_gpu(images) or self.module.training or torch.is_grad_enabled():
            return False
        return all(isinstance(argument, (bool, int, tuple, type(None))) for argument in arguments)

    def _weights(self):
        # Other weights at the same place have another version, so that what was captured with casts of them is not used.
        return tuple((tensor.data_ptr(), tensor._version) for tensor in (*self.module.parameters(), *self.module.buffers()))

    def _run(self, images, *args, **kwargs):
        return type(self.module).forward(self.module, images, *args, **kwargs)

    def _capture(self, images, *args, **kwargs):
        # Autocast would hand memory of the graph to whoever asks for the same cast next.
        dtype = torch.get_autocast_dtype('cuda')
        with torch.autocast('cuda', dtype, torch.is_autocast_enabled('cuda'), cache_enabled=False):
            static = images.clone()
            graph, outputs = capture(lambda: self._run(static, *args, **kwargs))
        return Captured(graph, static, outputs, frozen_weights.remembered())


def capture(function) -> tuple:
    """Run a function until its libraries are set up, and then into a CUDA graph.

    Returns:
        tuple: The graph, and what the function returned, which a replay fills.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph, outputs


def _is_on_gpu(images):
    return images.device.type == 'cuda'


def _precision():
    enabled = torch.is_autocast_enabled('cuda')
    return (
        torch.get_autocast_dtype('cuda') if enabled else None,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.is_inference_mode_enabled(),
    )
