"""How functions of a block run: on weights that lie in shares, and through the compiler."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

# One compiled function serves all blocks and both branches, in one version for each kind of call: with gradients or without,
# all tokens or [CLS] alone, an exact or a free number of pictures. Beyond its limit PyTorch gives up, with a line in the log.
MOST_VERSIONS = 64


def function_of_block(function: Callable) -> Callable:
    """Let a function of a block run as the block says.

    Sharding gathers a module's weights when the module itself is called. A block that :class:`ShardedDataParallel` marked
    (``weights_are_sharded``) takes the function as an argument of that call. A block that :func:`compile_blocks` marked
    has a compiled version of the function.

    Args:
        function (Callable): Takes a block first.

    Returns:
        Callable: With the same arguments.
    """

    @functools.wraps(function)
    def run(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the function, by a call of the block if only that gathers its weights."""
        if getattr(block, 'weights_are_sharded', False):
            return block(function, *args, **kwargs)
        return getattr(block, 'compiled_functions', {}).get(function, function)(block, *args, **kwargs)

    return run


def compile_blocks(module: nn.Module, functions: Sequence[Callable], **arguments: Any) -> None:
    """Let functions of all blocks of a module run through ``torch.compile``.

    Compiled apart, equal blocks share their code: a handful of graphs instead of a large one for each way through the
    whole tower, in seconds instead of minutes, and what lies between the blocks may be anything.

    Args:
        module (nn.Module): With blocks of open_clip; changed.
        functions (Sequence[Callable]): Of :func:`function_of_block`.
        **arguments: For ``torch.compile``.

    Raises:
        ValueError: If they ask for CUDA graphs: each graph of a block would overwrite what the one before it hands on.
    """
    if _asks_for_cuda_graphs(**arguments):
        raise ValueError(
            f'model.compile is {arguments}, which runs each block as a CUDA graph; the next one would overwrite what it hands on. '
            'Expected a way without, such as model.compile=True or model.compile.mode=max-autotune-no-cudagraphs; '
            'model.cuda_graph=True runs predictions as one graph'
        )
    config = torch._dynamo.config
    config.recompile_limit = max(MOST_VERSIONS, config.recompile_limit)
    originals = [function.__wrapped__ for function in functions]
    compiled = {function: torch.compile(function, **arguments) for function in originals}
    for block in module.modules():
        if isinstance(block, ResidualAttentionBlock):
            block.compiled_functions = compiled


def _asks_for_cuda_graphs(mode=None, options=None, backend='inductor', **_):
    of_mode = torch._inductor.list_mode_options(mode) if mode else {}
    return backend == 'cudagraphs' or bool({**of_mode, **(options or {})}.get('triton.cudagraphs', False))
