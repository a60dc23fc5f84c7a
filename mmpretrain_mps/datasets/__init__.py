"""Data sets, few-shot picks, samplers and transforms."""

from . import index_file
from .base import SplitDataset
from .benchmarks import (
    CLIPDTD,
    CLIPSUN397,
    CLIPUCF101,
    CLIPCaltech101,
    CLIPEuroSAT,
    CLIPFGVCAircraft,
    CLIPFlowers102,
    CLIPFood101,
    CLIPOxfordPets,
    CLIPStanfordCars,
)
from .digit_targets import CorruptedDigits, MNISTSample, RenderedGlyphs
from .digits import Digits
from .distorted_letters import DistortedLetters
from .few_shot import FewShotDataset
from .given import GivenPictures
from .imagenet import CLIPImageNet, CLIPImageNetA, CLIPImageNetR, CLIPImageNetSketch, CLIPImageNetV2
from .pictograms import PictogramKinds, PictogramThings
from .pictures import PictureFolder, PictureTable
from .samplers import FewShotSampler
from .sampling import SAMPLING_RULE, FewShotPicks, few_shot_picks
from .split import Split, hash_rows
from .transforms import CLIPTestTransform, CLIPTrainTransform, DualView, LoadRGBImage

__all__ = [
    'CLIPCaltech101',
    'CLIPDTD',
    'CLIPEuroSAT',
    'CLIPFGVCAircraft',
    'CLIPFlowers102',
    'CLIPFood101',
    'CLIPImageNet',
    'CLIPImageNetA',
    'CLIPImageNetR',
    'CLIPImageNetSketch',
    'CLIPImageNetV2',
    'CLIPOxfordPets',
    'CLIPSUN397',
    'CLIPStanfordCars',
    'CLIPTestTransform',
    'CLIPTrainTransform',
    'CLIPUCF101',
    'CorruptedDigits',
    'Digits',
    'DistortedLetters',
    'DualView',
    'FewShotDataset',
    'FewShotPicks',
    'FewShotSampler',
    'GivenPictures',
    'LoadRGBImage',
    'MNISTSample',
    'PictogramKinds',
    'PictogramThings',
    'PictureFolder',
    'PictureTable',
    'RenderedGlyphs',
    'SAMPLING_RULE',
    'Split',
    'SplitDataset',
    'few_shot_picks',
    'hash_rows',
    'index_file',
]
