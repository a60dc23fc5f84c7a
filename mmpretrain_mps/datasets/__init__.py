"""Data sets, few-shot picks, samplers and transforms."""
from .base import SplitDataset
from .sampling import SAMPLING_RULE, FewShotPicks, few_shot_picks
from .split import Split, hash_rows

__all__ = ['FewShotPicks', 'SAMPLING_RULE', 'Split', 'SplitDataset', 'few_shot_picks', 'hash_rows']
