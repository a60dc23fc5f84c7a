"""The operators that a stretch of code runs, for tests of what it must not do."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that make the host wait for a GPU: values and shapes that depend on data.
WAITING = ('_local_scalar_dense', 'nonzero', 'is_nonzero', 'masked_select', 'item', 'equal', 'unique', '_unique2')


class RecordOperators(TorchDispatchMode):
    """Collects the names of all operators, and the largest tensor that one of them returns."""

    def __init__(self):
        super().__init__()
        self.names, self.largest = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.names.append(function.__name__.split('.')[0])
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result
