"""Helpers that are about neither the model nor the data: configs, checkpoints, errors."""

from .checkpoint import check_checkpoint, read_checkpoint, to_plain
from .config import apply_options, check_option_names, propagate
from .errors import user_errors, user_message
from .report import accuracy_table

__all__ = [
    'accuracy_table',
    'apply_options',
    'check_checkpoint',
    'check_option_names',
    'propagate',
    'read_checkpoint',
    'to_plain',
    'user_errors',
    'user_message',
]
