"""Data sets, few-shot picks, samplers and transforms."""
from . import index_file
from .base import SplitDataset
from .digits import Digits
from .few_shot import FewShotDataset
from .samplers import FewShotSampler
from .sampling import SAMPLING_RULE, FewShotPicks, few_shot_picks
from .split import Split, hash_rows
from .transforms import CLIPTestTransform, CLIPTrainTransform, DualView, LoadRGBImage

__all__ = [
    'CLIPTestTransform', 'CLIPTrainTransform', 'Digits', 'DualView', 'FewShotDataset', 'FewShotPicks', 'FewShotSampler',
    'LoadRGBImage', 'SAMPLING_RULE', 'Split', 'SplitDataset', 'few_shot_picks', 'hash_rows', 'index_file'
]
