"""The whole prediction as one graph: normalised pictures go in, probabilities and logits come out."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

INPUT = 'images'


class PredictionGraph(nn.Module):
    """What a classifier predicts of normalised pictures; its texts are constants.

    Args:
        model (CLIPClassifier): Of :func:`prediction_graph`.
        temperature (float): Of the probabilities.
    """

    def __init__(self, model: nn.Module, temperature: float):
        super().__init__()
        self.model: Any = model
        self.temperature = temperature

    @property
    def outputs(self) -> tuple[str, ...]:
        """tuple[str]: Names of the outputs; zero-shot CLIP has no branches."""
        return ('probabilities', 'logits', *(() if self.model.method == 'zero_shot' else ('tuned', 'zero_shot')))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predict.

        Args:
            images (Tensor): Normalised, float32 ``(N, 3, H, W)``.

        Returns:
            dict[str, Tensor]: ``(N, C)`` each: calibrated probabilities, the logits that decide, and those of both branches.
        """
        logits, _ = self.model.branch_logits(images, zero_shot=True)
        values = (torch.softmax(logits.fused / self.temperature, 1), *logits)
        return dict(zip(self.outputs, values))


@contextlib.contextmanager
def prediction_graph(classifier: Any) -> Iterator[PredictionGraph]:
    """Give the model of a classifier as a graph, on the CPU, with its texts computed and its text tower put aside.

    Args:
        classifier (FewShotClassifier): Fitted; afterwards as it was.

    Yields:
        PredictionGraph: In evaluation mode, without gradients.
    """
    model = classifier.model_.eval()
    device = model.text_prototypes.device
    model.cpu()
    try:
        with torch.no_grad():
            texts = model.cached_class_features()
            # A tower that has done its work would go into the file all the same.
            text_tower = model._modules.pop('text_tower', None)
            model.cached_class_features = lambda: texts
            try:
                yield PredictionGraph(model, classifier.temperature_).eval()
            finally:
                del model.cached_class_features
                if text_tower is not None:
                    model.text_tower = text_tower
    finally:
        model.to(device)
