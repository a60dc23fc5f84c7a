"""Tuned models as files that run without this package."""

from .export import FORMATS, export_classifier

__all__ = ['FORMATS', 'export_classifier']
