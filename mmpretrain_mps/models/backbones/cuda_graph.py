"""Passes through a vision tower as CUDA graphs: the host launches a whole tower at once instead of kernel by kernel.

A prediction of one picture by ViT-B/16 is 0.6 ms of work on a GPU, for which a host launches some hundred kernels; a training step
of 32 pictures is 18 ms of work, and a thousand of them.
"""

import copy
import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.distributed import is_available, is_initialized
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from . import frozen_weights

# Each size of a batch is a graph of its own, with memory of its own.
MOST_GRAPHS = 4
_WARM_UPS = 3
# Threads that pin memory for a loader go on meanwhile.
_ERRORS = 'thread_local'


class Captured(NamedTuple):
    """A graph, and the memory that it reads and writes."""

    graph: Any
    images: torch.Tensor
    outputs: Any
    held: tuple
    """Casts of frozen weights that it reads; they must not go before it does."""


class TrainingGraphs(NamedTuple):
    """The graphs of a forward and a backward pass, and the memory that they read and write."""

    forward: Any
    backward: Any
    images: torch.Tensor
    outputs: list[torch.Tensor | None]
    spec: Any
    """How the outputs lie in what the module returns."""
    gradients: list[torch.Tensor | None]
    """Of the outputs; None for those without."""
    weights: list[nn.Parameter]
    of_weights: list[torch.Tensor | None]
    """Gradients of the weights; None for those that no output depends on."""
    held: tuple


class _Pending:
    """Lives as long as a backward pass may still come: until it begins, or until the losses are dropped."""


class _Replayed(torch.autograd.Function):
    """Forward and backward pass by their graphs, as one operation on the weights."""

    @staticmethod
    def forward(ctx: Any, graphs: TrainingGraphs, pending: _Pending, *weights: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Fill the outputs."""
        ctx.graphs, ctx.pending = graphs, pending
        graphs.forward.replay()
        outputs = tuple(None if output is None else output.detach() for output in graphs.outputs)
        ctx.mark_non_differentiable(
            *(output for output, gradient in zip(outputs, graphs.gradients) if output is not None and gradient is None)
        )
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Fill the gradients of the weights, and return copies: PyTorch would keep the graph's memory as theirs."""
        ctx.pending = None
        for static, gradient in zip(ctx.graphs.gradients, gradients):
            if static is not None:
                static.copy_(gradient)
        ctx.graphs.backward.replay()
        return (None, None, *(None if gradient is None else gradient.clone() for gradient in ctx.graphs.of_weights))


class GraphedForward:
    """The forward pass of a vision tower, replayed as a CUDA graph where it predicts on a GPU.

    A batch of another size, another precision, other arguments or changed frozen weights are captured anew; the first batch of
    each kind therefore takes longer than without. Pictures that are no tensor (frozen features), arguments that
    are tensors (prompts), and pictures on the CPU run as ever.

    With ``training``, so are forward and backward pass of a training step of one process. A pass whose forerunner has not begun
    its backward pass runs as ever, since a replay would overwrite what that needs; checkpointing is never captured.

    Args:
        module (nn.Module): Its ``forward`` takes pictures ``(N, 3, H, W)`` first, and returns tensors in tuples or named
            tuples.
        training (bool): Whether training steps are replayed, too.
    """

    def __init__(self, module: nn.Module, training: bool = False) -> None:
        self.module, self.training = module, training
        self._captured: OrderedDict[Hashable, Any] = OrderedDict()
        self._pending: Callable[[], _Pending | None] = _nothing

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the forward pass; the same numbers as the module's own."""
        if not self._can_capture(images, (*args, *kwargs.values())):
            return self._run(images, *args, **kwargs)
        training = self.module.training
        key = (training, images.shape, images.dtype, images.device, args, tuple(sorted(kwargs.items())), _precision())
        key += (self._weights(training),)
        captured = self._captured.get(key)
        if captured is None:
            captured = self._captured[key] = (self._capture_training if training else self._capture)(images, *args, **kwargs)
            if len(self._captured) > MOST_GRAPHS:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        return self._train(images, captured) if training else self._predict(images, captured)

    def __deepcopy__(self, memo: dict) -> 'GraphedForward':
        return GraphedForward(copy.deepcopy(self.module, memo), self.training)

    def __reduce__(self):
        return GraphedForward, (self.module, self.training)

    def _can_capture(self, images, arguments):
        if not isinstance(images, torch.Tensor) or not _is_on_gpu(images):
            return False
        if not all(isinstance(argument, (bool, int, tuple, type(None))) for argument in arguments):
            return False
        if not self.module.training:
            return not torch.is_grad_enabled()
        if not self.training or not torch.is_grad_enabled() or images.requires_grad or self._pending() is not None:
            return False
        return not getattr(self.module, 'checkpointing', False) and not (is_available() and is_initialized())

    def _weights(self, training):
        # Other weights at the same place have another version, so that what was captured with casts of them is not used. In
        # training, those that are updated are cast by the graph itself.
        return tuple(
            (tensor.data_ptr(), None if training and tensor.requires_grad else tensor._version)
            for tensor in (*self.module.parameters(), *self.module.buffers())
        )

    def _run(self, images, *args, **kwargs):
        return type(self.module).forward(self.module, images, *args, **kwargs)

    def _capture(self, images, *args, **kwargs):
        with _autocast_without_cache():
            static = images.clone()
            graph, outputs = capture(lambda: self._run(static, *args, **kwargs))
        return Captured(graph, static, outputs, frozen_weights.remembered())

    def _predict(self, images, captured):
        captured.images.copy_(images)
        captured.graph.replay()
        # The next replay writes to the same memory.
        return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, captured.outputs)

    def _capture_training(self, images, *args, **kwargs):
        with _autocast_without_cache():
            static = images.clone()
            return capture_training(lambda: self._run(static, *args, **kwargs), static, list(self.module.parameters()))

    def _train(self, images, graphs):
        graphs.images.copy_(images)
        pending = _Pending()
        self._pending = weakref.ref(pending)
        outputs = _Replayed.apply(graphs, pending, *graphs.weights)
        return tree_unflatten(list(outputs), graphs.spec)


