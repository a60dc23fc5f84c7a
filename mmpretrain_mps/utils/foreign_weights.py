"""Weights out of training checkpoints of others, whatever objects lie beside them."""

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch

# All that tensors in containers are made of. Nothing here runs code of the file.
_KNOWN = {
    ('collections', 'OrderedDict'),
    ('torch', 'Size'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_tensor'),
    ('torch._utils', '_rebuild_parameter'),
    ('torch', 'device'),
}


class _LeftOut:
    """Takes the place of everything else: it can be made, filled and called, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state):
        pass

    def __call__(self, *args, **kwargs):
        return self

    append = extend = update = add = __setitem__ = __call__


class _Unpickler(pickle.Unpickler):
    """Finds what tensors are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that tensors are made of, a stand-in for any other."""
        if (module, name) in _KNOWN or (module == 'torch' and name.endswith('Storage')):
            return super().find_class(module, name)
        return _LeftOut


def _load(file, **kwargs):
    return _Unpickler(file, **kwargs).load()


def read_weights(path: str | Path) -> dict:
    """Read the state dict of a file without running code that it brings along.

    Training checkpoints may hold log histories, namespaces or schedulers beside the weights, which
    ``weights_only=True`` refuses altogether. Here they are left out.

    Args:
        path (str | Path): A local file that ``torch.save`` wrote, or one of safetensors by the end of its name.

    Returns:
        dict[str, Tensor]: What stands under ``state_dict``, or the tensors of the file itself; on the CPU.

    Raises:
        ValueError: If it is no such file, or holds no tensors by name.
    """
    reader = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__='pickle', UnpicklingError=pickle.UnpicklingError)
    try:
        if Path(path).suffix == '.safetensors':
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location='cpu', pickle_module=reader, weights_only=False)
    except Exception as error:  # garbage makes torch raise whatever its readers stumble over
        raise ValueError(
            f'{path} ({Path(path).stat().st_size} bytes) is not readable as a file of weights: '
            f'{(str(error) or type(error).__name__).splitlines()[0]}'
        ) from error
    state = content.get('state_dict', content) if isinstance(content, dict) else None
    tensors = (
        {}
        if not isinstance(state, dict)
        else {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
    )
    if not tensors:
        raise ValueError(f'{path} holds no weights by name, expected a state dict')
    return OrderedDict(tensors)
