"""The embedded CLIP."""
from pathlib import Path


def folder():
    """Return the folder of the model."""
    return Path(__file__).parent