def use_graphs(module: nn.Module, cuda_graph: bool | str | None) -> None:
    """Let a vision tower replay its passes, as the option ``cuda_graph`` of a classifier says.

    Args:
        module (nn.Module): Changed.
        cuda_graph (bool | str | None): False, True for predictions, or ``'training'`` for training steps, too.

    Raises:
        ValueError: If it is none of these.
    """
    if cuda_graph not in (False, True, None, 'training'):
        raise ValueError(f"cuda_graph is {cuda_graph!r}, expected False, True for predictions, or 'training' for both")
    if cuda_graph:
        module.forward = GraphedForward(module, training=cuda_graph == 'training')


def capture(function) -> tuple:
    """Run a function until its libraries are set up, and then into a CUDA graph.

    Returns:
        tuple: The graph, and what the function returned, which a replay fills.
    """
    _warm_up(function)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode=_ERRORS):
        outputs = function()
    return graph, outputs


def capture_training(function: Callable[[], Any], images: torch.Tensor, parameters: Sequence[nn.Parameter]) -> TrainingGraphs:
    """Capture a forward pass with gradients, and its backward pass.

    Args:
        function (Callable): Runs the forward pass on ``images``; returns tensors in tuples or named tuples.
        images (Tensor): Where a replay is to find its pictures.
        parameters (Sequence[Parameter]): Of the module.
    """
    weights = [parameter for parameter in parameters if parameter.requires_grad]
    _warm_up(functools.partial(_run_step, function, weights))
    forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(forward, capture_error_mode=_ERRORS):
        outputs, spec = tree_flatten(function())
    gradients = _room_for_gradients(outputs)
    with torch.cuda.graph(backward, pool=forward.pool(), capture_error_mode=_ERRORS):
        of_weights = _gradients(outputs, weights, gradients)
    outputs = [None if output is None else output.detach() for output in outputs]
    held = frozen_weights.remembered()
    return TrainingGraphs(forward, backward, images, outputs, spec, gradients, weights, list(of_weights), held)


def _run_step(function, weights):
    outputs, _ = tree_flatten(function())
    _gradients(outputs, weights, _room_for_gradients(outputs))


def _room_for_gradients(outputs):
    """Return where the gradients of outputs are to lie; None for those without."""
    return [torch.zeros_like(output) if output is not None and output.requires_grad else None for output in outputs]


def _gradients(outputs, weights, gradients):
    """Return the gradients of weights, given those of the outputs."""
    pairs = [(output, gradient) for output, gradient in zip(outputs, gradients) if gradient is not None]
    wanted, given = zip(*pairs)
    return torch.autograd.grad(wanted, weights, given, allow_unused=True)


def _nothing():
    return None


def _warm_up(function):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)


def _autocast_without_cache():
    # Autocast would hand memory of the graph to whoever asks for the same cast next.
    return torch.autocast('cuda', torch.get_autocast_dtype('cuda'), torch.is_autocast_enabled('cuda'), cache_enabled=False)


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
