"""What needs a GPU: pytest --gpu tests/gpu. Without one, or without the option, everything here is skipped."""

import pytest
import torch
from tiny_clip import save_tiny_clip


@pytest.fixture(autouse=True)
def device(request):
    """The GPU."""
    if not request.config.getoption('--gpu'):
        pytest.skip('needs a GPU: pytest --gpu tests/gpu')
    if not torch.cuda.is_available():
        pytest.skip('needs a GPU, but PyTorch sees none here')
    return torch.device('cuda')


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory):
    """Name of a saved tiny CLIP."""
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'))
