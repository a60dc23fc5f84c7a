"""Transforms: reading any picture as RGB, several views of one picture, and CLIP's own preprocessing."""

from .clip import CLIPTestTransform, CLIPTrainTransform
from .loading import LoadRGBImage
from .views import DualView, with_views

__all__ = ['CLIPTestTransform', 'CLIPTrainTransform', 'DualView', 'LoadRGBImage', 'with_views']
