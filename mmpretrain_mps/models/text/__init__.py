"""The text side of CLIP: a frozen tower that takes prompts, and where prompts put their vectors."""

from .prompt_layouts import POSITIONS, context_template, insert_context, num_shared_positions
from .prompt_tokens import check_prompts, count_tokens, tokenize_prompts, word_embeddings
from .text_tower import TextTower

__all__ = [
    'POSITIONS',
    'TextTower',
    'check_prompts',
    'context_template',
    'count_tokens',
    'insert_context',
    'num_shared_positions',
    'tokenize_prompts',
    'word_embeddings',
]
